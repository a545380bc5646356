"""Sets of images as backbones describe them, one after the other; what fails fails alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from bench.audit.sides import Images, Reading, Side, holds_descriptors, made_by, opened, read_images
from bench.cells import kind_of, preprocessing
from bench.describe import Loading, describe, obtain
from bench.descriptor import DescriptorKind
from bench.descriptors.fill import How
from bench.errors import BenchError, WeightsUnavailable
from bench.interfaces import NATIVE, Alpha, Backbone, Colour, ImageFile
from bench.manifest import contents, images_sha256
from bench.paths import home
from bench.plugins import Selected
from bench.records import Config
from bench.similarity import Similarity
from bench.sources import Source, images_of
from bench.store import DescriptorStore, Stored
from bench.weights import WeightsStore

S = TypeVar("S")
T = TypeVar("T")

#: Told what is counted, how many are done, and of how many.
Progress = Callable[[str, int, int], Any]


def config_of(
    backbones: Sequence[Selected[Backbone]], seed: int, device: str, batch_size: int, alpha: Alpha, colour: Colour
) -> Config:
    """How pretrained backbones describe images that belong to no run."""
    names = tuple(one.item.name for one in backbones)
    return Config(names, (), (), "pretrained", seed, device, batch_size, alpha=alpha, colour=colour)


@dataclass(frozen=True)
class Describing:
    """What describes images."""

    backbones: Sequence[Selected[Backbone]]
    config: Config
    store: DescriptorStore
    weights: WeightsStore
    reading: Reading
    on_progress: Progress

    @classmethod
    def here(
        cls,
        backbones: Sequence[Selected[Backbone]],
        config: Config,
        weights: WeightsStore,
        reading: Reading,
        on_progress: Progress,
    ) -> "Describing":
        """With the descriptors kept on this machine. Raises OSError where none can be."""
        store = DescriptorStore(home() / "descriptors")
        store.require_writable()
        reading = replace(reading, preprocess=replace(NATIVE, alpha=config.alpha, colour=config.colour))
        return cls(backbones, config, store, weights, reading, on_progress)

    def obtained(self, chosen: Selected[Backbone]) -> Loading:
        """A backbone with its weights. Raises WeightsUnavailable, CheckpointError."""
        return obtain(chosen, self.config, self.weights)

    def read(self, what: str, source: Source) -> Images:
        """The images of a set that can be read. Raises as `read_images` does."""
        return read_images(source, self.reading, self._counting(f"{what} images read"))

    def side(self, loading: Loading, what: str, images: Images, kind: DescriptorKind) -> Side:
        """A set with its descriptors, without the images that have none. Raises as `describe` does."""
        preprocess = preprocessing(loading.chosen.item, self.config)
        stored = self.stored(loading, what, images.files, images.sha256, kind)
        left = images.without(stored.failed)
        return left.described(stored.descriptors, kind, preprocess, made_by(loading.key("", kind)))

    def stored(
        self, loading: Loading, what: str, files: Sequence[ImageFile], sha256: Mapping[str, str], kind: DescriptorKind
    ) -> Stored:
        """Descriptors of images, whose hashes are known by their ids, from the store where they are there."""
        key, n = loading.key(images_sha256(files, sha256), kind), len(files)
        count = self._counting(f"{loading.chosen.item.name}, {what}")
        how = How(self.reading.workers, lambda done: count(done, n), self.reading.strict)
        return describe(loading, files, contents(files, sha256), key, self.store, how)

    def _counting(self, what: str) -> Callable[[int, int], Any]:
        return lambda done, total: self.on_progress(what, done, total)


@dataclass
class Tried(Generic[T]):
    """found: by backbone and similarity, in their order. failed: by what was asked, why.

    unavailable: backbones without weights here that were not named, such as those of a group, why.
    """

    found: list[T] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def each(self, backbone: str, similarities: Sequence[Similarity], work: Callable[[Similarity], T]) -> None:
        """Try the work with every similarity."""
        for similarity in similarities:
            try:
                self.found.append(work(similarity))
            except BenchError as error:
                self.failed[f"{backbone}, {similarity}"] = str(error)


def by_each(
    how: Describing,
    similarities: Sequence[Similarity],
    described: Callable[[Loading, DescriptorKind], S],
    work: Callable[[str, S, Similarity], T],
) -> Tried[T]:
    """The work by every backbone and similarity, on what is described once for all similarities that take it alike."""
    tried: Tried[T] = Tried()
    for chosen in how.backbones:
        name = chosen.item.name
        try:
            loading = how.obtained(chosen)
            for kind in dict.fromkeys(map(kind_of, similarities)):
                sides = described(loading, kind)
                of_kind = [similarity for similarity in similarities if kind_of(similarity) == kind]
                tried.each(name, of_kind, partial(work, name, sides))
        except WeightsUnavailable as error:
            (tried.failed if chosen.explicit else tried.unavailable)[name] = str(error)
        except BenchError as error:
            tried.failed[name] = str(error)
    return tried


def one_side(what: str, spec: str, similarity: Similarity, how: Describing) -> Side:
    """A set of images as the first of the backbones describes it for a similarity.

    Of descriptors that were made before, just these. Raises UsageError, DatasetError, WeightsUnavailable, and as
    `open_vectors` does.
    """
    if holds_descriptors(spec):
        return opened(spec, how.reading.strict)
    return how.side(how.obtained(how.backbones[0]), what, how.read(what, images_of(spec)), kind_of(similarity))
