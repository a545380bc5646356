"""Executes a plan: what is there is kept, what fails fails alone, and every cell leaves a record."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench import cells, plan, provenance, weights
from bench.cells import Failure, Outcome
from bench.errors import DescriptorError, WeightsUnavailable
from bench.evaluate import evaluate
from bench.extract import extract
from bench.interfaces import Backbone, Dataset, Model, Split
from bench.manifest import Manifest, manifest, unique_images
from bench.plan import Definition, Plan
from bench.plugins import Selected
from bench.records import Config, Record, RunFolder
from bench.similarity import Similarity
from bench.store import DescriptorStore, Stored

T = TypeVar("T")


class Watch(Protocol):
    """Told how a run goes, to show it."""

    def cells(self, done: int, total: int) -> Any:
        """So many of the plan's cells are settled."""

    def images(self, cell: Definition, total: int, done: int) -> Any:
        """So many of the images are described for a cell."""


@dataclass(frozen=True)
class Data:
    """A dataset that was read."""

    dataset: Dataset
    split: Split
    manifest: Manifest


@dataclass
class Loading:
    """A backbone whose weights are here, loaded when the first descriptor is missing."""

    chosen: Selected[Backbone]
    config: Config
    file: Path | None
    sha256: str | None

    @cached_property
    def model(self) -> Model:
        import torch

        torch.backends.cudnn.allow_tf32 = False  # fp32 is what the record says
        torch.manual_seed(self.config.seed)
        return self.chosen.item.load(self.config.device, self.file)


class Run:
    """A configured run over a folder; `execute` brings every cell's record up to date."""

    def __init__(
        self,
        config: Config,
        backbones: Sequence[Selected[Backbone]],
        datasets: Sequence[Dataset],
        folder: RunFolder,
        store: DescriptorStore,
        network: weights.Network,
        workers: int,
        argv: list[str],
        watch: Watch,
    ) -> None:
        self.config = config
        self.backbones = {chosen.item.name: chosen for chosen in backbones}
        self.datasets = {dataset.name: dataset for dataset in datasets}
        self.folder = folder
        self.store = store
        self.network = network
        self.workers = workers
        self.argv = argv
        self.watch = watch
        self._data: dict[str, Data | Failure] = {}
        self._settled = 0

    def execute(self) -> list[Record]:
        """The records of all cells, those that were there already among them."""
        similarities = [Similarity.parse(spec) for spec in self.config.similarities]
        wanted = plan.full(self.backbones, self.datasets, similarities)
        self._done = {record.cell: record for record in self.folder.records() if record.status == "ok"}
        self._total = len(wanted)
        self._settle(0)
        self._probe()
        for name, of_backbone in groupby(wanted, key=lambda cell: cell.backbone):
            self._run_backbone(self.backbones[name], list(of_backbone))
        return list(self.folder.records())

    def _probe(self) -> None:
        if self.config.weights == "pretrained":
            missing = [c.item.weights for c in self.backbones.values() if weights.find(c.item.weights) is None]
            self.network.probe(url for w in missing if (url := weights.address(w)))

    def _run_backbone(self, chosen: Selected[Backbone], of_backbone: Plan) -> None:
        loading = _attempt("weights", partial(self._find_weights, chosen))
        for name, of_dataset in groupby(of_backbone, key=lambda cell: cell.dataset):
            if name not in self._data:
                self._data[name] = _attempt("dataset", partial(self._read, name))
            self._run_dataset(chosen, loading, self._data[name], list(of_dataset))

    def _run_dataset(
        self, chosen: Selected[Backbone], loading: Loading | Failure, data: Data | Failure, of_dataset: Plan
    ) -> None:
        done = (
            [] if isinstance(data, Failure) else [c for c in of_dataset if self._is_current(c, chosen, loading, data)]
        )
        self._settle(len(done))
        todo = plan.without_done(of_dataset, done)
        if isinstance(loading, Failure):
            self._fail(todo, loading)
        elif isinstance(data, Failure):
            self._fail(todo, data, loading)
        else:
            self._compute(loading, data, self._without_indivisible(todo, loading, data))

    def _is_current(self, cell: Definition, chosen: Selected[Backbone], loading: Loading | Failure, data: Data) -> bool:
        """Whether the cell's record still says what computing it again would say.

        Where the weights have gone since, what was computed with them counts, if nothing else has changed.
        """
        record = self._done.get(cell)
        if record is None:
            return False
        sha256 = record.body["backbone"]["weights_sha256"] if isinstance(loading, Failure) else loading.sha256
        key = cells.descriptor_key(chosen, self.config, sha256, data.manifest.images_sha256)
        return record.fingerprint == cells.fingerprint(key, data.dataset.kind, data.manifest, cell.similarity)

    def _without_indivisible(self, todo: Plan, loading: Loading, data: Data) -> Plan:
        """Fails, before anything is described, the cells whose chunks do not divide the dimension."""
        kept = []
        for cell in todo:
            dimension = loading.chosen.item.embed_dim
            problem = _attempt("evaluate", partial(cell.similarity.require_divides, dimension)) if dimension else None
            if isinstance(problem, Failure):
                self._fail([cell], problem, loading, data)
            else:
                kept.append(cell)
        return kept

    def _compute(self, loading: Loading, data: Data, todo: Plan) -> None:
        if not todo:
            return
        key = cells.descriptor_key(loading.chosen, self.config, loading.sha256, data.manifest.images_sha256)
        stored = self.store.find(key) or self._describe(loading, data, key, todo[0])
        if isinstance(stored, Failure):
            self._fail(todo, stored, loading, data)
            return
        for cell in todo:
            fingerprint = cells.fingerprint(key, data.dataset.kind, data.manifest, cell.similarity)
            self._write(cell, _attempt("evaluate", partial(_score, cell, data, stored, fingerprint)), loading, data)

    def _find_weights(self, chosen: Selected[Backbone]) -> Loading:
        if self.config.weights == "random":
            return Loading(chosen, self.config, None, None)
        obtained = weights.obtain(chosen.item.weights, self.network)
        return Loading(chosen, self.config, obtained.path if obtained else None, obtained.sha256 if obtained else None)

    def _read(self, name: str) -> Data:
        dataset = self.datasets[name]
        split = dataset.load()
        return Data(dataset, split, manifest(split))

    def _describe(self, loading: Loading, data: Data, key: dict[str, Any], cell: Definition) -> Stored | Failure:
        model = _attempt("weights", lambda: loading.model)
        if isinstance(model, Failure):
            return model
        images = unique_images(data.split)
        progress = partial(self.watch.images, cell, len(images))

        def make() -> Stored:
            backbone = loading.chosen.item
            progress(0)
            found, speed = extract(model, backbone.preprocess, images, self.config.batch_size, self.workers, progress)
            if found.shape[1] != backbone.embed_dim:
                raise DescriptorError(
                    f"{backbone.name} declares {backbone.embed_dim} dimensions, it gave {found.shape[1]}"
                )
            hardware = provenance.hardware(self.config.device)
            made = Stored(found, model.n_parameters, speed, hardware, provenance.now())
            self.store.keep(key, made)
            return made

        return _attempt("extract", make)

    def _fail(
        self, of: Iterable[Definition], why: Failure, loading: Loading | None = None, data: Data | None = None
    ) -> None:
        for cell in of:
            self._write(cell, why, loading, data)

    def _write(self, cell: Definition, result: Outcome | Failure, loading: Loading | None, data: Data | None) -> None:
        sha256 = loading.sha256 if loading else None
        backbone, dataset = self.backbones[cell.backbone].item, self.datasets[cell.dataset]
        found = data.manifest if data else None
        self.folder.write(cells.record(cell, backbone, dataset, self.config, self.argv, sha256, found, result))
        self._settle(1)

    def _settle(self, cells_done: int) -> None:
        self._settled += cells_done
        self.watch.cells(self._settled, self._total)


def _score(cell: Definition, data: Data, stored: Stored, fingerprint: str) -> Outcome:
    started = time.perf_counter()
    row_of = {image.id: row for row, image in enumerate(unique_images(data.split))}

    def rows(ids: Iterable[str]) -> NDArray[np.float32]:
        return np.asarray(stored.descriptors)[[row_of[i] for i in ids]]

    queries = rows(image.id for image in data.split.queries)
    database = rows(image.id for image in data.split.database)
    scores = evaluate(queries, database, data.split, data.dataset.kind, cell.similarity)
    return Outcome(scores, fingerprint, stored, time.perf_counter() - started)


def _attempt(phase: str, work: Callable[[], T]) -> T | Failure:
    """The result of `work`, or why it has none: whatever a plugin raises, the other cells go on."""
    try:
        return work()
    except WeightsUnavailable as error:
        return Failure("unavailable", phase, type(error).__name__, str(error))
    except Exception as error:  # noqa: BLE001 - one failing cell never stops the others; its record says why
        return Failure("failed", phase, type(error).__name__, str(error) or type(error).__name__)
