"""Models of several numbers of training images, and what each of them generates."""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from bench.data.unreadable import LeftOut
from bench.errors import UsageError
from bench.experiment.folder import IMAGES, LISTING, Part, part, require_ours, require_room
from bench.files import write_bytes, write_text
from bench.generate import pipeline
from bench.generate.learner import Settings as Training
from bench.generate.sample import Settings as Sampling
from bench.generate.sample import sample
from bench.generate.subset import TrainingReading, listed, read
from bench.generate.train import OnStep, train
from bench.interfaces import ImageFile
from bench.manifest import hashes
from bench.sources import Source

if TYPE_CHECKING:
    from torch import Tensor

#: Told what is counted, how many are done, and of how many.
Progress = Callable[[str, int, int], Any]


@dataclass(frozen=True)
class Generating:
    """source: of all images. sizes: numbers of them that a model each is trained on, rising; settings are the same."""

    source: Source
    sizes: tuple[int, ...]
    training: Training
    checkpoint_every: int
    sampling: Sampling


def sizes_of(text: str, n_images: int) -> tuple[int, ...]:
    """The numbers of a comma-separated list, rising. Raises UsageError for what can't be a number of images."""
    try:
        sizes = sorted(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--subsets '{text}' are not numbers with commas between: write 100,300,1000") from None
    if repeated := next((a for a, b in pairwise(sizes) if a == b), None):
        raise UsageError(f"--subsets names {repeated} twice: leave one out")
    if sizes[0] < 2:
        raise UsageError(f"--subsets names {sizes[0]}: name numbers of images from 2 on")
    if sizes[-1] > n_images:
        raise UsageError(f"--subsets names {sizes[-1]:,}, but --images holds {n_images:,} images: lower it")
    return tuple(sizes)


def require_possible(wanted: Generating, folder: Path) -> None:
    """Raises UsageError where the folder can't take it, as `require_ours` and `require_room` do."""
    if folder.resolve().is_relative_to(wanted.source.identity):
        raise UsageError(f"{folder} lies among the images, whose copies it will hold: choose another --output")
    training = {"images": wanted.source.identity, **asdict(wanted.training)}
    require_ours(folder, training, asdict(wanted.sampling))
    n_images, count = len(wanted.source.images), wanted.sampling.count
    require_room(folder, n_images, len(wanted.sizes), count, wanted.training)


def make(wanted: Generating, folder: Path, reading: TrainingReading, on_progress: Progress) -> LeftOut:
    """Fill a folder with the images as the networks see them, the models and their samples, as far as it lacks them.

    Returns:
        What of the images is left out.

    Raises:
        ImageError: An image can't be read, and `reading.strict`.
        UsageError: Too few images can be read, the images in the folder are others, and as `train` and `sample`.
    """
    everything = read(wanted.source, None, wanted.training.seed, reading, partial(on_progress, "images"))
    images, seen = everything.images, everything.pixels
    if wanted.sizes[-1] > len(images):
        raise UsageError(f"--subsets names {wanted.sizes[-1]:,}, but only {len(images):,} images can be read: lower it")
    for n in wanted.sizes:  # first of all, by them the folder is known as an experiment's
        part(folder, n).path.mkdir(parents=True, exist_ok=True)
    _write_lists(folder, _written(folder / IMAGES, images, seen), wanted.sizes)
    for n in wanted.sizes:
        one = part(folder, n)
        subset = everything.first(n)
        steps, sampled = (partial(on_progress, f"{n:,} images, {what}") for what in ("steps", "sampled"))
        train(wanted.training, subset, seen[:n], one.model, wanted.checkpoint_every, _counted(steps, wanted.training))
        _sample(wanted.sampling, one, sampled)
    return everything.left_out


def _written(folder: Path, images: Sequence[ImageFile], seen: "Tensor") -> list[ImageFile]:
    """Each image as the networks see it, named by its place: ids may be no names of files."""
    found = []
    for place, (image, square) in enumerate(zip(images, seen, strict=True)):
        path, stream = folder / f"{place:08d}.png", io.BytesIO()
        Image.fromarray(square.permute(1, 2, 0).numpy()).save(stream, "PNG")
        if not path.is_file():
            write_bytes(path, stream.getvalue())
        elif path.read_bytes() != stream.getvalue():
            raise UsageError(f"{path} is not what '{image.id}' now is: choose another --output, or delete {folder}")
        found.append(ImageFile(image.id, path))
    return found


def _write_lists(folder: Path, images: Sequence[ImageFile], sizes: Sequence[int]) -> None:
    """Of all images, and for each model of those that it sees and of the others."""
    sha256 = hashes(images)
    write_text(folder / LISTING, listed(images, sha256))
    for n in sizes:
        write_text(part(folder, n).seen, listed(images[:n], sha256))
        write_text(part(folder, n).unseen, listed(images[n:], sha256))


def _counted(steps: Callable[[int, int], Any], settings: Training) -> OnStep:
    return lambda done, _: steps(done, settings.steps)


def _sample(settings: Sampling, one: Part, on_progress: Callable[[int, int], Any]) -> None:
    # by its whole name, which stands in the manifest: it is the same model from wherever it is called
    model = str(one.model.resolve())
    loaded = pipeline.loaded(model, settings.scheduler, settings.device, settings.precision)
    sample(loaded, (), settings, one.samples, on_progress)
