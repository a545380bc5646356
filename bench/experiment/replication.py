"""How near the samples of models come to their training images, by the number of these, and what is to be expected.

The nearest of many images is nearer than the nearest of few, whatever a generator does. So the background is that of
all images, the same for every model, and the nearest of all images is asked for: was the model trained on it?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.audit.matches import of_others
from bench.audit.run import Describing, one_side
from bench.audit.sides import Side
from bench.audit.statistics import Share, share_above
from bench.audit.thresholds import Threshold, score_of
from bench.audit.verdict import Audited, Settings, audit
from bench.describe import obtain
from bench.errors import BenchError, WeightsUnavailable
from bench.experiment.folder import LISTING, Part, part
from bench.similarity import Similarity, top_k


@dataclass(frozen=True)
class Auditing:
    """settings: of each audit; their thresholds as they were asked for, rates among them."""

    similarities: tuple[Similarity, ...]
    settings: Settings


@dataclass(frozen=True)
class Sampled:
    """The audit of one model's samples.

    is_seen: how many have their nearest image of all among those that the model was trained on; None where it was
    trained on all. unreadable: samples, by name, why.
    """

    audited: Audited
    is_seen: Share | None
    unreadable: Mapping[str, str]

    @property
    def n_training(self) -> int:
        return self.audited.verdict.n_training


@dataclass(frozen=True)
class Dependence:
    """On the number of training images, of one backbone and similarity.

    asked: the thresholds. background: float32 [B], similarity of some of all images to their nearest other one.
    models: by rising number of training images.
    """

    backbone: str
    similarity: Similarity
    asked: tuple[Threshold, ...]
    n_images: int
    background: NDArray[np.float32]
    models: tuple[Sampled, ...]


@dataclass(frozen=True)
class Outcome:
    """failed: by backbone and similarity, why."""

    found: Sequence[Dependence]
    failed: Mapping[str, str]


def available(how: Describing) -> tuple[Describing, Mapping[str, str]]:
    """With the backbones whose weights are to be had; of the others why not.

    Raises WeightsUnavailable for one that was named, and where none is left: before hours of training.
    """
    without: dict[str, str] = {}
    for chosen in how.backbones:
        try:
            obtain(chosen, how.config, how.weights)
        except WeightsUnavailable as error:
            without[chosen.item.name] = str(error)
            if chosen.explicit or len(without) == len(how.backbones):
                raise
    return replace(how, backbones=[chosen for chosen in how.backbones if chosen.item.name not in without]), without


def compare(sizes: Sequence[int], folder: Path, wanted: Auditing, how: Describing) -> Outcome:
    """The audits of the samples in an experiment's folder, by each backbone and similarity."""
    found: list[Dependence] = []
    failed: dict[str, str] = {}
    for chosen in how.backbones:
        for similarity in wanted.similarities:
            try:
                one = replace(how, backbones=[chosen])
                found.append(_dependence(sizes, folder, similarity, wanted.settings, one))
            except BenchError as error:
                failed[f"{chosen.item.name}, {similarity}"] = str(error)
    return Outcome(found, failed)


def _dependence(
    sizes: Sequence[int], folder: Path, similarity: Similarity, settings: Settings, how: Describing
) -> Dependence:
    everything, _ = one_side(str(folder / LISTING), similarity, how)
    n = min(settings.n_background, len(everything))
    rows = np.sort(np.random.default_rng(settings.seed).choice(len(everything), n, replace=False))
    nearest = of_others(rows, everything.descriptors, everything.twins, 1, similarity).scores[:, 0]
    plain = replace(settings, thresholds=calibrated(settings.thresholds, everything, rows, similarity))
    models = tuple(_sampled(part(folder, n), everything, n, similarity, plain, how) for n in sizes)
    return Dependence(
        how.backbones[0].item.name,
        similarity,
        settings.thresholds,
        len(everything),
        nearest[np.isfinite(nearest)],
        models,
    )


def calibrated(
    asked: Sequence[Threshold], everything: Side, rows: NDArray[np.int64], similarity: Similarity
) -> tuple[Threshold, ...]:
    """The thresholds as similarities. Of all images, since few have too few pairs for a rate. Raises as `score_of`."""
    return tuple(Threshold("score", score_of(threshold, everything, rows, similarity)) for threshold in asked)


def _sampled(
    of: Part, everything: Side, n: int, similarity: Similarity, settings: Settings, how: Describing
) -> Sampled:
    generated, unreadable = one_side(str(of.samples), similarity, how)
    seen, fits = first(everything, n), replace(settings, top_k=min(settings.top_k, n))
    verdict = audit(how.backbones[0].item.name, generated, seen, similarity, fits, is_self=False)
    nearest = verdict.matches.scores[:, 0]
    unseen = everything.descriptors[n:]
    is_seen = None if n == len(everything) else nearest_is_seen(nearest, generated, unseen, similarity)
    return Sampled(Audited(verdict, generated, seen), is_seen, unreadable)


def first(side: Side, n: int) -> Side:
    """The first n images."""
    files = None if side.files is None else side.files[:n]
    return replace(side, descriptors=side.descriptors[:n], twins=side.twins[:n], files=files)


def nearest_is_seen(
    seen: NDArray[np.float32], generated: Side, unseen: NDArray[np.floating], similarity: Similarity
) -> Share:
    """How many of the generated images are more similar to a seen image, by the scores [N], than to any unseen one."""
    return share_above(seen - top_k(generated.descriptors, unseen, 1, similarity).scores[:, 0], 0.0)
