"""The generated images that are most similar to a training image, with their nearest ones, as a page shows them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.audit.sides import Side
from bench.audit.verdict import Audited, Verdict
from bench.interfaces import ImageFile

#: Generated images of a backbone and similarity at most, and pictures of all of them: about 3 kB each.
N_GENERATED = 100
N_PICTURES = 3000
#: Places of the slider that leaves out low scores, at most.
N_STEPS = 250

#: Left, top, right and bottom, as fractions of an image.
Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class Seen:
    """An image; file None where there are only descriptors. region: what gave the score; None where it is not known."""

    id: str
    file: ImageFile | None
    region: Region | None


@dataclass(frozen=True)
class Match:
    """A training image, and the generated one with the region that met it."""

    training: Seen
    generated: Seen
    score: float


@dataclass(frozen=True)
class Copy:
    """A generated image by its nearest training images, the nearest first. above: the thresholds that it is above."""

    matches: tuple[Match, ...]
    above: tuple[str, ...]

    @property
    def best(self) -> Match:
        """The nearest."""
        return self.matches[0]

    @property
    def files(self) -> list[ImageFile]:
        """All that can be shown of it."""
        seen = [self.best.generated, *(match.training for match in self.matches)]
        return [one.file for one in seen if one.file]


@dataclass(frozen=True)
class Steps:
    """Places of a slider over scores: numbers, `size` apart, and how many generated images have at least that."""

    size: str
    places: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Gallery:
    """Of one backbone and similarity; the copies by falling best score."""

    verdict: Verdict
    steps: Steps
    copies: tuple[Copy, ...]


def galleries(audited: Iterable[Audited]) -> list[Gallery]:
    """One each, as many generated images in all of them as N_GENERATED and N_PICTURES allow."""
    found = [Gallery(of.verdict, steps(of.verdict.best), _copies(of)) for of in audited]
    n = N_GENERATED
    while n > 1 and len(files(cut(found, n))) > N_PICTURES:
        n -= 1
    return cut(found, n)


def cut(found: Iterable[Gallery], n: int) -> list[Gallery]:
    """At most n generated images in each."""
    return [replace(gallery, copies=gallery.copies[:n]) for gallery in found]


def files(found: Iterable[Gallery]) -> list[ImageFile]:
    """Of all pictures, each once."""
    return list(dict.fromkeys(file for gallery in found for copy in gallery.copies for file in copy.files))


def steps(best: NDArray[np.float32]) -> Steps:
    """Multiples of a power of ten around all scores [N], at least one."""
    low, high = float(best.min()), float(best.max())
    exponent = math.ceil(math.log10(max(high - low, 1e-6) / N_STEPS))
    decimals, size = max(0, -exponent), 10.0**exponent
    numbers = range(math.floor(low / size), math.ceil(high / size) + 1)
    places = tuple(f"{number * size:.{decimals}f}" for number in numbers)
    scores = np.sort(best.astype(np.float64))
    counts = len(scores) - np.searchsorted(scores, np.array(places, np.float64))
    return Steps(f"{size:.{decimals}f}", places, tuple(counts.tolist()))


def _copies(of: Audited) -> tuple[Copy, ...]:
    found = of.verdict.matches
    there = np.flatnonzero(np.isfinite(found.scores[:, 0]))
    rows = there[np.argsort(-found.scores[there, 0], kind="stable")][:N_GENERATED]
    return tuple(_copy(of, row) for row in rows)


def _copy(of: Audited, row: int) -> Copy:
    found = of.verdict.matches
    k = int((found.indices[row] >= 0).sum())
    cells = of.verdict.chunks[row, :k]
    generated = _seen(of.generated, np.full(k, row, np.int64), cells[:, 0])
    training = _seen(of.training, found.indices[row, :k], cells[:, 1])
    matches = tuple(map(Match, training, generated, found.scores[row, :k].tolist()))
    return Copy(matches, tuple(one.threshold for one in of.verdict.thresholds if matches[0].score > one.score))


def _seen(side: Side, rows: NDArray[np.int64], cells: NDArray[np.int32]) -> list[Seen]:
    regions: Sequence[Region | None] = [None] * len(rows)
    if side.places:
        regions = [_with_area(*edges) for edges in side.places(rows, cells).tolist()]
    shown = [None] * len(rows) if side.files is None else [side.files[row] for row in rows]
    return list(map(Seen, side.names(rows), shown, regions))


def _with_area(left: float, top: float, right: float, bottom: float) -> Region | None:
    """None for a cell that lies on padding alone."""
    return (left, top, right, bottom) if left < right and top < bottom else None
