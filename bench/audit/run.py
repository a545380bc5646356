"""An audit by several backbones and similarities, of images or of descriptors that were made before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.audit.describing import Describing, Tried, by_each
from bench.audit.sides import AT_ONCE, Side, holds_descriptors, made_from, opened, require_alike
from bench.audit.verdict import Audited, Settings, audit
from bench.data.unreadable import LeftOut
from bench.describe import Loading
from bench.descriptor import DescriptorKind
from bench.errors import UsageError
from bench.similarity import Similarity
from bench.sources import images_of

GENERATED, TRAINING = "generated", "training"


@dataclass(frozen=True)
class Wanted:
    """generated, training: what `--generated` and `--training` name."""

    generated: str
    training: str
    similarities: tuple[Similarity, ...]
    settings: Settings

    @property
    def of_descriptors(self) -> bool:
        """Whether both sides are descriptors. Raises UsageError where one is and the other is not."""
        a, b = holds_descriptors(self.generated), holds_descriptors(self.training)
        if a != b:
            one, other = (self.generated, self.training) if a else (self.training, self.generated)
            raise UsageError(
                f"{one} holds descriptors and {other} does not: `embed` it too, or give images on both sides"
            )
        return a


@dataclass(frozen=True)
class Outcome:
    """is_self: whether both sides are one set. left_out: by side. failed: by what was asked, why.

    unavailable: backbones without weights here that were not named, such as those of a group, why.
    """

    audited: Sequence[Audited]
    is_self: bool
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)


def of_descriptors(wanted: Wanted, strict: bool = False) -> Outcome:
    """The audit of descriptors that were made before.

    Raises as `open_vectors` and `require_alike` do, and UsageError for fewer training images than top_k.
    """
    require_alike(wanted.generated, wanted.training)
    training, generated = opened(wanted.training, strict), opened(wanted.generated, strict)
    _require_enough(len(training), wanted.settings)
    is_self = _are_same(generated, training)
    name = str(made_from(wanted.training).get("backbone", "descriptors"))
    tried: Tried[Audited] = Tried()
    tried.each(name, wanted.similarities, lambda of: _audited(name, generated, training, of, wanted.settings, is_self))
    left_out = {GENERATED: generated.left_out, TRAINING: training.left_out}
    return Outcome(tried.found, is_self, left_out, tried.failed)


def of_images(wanted: Wanted, how: Describing) -> Outcome:
    """The audit of images by each backbone; one whose weights are not to be had, or that fails, is told.

    Raises UsageError and DatasetError for images that are not there, or fewer training images than top_k.
    """
    sources = {GENERATED: images_of(wanted.generated), TRAINING: images_of(wanted.training)}
    images = {TRAINING: how.read(TRAINING, sources[TRAINING])}
    _require_enough(len(images[TRAINING].files), wanted.settings)
    is_self = sources[GENERATED].identity == sources[TRAINING].identity
    if not is_self:
        generated = how.read(GENERATED, sources[GENERATED])
        # the same set has many names: a link, a copy, a column that is named
        is_self = sorted(generated.sha256.values()) == sorted(images[TRAINING].sha256.values())
        if not is_self:
            images = {GENERATED: generated, **images}

    left_out = {side: of.left_out for side, of in images.items()}

    def described(loading: Loading, kind: DescriptorKind) -> dict[str, Side]:
        sides = {side: how.side(loading, side, of, kind) for side, of in images.items()}
        left_out.update({side: LeftOut.joined([left_out[side], of.left_out]) for side, of in sides.items()})
        return sides

    def work(name: str, sides: dict[str, Side], similarity: Similarity) -> Audited:
        training = sides[TRAINING]
        return _audited(name, sides.get(GENERATED, training), training, similarity, wanted.settings, is_self)

    tried = by_each(how, wanted.similarities, described, work)
    return Outcome(tried.found, is_self, left_out, tried.failed, tried.unavailable)


def _audited(
    name: str, generated: Side, training: Side, similarity: Similarity, settings: Settings, is_self: bool
) -> Audited:
    return Audited(audit(name, generated, training, similarity, settings, is_self), generated, training)


def _require_enough(n_training: int, settings: Settings) -> None:
    """Before hours of describing."""
    if settings.top_k > n_training:
        raise UsageError(f"--top-k is {settings.top_k}, but there are {n_training} training images: choose fewer")


def _are_same(generated: Side, training: Side) -> bool:
    """Whether all descriptors are the same, by whatever name they were read."""
    a, b = generated.descriptors, training.descriptors
    starts = range(0, len(training), AT_ONCE)
    return len(a) == len(b) and all(np.array_equal(a[i : i + AT_ONCE], b[i : i + AT_ONCE]) for i in starts)
