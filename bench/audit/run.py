"""An audit by several backbones and similarities, of images or of descriptors that were made before."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.audit.sides import Images, Side, holds_descriptors, made_from, opened, readable, require_alike
from bench.audit.verdict import Audited, Settings, audit
from bench.cells import kind_of, preprocessing
from bench.describe import Loading, describe, obtain
from bench.descriptor import DescriptorKind
from bench.errors import BenchError, UsageError, WeightsUnavailable
from bench.interfaces import Backbone
from bench.manifest import images_sha256
from bench.paths import home
from bench.plugins import Selected
from bench.records import Config
from bench.similarity import Similarity
from bench.sources import Source, images_of
from bench.store import DescriptorStore
from bench.weights import WeightsStore

GENERATED, TRAINING = "generated", "training"

#: Told what is counted, how many are done, and of how many.
Progress = Callable[[str, int, int], Any]


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


@dataclass(frozen=True)
class Describing:
    """What describes images."""

    backbones: Sequence[Selected[Backbone]]
    config: Config
    store: DescriptorStore
    weights: WeightsStore
    workers: int
    on_progress: Progress

    @classmethod
    def here(
        cls,
        backbones: Sequence[Selected[Backbone]],
        seed: int,
        device: str,
        batch_size: int,
        weights: WeightsStore,
        workers: int,
        on_progress: Progress,
    ) -> "Describing":
        """With pretrained weights, and the descriptors kept on this machine. Raises OSError where none can be."""
        config = Config(tuple(one.item.name for one in backbones), (), (), "pretrained", seed, device, batch_size)
        store = DescriptorStore(home() / "descriptors")
        store.require_writable()
        return cls(backbones, config, store, weights, workers, on_progress)


def of_descriptors(wanted: Wanted) -> Outcome:
    """The audit of descriptors that were made before. Raises as `open_vectors`, `audit` and `require_alike` do."""
    require_alike(wanted.generated, wanted.training)
    training = opened(wanted.training)
    is_self = _path(wanted.generated) == _path(wanted.training)
    generated = training if is_self else opened(wanted.generated)
    name = str(made_from(wanted.training).get("backbone", "descriptors"))
    audited, failed = _audited(name, generated, training, wanted.similarities, wanted.settings, is_self)
    return Outcome(audited, is_self, failed=failed)


def of_images(wanted: Wanted, how: Describing) -> Outcome:
    """The audit of images by each backbone; one whose weights are not to be had, or that fails, is told.

    Raises UsageError and DatasetError for images that are not there.
    """
    sources = {GENERATED: images_of(wanted.generated), TRAINING: images_of(wanted.training)}
    is_self = sources[GENERATED].identity == sources[TRAINING].identity
    wanted_sides = (TRAINING,) if is_self else (GENERATED, TRAINING)
    sides = {side: _read(side, sources[side], how) for side in wanted_sides}
    found: list[Audited] = []
    failed: dict[str, str] = {}
    unavailable: dict[str, str] = {}
    for chosen in how.backbones:
        name = chosen.item.name
        try:
            loading = obtain(chosen, how.config, how.weights)
            for kind in dict.fromkeys(map(kind_of, wanted.similarities)):
                described = {side: _described(loading, side, images, kind, how) for side, images in sides.items()}
                similarities = [s for s in wanted.similarities if kind_of(s) == kind]
                training = described[TRAINING]
                generated = described.get(GENERATED, training)
                more, why = _audited(name, generated, training, similarities, wanted.settings, is_self)
                found += more
                failed |= why
        except WeightsUnavailable as error:
            (failed if chosen.explicit else unavailable)[name] = str(error)
        except BenchError as error:
            failed[name] = str(error)
    unreadable = {side: images.unreadable for side, images in sides.items()}
    return Outcome(found, is_self, unreadable, failed, unavailable)


def _audited(
    name: str,
    generated: Side,
    training: Side,
    similarities: Iterable[Similarity],
    settings: Settings,
    is_self: bool,
) -> tuple[list[Audited], dict[str, str]]:
    found, failed = [], {}
    for similarity in similarities:
        try:
            verdict = audit(name, generated, training, similarity, settings, is_self)
            found.append(Audited(verdict, generated, training))
        except BenchError as error:
            failed[f"{name}, {similarity}"] = str(error)
    return found, failed


def one_side(spec: str, similarity: Similarity, how: Describing) -> tuple[Side, Mapping[str, str]]:
    """A set of images as the first of the backbones describes it for a similarity, and those that can't be read.

    Of descriptors that were made before, just these. Raises UsageError, DatasetError, WeightsUnavailable, and as
    `open_vectors` does.
    """
    if holds_descriptors(spec):
        return opened(spec), {}
    images = _read(TRAINING, images_of(spec), how)
    loading = obtain(how.backbones[0], how.config, how.weights)
    return _described(loading, TRAINING, images, kind_of(similarity), how), images.unreadable


def _read(side: str, source: Source, how: Describing) -> Images:
    return readable(source.images, how.workers, _counting(how.on_progress, f"{side} images read"))


def _described(loading: Loading, side: str, images: Images, kind: DescriptorKind, how: Describing) -> Side:
    key = loading.key(images_sha256(images.files, images.sha256), kind)
    stored = how.store.find(key)
    if stored is None:
        count = _counting(how.on_progress, f"{loading.chosen.item.name}, {side}")
        n = len(images.files)
        stored = describe(loading, images.files, key, how.store, how.workers, lambda done: count(done, n))
    return images.described(stored.descriptors, kind, preprocessing(loading.chosen.item, how.config))


def _counting(on_progress: Progress, what: str) -> Callable[[int, int], Any]:
    return lambda done, total: on_progress(what, done, total)


def _path(spec: str) -> str:
    return str(Path(spec).resolve())
