"""Thresholds for a chosen rate of false alarms, or a precision, by backbone and similarity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.audit.apart import Apart, drawn
from bench.audit.calibration import Calibrated
from bench.audit.describing import Describing, Tried, by_each
from bench.audit.sides import Side, made_from, opened
from bench.audit.thresholds import Threshold
from bench.data.loaded_dataset import GO_ON, LoadedDataset, Policy
from bench.data.unreadable import LeftOut
from bench.describe import Loading, described_images, of_split
from bench.descriptor import DescriptorKind
from bench.errors import UsageError
from bench.evaluate import evaluate
from bench.interfaces import Dataset, Split
from bench.metrics import Pool, concatenated, recall_at_precision
from bench.similarity import Similarity
from bench.sources import images_of

BACKGROUND = "background"


@dataclass(frozen=True)
class Wanted:
    """background: images of which none copies another. datasets: of known copies.

    n_background: images of the background, drawn by the seed where there are more, whose pairs are looked at.
    """

    background: str
    datasets: Sequence[Dataset]
    similarities: Sequence[Similarity]
    thresholds: Sequence[Threshold]
    n_background: int
    seed: int

    def __post_init__(self) -> None:
        """Raises UsageError for what can't be told."""
        if plain := next((dataset.name for dataset in self.datasets if dataset.kind != "copy"), None):
            raise UsageError(f"{plain} is no set of copies: name one of copy detection, see `list datasets`")
        if not self.datasets and (at := next((t for t in self.thresholds if t.kind == "precision"), None)):
            raise UsageError(f"{at} needs sets of known copies: name them by --datasets")


@dataclass(frozen=True)
class Copies:
    """Pairs of known copies and all others that they are told from. n: known copies, found or not.

    floor: what scores of no pair below it are known.
    """

    pool: Pool
    n: int
    floor: float

    def score(self, precision: float) -> float | None:
        """That above which most copies are found while at least this share are copies; None where there is none."""
        point = recall_at_precision(self.pool.scores, self.pool.is_match, self.n, precision)
        # a threshold is what has to be exceeded, the score of the last pair is still above it
        return None if point is None else float(np.nextafter(np.float32(point.threshold), np.float32(-np.inf)))

    def above(self, score: float) -> tuple[float | None, float | None]:
        """Precision and recall of the pairs above a score, None where they are not known."""
        if score < self.floor:
            return None, None
        over = self.pool.scores > score
        n_found = int(self.pool.is_match[over].sum())
        return (n_found / int(over.sum()) if over.any() else None), n_found / self.n


#: A set of copies with the descriptors of its queries and of its database.
Described = tuple[Dataset, Split, NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class _Described:
    background: Side
    sets: Sequence[Described]


def of_images(
    wanted: Wanted, how: Describing, policy: Policy = GO_ON
) -> tuple[Tried[list[Calibrated]], Mapping[str, LeftOut]]:
    """Of the images by each backbone, and what is left out of the background and of the sets of copies.

    Raises UsageError and DatasetError for images that are not there, or that the ground truth needs.
    """
    images = how.read(BACKGROUND, images_of(wanted.background))
    loaded = [LoadedDataset.load(dataset, None, wanted.seed, policy) for dataset in wanted.datasets]
    left_out = {BACKGROUND: images.left_out}

    def described(loading: Loading, kind: DescriptorKind) -> _Described:
        sets: list[Described] = []
        for data in loaded:
            name = data.dataset.name
            stored = how.stored(loading, name, data.images, data.hashed, kind)
            judged = data.judged(stored.failed, policy)
            rows = of_split(stored.descriptors, described_images(data.images, stored), judged.split)
            sets.append((data.dataset, judged.split, *rows))
            known = left_out.get(name, LeftOut(skipped=data.split.skipped))
            left_out[name] = LeftOut.joined([known, LeftOut(judged.unreadable)])
        background = how.side(loading, BACKGROUND, images, kind)
        left_out[BACKGROUND] = LeftOut.joined([left_out[BACKGROUND], background.left_out])
        return _Described(background, sets)

    def work(name: str, of: _Described, similarity: Similarity) -> list[Calibrated]:
        rows = drawn(len(of.background), wanted.n_background, wanted.seed)
        copies = _copies(of.sets, similarity) if of.sets else None
        return calibrated(name, of.background, rows, similarity, wanted.thresholds, copies)

    return by_each(how, wanted.similarities, described, work), left_out


def of_descriptors(wanted: Wanted, strict: bool = False) -> tuple[Tried[list[Calibrated]], Mapping[str, LeftOut]]:
    """Of descriptors of the background that were made before, and what of them is left out.

    Raises UsageError, and as `opened` does.
    """
    if wanted.datasets:
        raise UsageError(f"{wanted.background} holds descriptors: give images, as the sets of copies are, or no sets")
    side = opened(wanted.background, strict)
    name = str(made_from(wanted.background).get("backbone", "descriptors"))
    rows = drawn(len(side), wanted.n_background, wanted.seed)
    tried: Tried[list[Calibrated]] = Tried()
    tried.each(name, wanted.similarities, lambda of: calibrated(name, side, rows, of, wanted.thresholds))
    return tried, {BACKGROUND: side.left_out}


def calibrated(
    name: str,
    background: Side,
    rows: NDArray[np.int64],
    similarity: Similarity,
    thresholds: Sequence[Threshold],
    copies: Copies | None = None,
) -> list[Calibrated]:
    """What thresholds come to by the pairs of `rows` of the background with all of it, and by known copies.

    Raises UsageError for a rate that too few pairs can tell.
    """
    apart = Apart.of(background, rows, similarity)
    found = []
    for threshold in thresholds:
        score = _score(threshold, apart, copies)
        precision, recall = (None, None) if copies is None or score is None else copies.above(score)
        found.append(
            Calibrated(
                name,
                str(similarity),
                str(threshold),
                score,
                None if score is None else apart.rate(score),
                apart.n_pairs,
                precision,
                recall,
                None if copies is None else copies.n,
                background.made_by,
            )
        )
    return found


def _score(threshold: Threshold, apart: Apart, copies: Copies | None) -> float | None:
    if threshold.kind == "score":
        return threshold.value
    if threshold.kind == "fpr":
        return apart.score(threshold.value)
    assert copies is not None
    return copies.score(threshold.value)


def _copies(sets: Sequence[Described], similarity: Similarity) -> Copies:
    """Of all sets in one pool, as one threshold must serve them."""
    pools, n, floor = [], 0, -np.inf
    for dataset, split, queries, database in sets:
        found = evaluate(queries, database, split, ["micro_ap"], similarity, candidates=dataset.candidates)
        judged = found.evidence.judged[""]
        assert judged.pool is not None
        pools.append(judged.pool)
        n += int(judged.n_positives.sum())
        if dataset.candidates is not None and len(judged.pool.scores) >= dataset.candidates:
            floor = max(floor, float(judged.pool.scores.min()))
    return Copies(concatenated(pools), n, floor)
