"""A run folder read back: its records, what their scores follow from, and what could not be used."""

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.agreement import fitting
from bench.errors import UsageError
from bench.evidence import Evidence
from bench.metrics import resampled
from bench.plan import Definition
from bench.records import CONFIG, Record, RunFolder, order, record_name
from bench.uncertainty import N_RESAMPLES, interval, resamples

#: Of the bootstrap, unless another is chosen.
SEED = 0
#: Cells that are unpacked at once: each takes up to 200 MB.
_CELLS = 4


@dataclass(frozen=True)
class Scored:
    """records: in the order of every table. evidence: of those with scores. n_datasets: of the run, all of them.

    problems: sentences on what could not be used; a record whose evidence is lost keeps its scores, without intervals.
    """

    records: tuple[Record, ...]
    evidence: Mapping[Definition, Evidence]
    n_datasets: int
    problems: tuple[str, ...] = ()

    @cached_property
    def _weights(self) -> dict[tuple[str, int], NDArray[np.float32]]:
        return {}

    def weights(self, dataset: str, n_queries: int) -> NDArray[np.float32]:
        """Resamples of a dataset's queries, float32 [B, Q]: the same for every cell, so that cells can be compared."""
        key = dataset, n_queries
        if key not in self._weights:
            self._weights[key] = resamples(n_queries, N_RESAMPLES, (SEED, zlib.crc32(dataset.encode())))
        return self._weights[key]

    def precisions(self, cells: Sequence[Definition]) -> NDArray[np.float64]:
        """Average precision of every query of a dataset by its cells, float64 [n, Q].

        nan for a query without a positive, and all along for a cell whose evidence is not to be had, or of other
        queries than the first.
        """
        found = [self.evidence.get(cell) for cell in cells]
        queries = next((of.query_ids for of in found if of is not None), ())
        lost = np.full(len(queries), np.nan)
        return np.stack([lost if of is None or of.query_ids != queries else of.ap for of in found])

    def resampled_mean(self, dataset: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of values [n, Q] over the queries of each of a dataset's resamples: [B, n], nan where it is none."""
        if not values.shape[1]:
            return np.full((N_RESAMPLES, len(values)), np.nan)
        return resampled.mean(values, self.weights(dataset, values.shape[1]))

    @cached_property
    def intervals(self) -> Mapping[tuple[Definition, str], tuple[float, float]]:
        """95 % interval of the score of a cell by a metric, where it has one."""
        # products of several threads wait for one another where each has threads of its own
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(_CELLS, os.cpu_count() or 1), "intervals") as pool:
            found = pool.map(self._of_record, self.records)
            return {(r.cell, name): two for r, of in zip(self.records, found, strict=True) for name, two in of.items()}

    def _of_record(self, record: Record) -> dict[str, tuple[float, float]]:
        """The intervals of a record's scores by metric."""
        if (evidence := self.evidence.get(record.cell)) is None:
            return {}
        weights = self.weights(record.cell.dataset, len(evidence.query_ids))
        found = {}
        for metric, values in evidence.resampled(record.body["metrics"], weights).items():
            score = record.body["metrics"][metric]
            between = interval(values, record.body["n_used"][metric], score)
            if score is not None and between is not None:
                found[metric] = between
        return found


def read(folder: RunFolder) -> Scored:
    """All records of a run folder that can be used, with their evidence. Raises UsageError where there is none.

    What can't be used is left out and told: a file that is no record, the second of two that disagree, and what was
    not measured as most others were.
    """
    found: dict[tuple[Definition, str], Record] = {}
    problems = []
    for path in folder.files():
        try:
            record = folder.record_at(path)
        except UsageError as error:
            problems.append(str(error))
            continue
        cell = record.cell, record.weights
        if (known := found.get(cell)) is None or path.name == record_name(*cell):
            found[cell] = record
        if known is not None and known.body["metrics"] != record.body["metrics"]:
            problems.append(
                f"two records of {record.cell} disagree: the one in {record_name(*cell)} counts, delete the other"
            )
    if not found:
        raise UsageError(problems[0] if problems else f"the folder {folder.path} holds no records: give one of `run`")
    config = folder.config()
    problems += _without_records(config, [*found.values()])
    records, unfit = fitting(sorted(found.values(), key=order))
    problems += unfit
    evidence = {}
    for record in records:
        if record.status == "ok":
            try:
                evidence[record.cell] = folder.evidence(record)
            except UsageError as error:
                problems.append(str(error))
    n_datasets = max(len(config["datasets"]), len({record.cell.dataset for record in found.values()}))
    return Scored(tuple(records), evidence, n_datasets, tuple(problems))


def _without_records(config: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """A sentence on what the configuration and the records do not both name: a run that was killed, what was lost."""
    lost = [name for name in config["backbones"] if name not in {record.cell.backbone for record in records}]
    found, wanted = len({record.cell.dataset for record in records}), len(config["datasets"])
    told = [f"the backbones {', '.join(lost)}"] if lost else []
    told += [f"{wanted - found} of its {wanted} datasets"] if found < wanted else []
    sentences = [f"the run has no record of {' and of '.join(told)}: go on with it"] if told else []
    if found > wanted:
        sentences.append(f"{CONFIG} names {wanted} datasets, but there are records of {found}: restore it")
    return sentences
