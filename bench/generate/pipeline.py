"""A diffusers pipeline, of a folder or the hub, for unconditional images or for those of captions."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, WeightsUnavailable
from bench.files import sha256_file, sha256_text
from bench.generate.extra import diffusers, dtype_of

if TYPE_CHECKING:
    from PIL.Image import Image

INDEX = "model_index.json"
OWN = "own"
SCHEDULERS = {"ddim": "DDIMScheduler", "ddpm": "DDPMScheduler"}
#: What diffusers and the hub raise for a model that is not there, is damaged, or would run code of its own.
_UNLOADABLE = (OSError, ValueError, RuntimeError, ImportError, AttributeError, KeyError, TypeError)


@dataclass(frozen=True)
class Pipeline:
    """model: its folder or name. sha256: of its files.

    guidance: how far it follows captions where nothing else is asked, None where it takes no such number.
    """

    model: str
    sha256: str
    pipeline: Any
    takes_captions: bool
    guidance: float | None

    def make(self, seeds: Sequence[int], captions: Sequence[str], steps: int, guidance: float | None) -> "Made":
        """An image of each seed, and of each caption where it takes them."""
        import torch

        # noise of the CPU: one seed is one image wherever it is made
        asked: dict[str, Any] = {"generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds]}
        if self.takes_captions:
            asked["prompt"] = list(captions)
        else:
            asked["batch_size"] = len(seeds)
        if guidance is not None:
            asked["guidance_scale"] = guidance
        made = self.pipeline(num_inference_steps=steps, **asked)
        withheld = getattr(made, "nsfw_content_detected", None) or [False] * len(seeds)
        return Made([image.convert("RGB") for image in made.images], [bool(one) for one in withheld])


@dataclass(frozen=True)
class Made:
    """withheld: by the model's safety checker, which leaves a black image."""

    images: Sequence["Image"]
    withheld: Sequence[bool]


def loaded(model: str, scheduler: str, device: str, precision: str) -> Pipeline:
    """The pipeline of a folder or of the hub, from safetensors weights alone and running no code that comes with it.

    Raises UsageError where there is none, or it needs more than captions, and WeightsUnavailable where the hub does not
    give it.
    """
    _keep_quiet()
    folder = _folder(model)
    if code := next(folder.rglob("*.py"), None):  # older versions of diffusers would run it
        raise UsageError(f"the model '{model}' carries code, which is not run: take {code} out of it or name another")
    dtype = {} if precision == "fp32" else {"torch_dtype": dtype_of(precision)}
    try:
        pipeline = diffusers().DiffusionPipeline.from_pretrained(folder, use_safetensors=True, **dtype)
    except _UNLOADABLE as error:
        raise UsageError(f"the model '{model}' can't be loaded ({_first_line(error)}): name another") from error
    takes = inspect.signature(pipeline.__call__).parameters
    kind = type(pipeline).__name__
    if needed := _needed(takes):
        raise UsageError(
            f"the model '{model}' is a {kind}, which asks for {needed}: name one that makes images of noise or captions"
        )
    _schedule(model, pipeline, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    guidance = takes["guidance_scale"].default if "guidance_scale" in takes else None
    return Pipeline(model, _sha256(folder), pipeline.to(device), "prompt" in takes, guidance)


def _keep_quiet() -> None:
    """Both libraries draw bars and tell of what `loaded` tells in a sentence."""
    import transformers

    for library in (diffusers(), transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _folder(model: str) -> Path:
    """Where the model's files are; those of the hub are downloaded."""
    if not Path(model).is_dir():
        try:
            return Path(diffusers().DiffusionPipeline.download(model, use_safetensors=True))
        except _UNLOADABLE as error:
            raise WeightsUnavailable(
                f"the model '{model}' is no folder, and the hub does not give it ({_first_line(error)}): name another, "
                "with safetensors weights"
            ) from error
    if not (Path(model) / INDEX).is_file():
        raise UsageError(
            f"the folder {model} has no {INDEX}, so it is no model: name a folder that `generate train` has finished, "
            "or another pipeline of diffusers"
        )
    return Path(model)


def _needed(takes: Mapping[str, inspect.Parameter]) -> str:
    """The first thing that a pipeline can't do without, other than a caption; "" where there is none."""
    for name, told in takes.items():
        required = told.default is told.empty and told.kind is told.POSITIONAL_OR_KEYWORD and name != "prompt"
        if required or name == "strength":  # of the change of a picture, which has a default
            return name
    return "" if "num_inference_steps" in takes else "something else than steps"


def _sha256(folder: Path) -> str:
    """One hash of a model's weights and configurations."""
    files = sorted(path for suffix in (".json", ".safetensors") for path in folder.rglob(f"*{suffix}"))
    return sha256_text("\n".join(f"{path.relative_to(folder).as_posix()}\t{sha256_file(path)}" for path in files))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _schedule(model: str, pipeline: Any, scheduler: str) -> None:
    """Give the pipeline another scheduler over its own levels of noise. Raises UsageError where it can't take it."""
    if scheduler == OWN:
        return
    wanted = getattr(diffusers(), SCHEDULERS[scheduler])
    own = type(pipeline.scheduler)
    if wanted is not own and wanted not in getattr(pipeline.scheduler, "compatibles", ()):
        raise UsageError(
            f"the model '{model}' is sampled by {own.__name__}, which {wanted.__name__} can't replace: "
            f"leave it its own by --scheduler {OWN}"
        )
    pipeline.scheduler = wanted.from_config(pipeline.scheduler.config)
