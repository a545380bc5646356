"""An audit by several backbones and similarities, of images or of descriptors that were made before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.audit.describing import Describing, Tried, by_each
from bench.audit.sides import Side, holds_descriptors, made_from, opened, require_alike
from bench.audit.verdict import Audited, Settings, audit
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
    """is_self: whether both sides are one set. unreadable: by side and name, why. failed: by what was asked, why.

    unavailable: backbones without weights here that were not named, such as those of a group, why.
    """

    audited: Sequence[Audited]
    is_self: bool
    unreadable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)


def of_descriptors(wanted: Wanted) -> Outcome:
    """The audit of descriptors that were made before. Raises as `open_vectors`, `audit` and `require_alike` do."""
    require_alike(wanted.generated, wanted.training)
    training = opened(wanted.training)
    is_self = _path(wanted.generated) == _path(wanted.training)
    generated = training if is_self else opened(wanted.generated)
    name = str(made_from(wanted.training).get("backbone", "descriptors"))
    tried: Tried[Audited] = Tried()
    tried.each(name, wanted.similarities, lambda of: _audited(name, generated, training, of, wanted.settings, is_self))
    return Outcome(tried.found, is_self, failed=tried.failed)


def of_images(wanted: Wanted, how: Describing) -> Outcome:
    """The audit of images by each backbone; one whose weights are not to be had, or that fails, is told.

    Raises UsageError and DatasetError for images that are not there.
    """
    sources = {GENERATED: images_of(wanted.generated), TRAINING: images_of(wanted.training)}
    is_self = sources[GENERATED].identity == sources[TRAINING].identity
    images = {side: how.read(side, sources[side]) for side in ((TRAINING,) if is_self else (GENERATED, TRAINING))}

    def described(loading: Loading, kind: DescriptorKind) -> dict[str, Side]:
        return {side: how.side(loading, side, of, kind) for side, of in images.items()}

    def work(name: str, sides: dict[str, Side], similarity: Similarity) -> Audited:
        training = sides[TRAINING]
        return _audited(name, sides.get(GENERATED, training), training, similarity, wanted.settings, is_self)

    tried = by_each(how, wanted.similarities, described, work)
    unreadable = {side: of.unreadable for side, of in images.items()}
    return Outcome(tried.found, is_self, unreadable, tried.failed, tried.unavailable)


def _audited(
    name: str, generated: Side, training: Side, similarity: Similarity, settings: Settings, is_self: bool
) -> Audited:
    return Audited(audit(name, generated, training, similarity, settings, is_self), generated, training)


def _path(spec: str) -> str:
    return str(Path(spec).resolve())
