"""Image encoders of Hugging Face's transformers as backbones, by the configuration files beside their weights."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from backbones._checkpoint import State, read_state
from backbones._library import REFUSALS, LibraryBackbone, in_short
from backbones._options import blank
from bench import images
from bench.errors import CheckpointError, WeightsUnavailable
from bench.interfaces import Descriptors, Preprocess, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

#: What may describe an image, best first: the model's own pooling, the class token, the mean of the patch tokens.
POOLS = ("pooler", "cls", "mean")
#: Of normalised values: resamplers round a pixel differently, another preprocessing differs by more.
_SAME_PIXELS = 0.06


@dataclass(frozen=True)
class Encoder:
    """An image encoder of transformers. pools: ways to describe an image, of which the first that there is counts."""

    config: Any
    pools: tuple[str, ...]

    def build(self, state: State | None = None) -> "nn.Module":
        """The module, from a checkpoint's state or else with initial parameters; of two towers without the text's.

        Raises ValueError where the state lacks parameters. A classifier in it is left out.
        """
        import torch
        from transformers import AutoModel

        if state is None:
            module = AutoModel.from_config(self.config, dtype=torch.float32)
        else:
            module, found = type(_on_paper(self.config)).from_pretrained(
                None,
                config=self.config,
                state_dict=dict(state),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below by their names
            )
            used = [key for key in found["missing_keys"] if "pooler" in self.pools or not key.startswith("pooler.")]
            if problems := sorted({*used, *(key for key, *_ in found["mismatched_keys"])}):
                raise ValueError(f"it lacks, or has of another shape, {', '.join(problems)}")
        for name in [name for name, _ in module.named_children() if name.startswith("text")]:
            delattr(module, name)
        built: nn.Module = module
        return built

    def describe(self, module: Any, batch: "Tensor") -> Descriptors:
        """The descriptors by `pools`. Raises ValueError where the model has no such output."""
        call = module.get_image_features if hasattr(module, "get_image_features") else module.forward
        accepts = inspect.signature(call).parameters
        options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in accepts else {}
        output = call(pixel_values=batch, **options)
        hidden, pooled = output.last_hidden_state, getattr(output, "pooler_output", None)
        prefix = _prefix(self.config, hidden, batch)
        if hidden.ndim == 4:
            hidden = hidden.flatten(2).transpose(1, 2)
        local = None if prefix is None else hidden[:, prefix:]
        found = {
            "pooler": None if pooled is None else pooled.flatten(1),
            "cls": hidden[:, 0] if prefix else None,
            "mean": None if local is None else local.mean(1),
        }
        for pool in self.pools:
            if (described := found[pool]) is not None:
                return Descriptors(described, local)
        has = ", ".join(pool for pool in POOLS if found[pool] is not None)
        raise ValueError(f"it has no {' or '.join(self.pools)}, only {has}: choose by the option pool")


def transformers_backbone(
    name: str, folder: Path, weights_file: Path | None, weights: Weights, pool: str | None
) -> LibraryBackbone:
    """The backbone of a folder of config.json and preprocessor_config.json, tried on a blank image.

    Raises CheckpointError where the files do not make an image encoder, WeightsUnavailable without transformers.
    """
    config = _config(name, folder)
    encoder = Encoder(config, (pool,) if pool else _pools(config, weights_file))
    backbone = LibraryBackbone(
        name=name,
        arch=config.model_type,
        embed_dim=None,
        preprocess=_preprocess(folder),
        weights=weights,
        packages=("transformers",),
        build=encoder.build,
        assemble=encoder.build,
        describe=encoder.describe,
    )
    return replace(backbone, embed_dim=_dimension(backbone, weights_file))


def _config(name: str, folder: Path) -> Any:
    try:
        from transformers import AutoConfig
        from transformers.utils import logging
    except ImportError as error:
        raise WeightsUnavailable(f"{name} needs transformers: pip install transformers, or the extra 'hf'") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        paper = _on_paper(config)
    except (*REFUSALS, OSError) as error:
        raise CheckpointError(f"{folder / 'config.json'} is of no model of transformers ({in_short(error)})") from error
    if paper.main_input_name != "pixel_values" and not hasattr(paper, "get_image_features"):
        raise CheckpointError(f"{name} is a {config.model_type}, which does not read images: choose an image encoder")
    if hasattr(config, "mask_ratio"):
        raise CheckpointError(
            f"{name} is a {config.model_type}, which hides patches at random: choose another form of it"
        )
    return config


def _on_paper(config: Any) -> Any:
    """The module without memory for its parameters."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(config, trust_remote_code=False)


def _pools(config: Any, weights_file: Path | None) -> tuple[str, ...]:
    """All, but for a pooler that is not in the file: transformers would initialise it at random."""
    has = any(key.startswith("pooler.") for key, _ in _on_paper(config).named_parameters())
    if has and weights_file and not any(re.search(r"(^|\.)pooler\.", key) for key in read_state(weights_file)):
        return POOLS[1:]
    return POOLS


def _prefix(config: Any, hidden: "Tensor", batch: "Tensor") -> int | None:
    """How many class and register tokens stand before the patches; None where it can't be told."""
    if hidden.ndim == 4:
        return 0
    patch = getattr(getattr(config, "vision_config", config), "patch_size", None)
    if patch is None:
        return None
    rows, columns = (patch, patch) if isinstance(patch, int) else patch
    # of hierarchical models fewer tokens are left than there were patches
    return max(0, hidden.shape[1] - (batch.shape[2] // rows) * (batch.shape[3] // columns))


def _dimension(backbone: LibraryBackbone, weights_file: Path | None) -> int:
    import torch

    model = backbone.load("cpu", weights_file)
    try:
        with torch.inference_mode():
            return model.describe(blank(backbone.preprocess)).global_.shape[1]
    except REFUSALS as error:
        raise CheckpointError(f"{backbone.name} describes no image ({in_short(error)})") from error


def _preprocess(folder: Path) -> Preprocess:
    """The preprocessing of preprocessor_config.json, compared with what transformers itself makes of an image.

    Pixels are resampled by pillow as for every backbone, so they may differ by a rounding.
    """
    from transformers import AutoImageProcessor

    file = folder / "preprocessor_config.json"
    if not file.is_file():
        raise CheckpointError(
            f"there is no {file}, which tells the preprocessing: bring it from the model's repository"
        )
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        own = Preprocess(*_sizes(processor), *_values(processor))
        picture = _gradient()
        theirs = processor(picture, return_tensors="np")["pixel_values"][0]
    except (*REFUSALS, OSError, ImportError) as error:
        raise CheckpointError(f"{file} is of no preprocessing that can be made here ({in_short(error)})") from error
    ours = images.transform(picture, own).numpy()
    if ours.shape != theirs.shape or np.abs(ours - theirs).max() > _SAME_PIXELS:
        raise CheckpointError(f"{file} is of a preprocessing that can't be made here: {type(processor).__name__}")
    return own


def _sizes(processor: Any) -> Iterator[Any]:
    """resize, size, crop, interpolation. Raises ValueError for what none of them can say."""
    size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
    short, height, width = size.shortest_edge, size.height, size.width
    share = getattr(processor, "crop_pct", None)
    if not processor.do_resize or (short is None and (height is None or height != width)):
        raise ValueError(f"resizing to {size}")
    if share and short:  # ConvNeXt's: crops only what is small
        yield from ("squash", short, None) if short >= 384 else ("short", int(short / share), short)
    else:
        yield from ("short" if short else "squash", short or height, crop.height if crop else None)
    resampling = {2: "bilinear", 3: "bicubic"}
    if processor.resample not in resampling:
        raise ValueError(f"resampling by {processor.resample}")
    yield resampling[processor.resample]


def _values(processor: Any) -> Iterator[tuple[float, float, float]]:
    """mean, std."""
    if processor.do_normalize:
        yield tuple(processor.image_mean)
        yield tuple(processor.image_std)
    else:
        yield from ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _gradient() -> Image.Image:
    """An image that is not a square, of which every cut and every scale differs."""
    rows, columns = np.mgrid[0:600, 0:800]
    return Image.fromarray(
        np.stack([rows * 255 // 599, columns * 255 // 799, (rows + columns) * 255 // 1398], 2).astype(np.uint8)
    )
