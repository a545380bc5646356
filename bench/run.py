"""Executes a plan: what is there is kept, what fails fails alone, and every cell leaves a record."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Protocol, TypeVar

import numpy as np

from bench import cells, evidence, plan
from bench.background import Background, Loaded
from bench.cells import Failure, Outcome, kind_of
from bench.data.loaded_dataset import GO_ON, LoadedDataset, Policy
from bench.describe import Loading, describe, described_images, obtain, of_split
from bench.descriptor import DescriptorKind
from bench.descriptors.fill import How
from bench.engines import Cluster
from bench.errors import DatasetUnavailable, WeightsUnavailable, told
from bench.evaluate import evaluate
from bench.interfaces import Backbone, Dataset, ImageFile
from bench.manifest import contents
from bench.plan import Definition, Plan
from bench.plugins import Selected
from bench.postprocess import Fitted, Pipeline
from bench.records import Config, Record, RunFolder
from bench.similarity import Similarity
from bench.store import DescriptorStore, Stored
from bench.trackers import Tracker
from bench.weights import WeightsStore

T = TypeVar("T")


class Watch(Protocol):
    """Told how a run goes, to show it."""

    def cells(self, done: int, total: int) -> Any:
        """So many of the plan's cells are settled."""

    def images(self, cell: Definition, total: int, done: int) -> Any:
        """So many of the images are described for a cell."""


class Run:
    """A configured run over a folder; `execute` brings every cell's record up to date.

    sweeps: similarities whose chunks do not divide a descriptor have no cells, instead of failed ones.
    """

    def __init__(
        self,
        config: Config,
        backbones: Sequence[Selected[Backbone]],
        datasets: Sequence[Dataset],
        background: Background | None,
        folder: RunFolder,
        store: DescriptorStore,
        weights: WeightsStore,
        workers: int,
        argv: list[str],
        watch: Watch,
        tracker: Tracker,
        cluster: Cluster | None = None,
        sweeps: bool = False,
        policy: Policy = GO_ON,
    ) -> None:
        self.config = config
        self.backbones = {chosen.item.name: chosen for chosen in backbones}
        self.datasets = {dataset.name: dataset for dataset in datasets}
        self.pipeline = Pipeline.parse(config.postprocess)
        self.background = background
        self.folder = folder
        self.store = store
        self.weights = weights
        self.workers = workers
        self.argv = argv
        self.watch = watch
        self.tracker = tracker
        self.cluster = cluster
        self.sweeps = sweeps
        self.policy = policy
        self._data: dict[str, LoadedDataset | Failure] = {}
        self._settled = 0

    def execute(self) -> list[Record]:
        """The records of all cells, those that were there already among them."""
        similarities = [Similarity.parse(spec) for spec in self.config.similarities]
        wanted = plan.full(self.backbones, self.datasets, similarities)
        self._done = {record.cell: record for record in self.folder.records() if record.status == "ok"}
        self._total = len(wanted)
        self._settle(0)
        self._fitted_on = (
            _attempt("background", partial(self.background.load, self.policy.strict)) if self.background else None
        )
        if self.config.weights == "pretrained":
            self.weights.probe(chosen.item.weights for chosen in self.backbones.values())
        for name, of_backbone in groupby(wanted, key=lambda cell: cell.backbone):
            self._run_backbone(self.backbones[name], list(of_backbone))
        return list(self.folder.records())

    def _run_backbone(self, chosen: Selected[Backbone], of_backbone: Plan) -> None:
        loading = _attempt("weights", partial(obtain, chosen, self.config, self.weights, self.cluster))
        self._fitted: Fitted | Failure | None = None
        self._unfitted: dict[str, str] = {}
        for name, of_dataset in groupby(of_backbone, key=lambda cell: cell.dataset):
            if name not in self._data:
                self._data[name] = _attempt("dataset", partial(self._read, name))
            self._run_dataset(chosen, loading, self._data[name], list(of_dataset))

    def _run_dataset(
        self, chosen: Selected[Backbone], loading: Loading | Failure, data: LoadedDataset | Failure, of_dataset: Plan
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
            possible = self._without_indivisible(todo, loading, data)
            for kind in dict.fromkeys(kind_of(cell.similarity) for cell in possible):
                self._compute(loading, data, [cell for cell in possible if kind_of(cell.similarity) == kind], kind)

    def _is_current(
        self, cell: Definition, chosen: Selected[Backbone], loading: Loading | Failure, data: LoadedDataset
    ) -> bool:
        """Whether the cell's record still says what computing it again would say.

        Where the weights have gone since, what was computed with them counts, if nothing else has changed.
        """
        record = self._done.get(cell)
        if record is None or not self.folder.has_evidence(record):
            return False
        if record.body["dataset"].get("n_needed_unreadable") and not self.policy.skip:
            return False
        sha256 = record.body["backbone"]["weights_sha256"] if isinstance(loading, Failure) else loading.sha256
        chosen = chosen if isinstance(loading, Failure) else loading.chosen
        key = cells.descriptor_key(chosen, self.config, sha256, data.manifest.images_sha256, kind_of(cell.similarity))
        return record.fingerprint == self._fingerprint(key, data, cell)

    def _fingerprint(self, key: dict[str, Any], data: LoadedDataset, cell: Definition) -> str:
        background = self._fitted_on.sha256 if isinstance(self._fitted_on, Loaded) else None
        return cells.fingerprint(key, data.dataset, data.manifest, cell.similarity, self.pipeline, background)

    def _without_indivisible(self, todo: Plan, loading: Loading, data: LoadedDataset) -> Plan:
        """Fails, or of a sweep leaves out, before anything is described, the cells whose chunks do not divide."""
        dimension = loading.chosen.item.embed_dim
        if dimension is None:
            return todo
        kept = []
        for cell in todo:
            problem = _attempt("evaluate", partial(_require_divides, cell.similarity, self.pipeline, dimension))
            if not isinstance(problem, Failure):
                kept.append(cell)
            elif self.sweeps:
                self._settle(1)
            else:
                self._fail([cell], problem, loading, data)
        return kept

    def _compute(self, loading: Loading, data: LoadedDataset, todo: Plan, kind: DescriptorKind) -> None:
        key = loading.key(data.manifest.images_sha256, kind)
        stored = self._described(loading, data.images, data.hashed, key, todo[0])
        if isinstance(stored, Failure):
            self._fail(todo, stored, loading, data)
            return
        judged = _attempt("extract", partial(data.judged, stored.failed, self.policy))
        if isinstance(judged, Failure):
            self._fail(todo, judged, loading, replace(data, unreadable={**data.unreadable, **stored.failed}))
            return
        fitted = self._fit(loading, data, todo[0])
        if isinstance(fitted, Failure):
            self._fail(todo, fitted, loading, judged)
            return
        described = described_images(data.images, stored)
        judged = replace(judged, background_unreadable=self._unfitted)
        for cell in todo:
            rows = _Rows(stored, described, judged, fitted)
            # with another fingerprint the next run computes the cell again
            fingerprint = self._fingerprint(key, data, cell) + ("-retry" if stored.retry else "")
            score = partial(_score, cell, rows, fingerprint)
            self._write(cell, _attempt("evaluate", score), loading, judged)

    def _fit(self, loading: Loading, data: LoadedDataset, cell: Definition) -> Fitted | Failure:
        """The post-processing fitted on the background's descriptors, which must be apart from the dataset's images."""
        if self._fitted_on is None:
            return self.pipeline.fit(None)
        if isinstance(self._fitted_on, Failure):
            return self._fitted_on
        apart = _attempt("background", partial(self._fitted_on.require_apart, data.dataset.name, data.hashed))
        if isinstance(apart, Failure):
            return apart
        if self._fitted is None:
            self._unfitted = dict(self._fitted_on.unreadable)
            key = loading.key(self._fitted_on.sha256)
            stored = self._described(loading, self._fitted_on.images, self._fitted_on.hashed, key, cell)
            self._unfitted |= {} if isinstance(stored, Failure) else stored.failed
            self._fitted = (
                stored
                if isinstance(stored, Failure)
                else _attempt("background", partial(self.pipeline.fit, np.asarray(stored.descriptors[:], np.float32)))
            )
        return self._fitted

    def _read(self, name: str) -> LoadedDataset:
        return LoadedDataset.load(self.datasets[name], self.config.limit, self.config.seed, self.policy)

    def _described(
        self,
        loading: Loading,
        images: Sequence[ImageFile],
        hashed: Mapping[str, str],
        key: dict[str, Any],
        cell: Definition,
    ) -> Stored | Failure:
        """The descriptors under a key, from the store if they are there."""
        found = _attempt("extract", partial(self.store.find, key))
        if (
            not found
            and self.cluster is None
            and isinstance(model := _attempt("weights", lambda: loading.model), Failure)
        ):
            return model
        how = How(self.workers, partial(self.watch.images, cell, len(images)), self.policy.strict)
        return _attempt("extract", lambda: describe(loading, images, contents(images, hashed), key, self.store, how))

    def _fail(
        self, of: Iterable[Definition], why: Failure, loading: Loading | None = None, data: LoadedDataset | None = None
    ) -> None:
        for cell in of:
            self._write(cell, why, loading, data)

    def _write(
        self, cell: Definition, result: Outcome | Failure, loading: Loading | None, data: LoadedDataset | None
    ) -> None:
        backbone = loading.chosen.item if loading else self.backbones[cell.backbone].item
        weights = (loading.source, loading.sha256) if loading else (None, None)
        dataset = self.datasets[cell.dataset]
        record = cells.record(cell, backbone, dataset, self.config, self.argv, *weights, data, result)
        self.folder.write(record, result.evidence if isinstance(result, Outcome) else None)
        self.tracker(record)
        self._settle(1)

    def _settle(self, cells_done: int) -> None:
        self._settled += cells_done
        self.watch.cells(self._settled, self._total)


def _require_divides(similarity: Similarity, pipeline: Pipeline, dimension: int) -> None:
    similarity.require_divides(pipeline.dimension(dimension))


@dataclass(frozen=True)
class _Rows:
    """Descriptors of images, the part of a dataset that they are of, and the post-processing."""

    stored: Stored
    images: Sequence[ImageFile]
    data: LoadedDataset
    fitted: Fitted


def _score(cell: Definition, rows: _Rows, fingerprint: str) -> Outcome:
    started = time.perf_counter()
    split, dataset, fitted = rows.data.split, rows.data.dataset, rows.fitted
    queries, database = (fitted.apply(of) for of in of_split(rows.stored.descriptors, rows.images, split))
    offset = fitted.offsets(queries, cell.similarity)
    evaluation = evaluate(queries, database, split, dataset.metrics, cell.similarity, offset, dataset.candidates)
    duration = time.perf_counter() - started
    return Outcome(evaluation, evidence.to_bytes(evaluation.evidence), fingerprint, rows.stored, duration)


def _attempt(phase: str, work: Callable[[], T]) -> T | Failure:
    """The result of `work`, or why it has none: whatever a plugin raises, the other cells go on."""
    try:
        return work()
    except (WeightsUnavailable, DatasetUnavailable) as error:
        return Failure("unavailable", phase, type(error).__name__, str(error))
    except Exception as error:  # noqa: BLE001 - one failing cell never stops the others; its record says why
        sentence = told(error) if isinstance(error, OSError) else str(error)
        return Failure("failed", phase, type(error).__name__, sentence or type(error).__name__)
