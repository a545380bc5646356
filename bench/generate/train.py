"""Training a diffusion model on a subset of images, in a folder that goes on where a killed process stopped."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import sha256_text, write_text
from bench.generate import checkpoint
from bench.generate.folder import opened
from bench.generate.learner import Learner, Settings
from bench.generate.pipeline import INDEX
from bench.generate.subset import Subset

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "train.json"
TRAINING = "training.csv"
LOGS = "tensorboard"

#: Told the number of a step that is done, counted from 1, and its loss.
OnStep = Callable[[int, float], Any]


def train(
    settings: Settings, subset: Subset, images: "Tensor", folder: Path, checkpoint_every: int, on_step: OnStep
) -> bool:
    """Makes `folder` a diffusers pipeline, trained on the subset's pixels; whether anything was left to do.

    Raises UsageError as `opened` does, CheckpointError for a checkpoint that can't be read, OSError for a full disk,
    and BenchError for a training that fails.
    """
    configuration = {
        "images": subset.source,
        "subset": len(subset.images),
        "training_sha256": sha256_text(subset.table),
        **asdict(settings),
    }
    kept = folder / checkpoint.NAME
    with opened(folder, CONFIG, configuration, settings.device):
        if (folder / INDEX).is_file():
            kept.unlink(missing_ok=True)
            return False
        write_text(folder / TRAINING, subset.table)
        learner = Learner(settings, images)
        done = checkpoint.load(kept, learner.parts, settings.device)
        with _logged(folder / LOGS, done) as log:
            for number in range(done, settings.steps):
                loss = learner.step(number)
                log.add_scalar("loss", loss, number + 1)
                on_step(number + 1, loss)
                if (number + 1) % checkpoint_every == 0:
                    log.flush()
                    checkpoint.save(kept, number + 1, learner.parts)
        _finish(learner.finished(), folder)
        kept.unlink(missing_ok=True)
    return True


class _NoLog:
    """What is logged where TensorBoard is not installed: nothing."""

    def add_scalar(self, name: str, value: float, step: int) -> None: ...

    def flush(self) -> None: ...


def _logged(folder: Path, done: int) -> AbstractContextManager[Any]:
    """A log for TensorBoard, without what a killed process logged after the `done` steps it kept."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return nullcontext(_NoLog())
    return SummaryWriter(str(folder), purge_step=done + 1)


def _finish(pipeline: Any, folder: Path) -> None:
    """Write the pipeline whole beside its place, then move it there; INDEX last, since it says that all is there."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as making:
        _save(pipeline, Path(making))
        for path in Path(making).rglob("*.*"):
            shutil.copymode(folder / CONFIG, path)  # safetensors writes files for their owner alone
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        for part in sorted(Path(making).iterdir(), key=lambda path: path.name == INDEX):
            shutil.rmtree(folder / part.name, ignore_errors=True)  # of a call that was killed here
            part.replace(folder / part.name)


def _save(pipeline: Any, folder: Path) -> None:
    """Raises OSError as the system does: safetensors has an error of its own for a full disk."""
    from safetensors import SafetensorError

    try:
        pipeline.save_pretrained(folder)
    except SafetensorError as error:
        if refused := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(folder.parent)) from error
        raise
