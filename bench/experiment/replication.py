"""How near the samples of models come to their training images, by the number of these, and what is to be expected.

The nearest of many images is nearer than the nearest of few, whatever a generator does. So the background is that of
all images, the same for every model, and the nearest of all images is asked for: was the model trained on it?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.audit.apart import drawn, require_enough
from bench.audit.calibrate import calibrated
from bench.audit.calibration import Calibrated, Calibration
from bench.audit.describing import Describing, Tried, by_each
from bench.audit.matches import of_others
from bench.audit.sides import Side, made_by
from bench.audit.statistics import Share, share_above
from bench.audit.verdict import Audited, Settings, audit
from bench.cells import kind_of
from bench.data.unreadable import LeftOut
from bench.describe import Loading
from bench.descriptor import DescriptorKind
from bench.errors import WeightsUnavailable
from bench.experiment.folder import LISTING, THRESHOLDS, part
from bench.similarity import Similarity, top_k
from bench.sources import images_of


@dataclass(frozen=True)
class Auditing:
    """settings: of each audit."""

    similarities: tuple[Similarity, ...]
    settings: Settings


@dataclass(frozen=True)
class Sampled:
    """The audit of one model's samples.

    is_seen: how many have their nearest image of all among those that the model was trained on; None where it was
    trained on all. left_out: of the samples.
    """

    audited: Audited
    is_seen: Share | None
    left_out: LeftOut

    @property
    def n_training(self) -> int:
        return self.audited.verdict.n_training


@dataclass(frozen=True)
class Dependence:
    """On the number of training images, of one backbone and similarity.

    calibrated: what the thresholds come to by all images; none where a table was given. background: float32 [B],
    similarity of some of all images to their nearest other one. models: by rising number of training images.
    """

    backbone: str
    similarity: Similarity
    n_images: int
    calibrated: tuple[Calibrated, ...]
    background: NDArray[np.float32]
    models: tuple[Sampled, ...]


@dataclass(frozen=True)
class _Sides:
    """everything: all images, in the order in which they were drawn. samples: by the number of training images.

    n_seen: by the number of training images, how many of the first rows of everything they are; blank images have none.
    """

    everything: Side
    samples: Mapping[int, Side]
    n_seen: Mapping[int, int]


def available(how: Describing, wanted: Auditing) -> tuple[Describing, Mapping[str, str]]:
    """With the backbones whose weights are to be had; of the others why not. It is asked before hours of training.

    Raises WeightsUnavailable for one that was named, and where none is left, and UsageError where a table of thresholds
    does not hold what is wanted.
    """
    without: dict[str, str] = {}
    for chosen in how.backbones:
        try:
            _require_calibrated(how.obtained(chosen), wanted)
        except WeightsUnavailable as error:
            without[chosen.item.name] = str(error)
            if chosen.explicit or len(without) == len(how.backbones):
                raise
    return replace(how, backbones=[chosen for chosen in how.backbones if chosen.item.name not in without]), without


def require_rates(wanted: Auditing, n_images: int) -> None:
    """Raises UsageError where so many images have too few pairs for a rate that no table tells."""
    n = min(wanted.settings.n_background, n_images)
    n_pairs = n * (n_images - 1) - n * (n - 1) // 2
    for threshold in wanted.settings.thresholds:
        if threshold.kind == "fpr" and wanted.settings.calibration is None:
            require_enough(threshold.value, n_pairs)


def _require_calibrated(loading: Loading, wanted: Auditing) -> None:
    if table := wanted.settings.calibration:
        for similarity in wanted.similarities:
            of = loading.chosen.item.name, made_by(loading.key("", kind_of(similarity))), similarity
            for threshold in wanted.settings.thresholds:
                table.applied(threshold, of)


def compare(sizes: Sequence[int], folder: Path, wanted: Auditing, how: Describing) -> Tried[Dependence]:
    """The audits of the samples in an experiment's folder, by each backbone and similarity."""
    source = images_of(str(folder / LISTING))
    drawn_first = {image.id: place for place, image in enumerate(source.images)}
    images = how.read("all", source)
    samples = {n: how.read(f"samples of {n:,}", images_of(str(part(folder, n).samples))) for n in sizes}

    def described(loading: Loading, kind: DescriptorKind) -> _Sides:
        of_models = {n: how.side(loading, f"samples of {n:,}", of, kind) for n, of in samples.items()}
        everything = how.side(loading, "all images", images, kind)
        return _Sides(everything, of_models, {n: _n_seen(everything, drawn_first, n) for n in sizes})

    def work(name: str, sides: _Sides, similarity: Similarity) -> Dependence:
        return _dependence(name, sides, similarity, wanted.settings, folder / THRESHOLDS)

    return by_each(how, wanted.similarities, described, work)


def _dependence(
    name: str,
    sides: _Sides,
    similarity: Similarity,
    settings: Settings,
    table: Path,
) -> Dependence:
    everything = sides.everything
    rows = drawn(len(everything), settings.n_background, settings.seed)
    found: list[Calibrated] = []
    if settings.calibration is None:  # of all images, since few have too few pairs for a rate
        found = calibrated(name, everything, rows, similarity, settings.thresholds)
        settings = replace(settings, calibration=Calibration(table, tuple(found)))
    nearest = of_others(rows, everything.descriptors, everything.twins, 1, similarity).scores[:, 0]
    models = tuple(
        _sampled(name, generated, everything, sides.n_seen[n], similarity, settings)
        for n, generated in sides.samples.items()
    )
    background = nearest[np.isfinite(nearest)]
    return Dependence(name, similarity, len(everything), tuple(found), background, models)


def _sampled(
    name: str,
    generated: Side,
    everything: Side,
    n: int,
    similarity: Similarity,
    settings: Settings,
) -> Sampled:
    seen, fits = first(everything, n), replace(settings, top_k=min(settings.top_k, n))
    verdict = audit(name, generated, seen, similarity, fits, is_self=False)
    nearest = verdict.matches.scores[:, 0]
    unseen = everything.descriptors[n:]
    is_seen = None if n == len(everything) else nearest_is_seen(nearest, generated, unseen, similarity)
    return Sampled(Audited(verdict, generated, seen), is_seen, generated.left_out)


def _n_seen(everything: Side, place: Mapping[str, int], n: int) -> int:
    """How many rows of all images are of the first n drawn."""
    assert everything.files is not None
    return sum(place[image.id] < n for image in everything.files)


def first(side: Side, n: int) -> Side:
    """The first n images."""
    files = None if side.files is None else side.files[:n]
    return replace(side, descriptors=side.descriptors[:n], twins=side.twins[:n], files=files)


def nearest_is_seen(
    seen: NDArray[np.float32], generated: Side, unseen: NDArray[np.floating], similarity: Similarity
) -> Share:
    """How many of the generated images are more similar to a seen image, by the scores [N], than to any unseen one."""
    return share_above(seen - top_k(generated.descriptors, unseen, 1, similarity).scores[:, 0], 0.0)
