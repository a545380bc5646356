"""Images of a model: each from a seed of its own, whole or not there, and listed in a manifest."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.files import sha256_text, write_atomic, write_text
from bench.generate.folder import opened
from bench.generate.pipeline import Pipeline

CONFIG = "sample.json"
MANIFEST = "manifest.csv"
COLUMNS = ("file", "seed", "caption", "withheld", "scheduler", "steps", "guidance", "model")
DIGITS = 8


@dataclass(frozen=True)
class Settings:
    """What decides the images, model and captions aside. seed: of the first; each of the others has the next one.

    guidance: None for the model's own.
    """

    count: int
    scheduler: str
    steps: int
    guidance: float | None
    batch_size: int
    seed: int
    device: str
    precision: str


@dataclass(frozen=True)
class Outcome:
    """Numbers of images: all of them, made by this call, withheld by the model's safety checker."""

    count: int
    made: int
    withheld: int


def sample(
    pipeline: Pipeline,
    captions: Sequence[str],
    settings: Settings,
    folder: Path,
    on_progress: Callable[[int, int], Any],
) -> Outcome:
    """Makes the images that `folder` lacks; captions: one an image, or none at all.

    Batches are always of the same seeds, so that going on makes what would have been made. Raises UsageError where
    captions or guidance are not what the model takes, and as `opened` does, and OSError for a full disk.
    """
    _require_fitting(pipeline, captions, settings)
    configuration = {
        "model": pipeline.model,
        "model_sha256": pipeline.sha256,
        "captions_sha256": sha256_text("\0".join(captions)) if captions else None,
        **asdict(settings),
    }
    with opened(folder, CONFIG, configuration, settings.device):
        rows = _kept(folder)
        before = len(rows)
        for first in range(0, settings.count, settings.batch_size):
            seeds = range(settings.seed, settings.seed + settings.count)[first : first + settings.batch_size]
            if any(file_of(seed) not in rows for seed in seeds):
                asked = captions[first : first + settings.batch_size]
                rows |= {row["file"]: row for row in _batch(pipeline, seeds, asked, settings, folder)}
                _write_manifest(folder, rows)
                on_progress(min(first + settings.batch_size, settings.count), settings.count)
    withheld = sum(row["withheld"] == str(True) for row in rows.values())
    return Outcome(len(rows), len(rows) - before, withheld)


def file_of(seed: int) -> str:
    """The name of a seed's image."""
    return f"{seed:0{DIGITS}d}.png"


def _batch(
    pipeline: Pipeline, seeds: Sequence[int], captions: Sequence[str], settings: Settings, folder: Path
) -> Iterator[dict[str, str]]:
    """Writes the images of the seeds, and tells of each."""
    guidance = pipeline.guidance if settings.guidance is None else settings.guidance
    made = pipeline.make(seeds, captions, settings.steps, settings.guidance)
    told = captions or [""] * len(seeds)
    for seed, caption, image, withheld in zip(seeds, told, made.images, made.withheld, strict=True):
        write_atomic(folder / file_of(seed), partial(image.save, format="PNG"))
        yield {
            "file": file_of(seed),
            "seed": str(seed),
            "caption": caption,
            "withheld": str(withheld),
            "scheduler": type(pipeline.pipeline.scheduler).__name__,
            "steps": str(settings.steps),
            "guidance": "" if guidance is None else f"{guidance:g}",
            "model": pipeline.model,
        }


def _require_fitting(pipeline: Pipeline, captions: Sequence[str], settings: Settings) -> None:
    if captions and not pipeline.takes_captions:
        raise UsageError(f"the model '{pipeline.model}' takes no captions: leave out --captions")
    if not captions and pipeline.takes_captions:
        raise UsageError(f"the model '{pipeline.model}' makes images of captions: give it some by --captions FILE")
    if settings.guidance is not None and pipeline.guidance is None:
        raise UsageError(f"the model '{pipeline.model}' takes no guidance: leave out --guidance")


def _kept(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of the manifest by file, of those that are there."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row for row in csv.DictReader(stream) if (folder / row["file"]).is_file()}


def _write_manifest(folder: Path, rows: Mapping[str, dict[str, str]]) -> None:
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows.values(), key=lambda row: int(row["seed"])))
    write_text(folder / MANIFEST, written.getvalue())
