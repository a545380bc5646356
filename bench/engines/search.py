"""Exact search on a Ray cluster: a task for each shard of the database's rows, their best merged."""

import itertools
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import similarity as searching
from bench.engines.cluster import RETRIES, Cluster, told
from bench.errors import BenchError, DescriptorError
from bench.similarity import Similarity, TopK
from bench.similarity.prepare import Rows, normalised
from bench.similarity.scan import BLOCK_ROWS, Scan
from bench.similarity.search import require_k

#: Shards are small enough that no core waits long for the last, and that little is lost with a worker.
SHARDS_PER_CPU = 4
SHARD_ROWS = 2**20


@dataclass(frozen=True)
class Shard:
    """The rows first..last of a database, as a database."""

    whole: Rows
    first: int
    last: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.whole.shape[1:])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.whole.dtype

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.floating]:
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            return self.whole[self.first + first : self.first + last]
        return self.whole[self.first + rows]


def top_k(
    cluster: Cluster,
    queries: NDArray[np.floating],
    opening: Callable[[], Rows],
    k: int,
    similarity: Similarity,
    on_progress: Callable[[int, int], Any] = lambda done, total: None,
    n_shards: int | None = None,
) -> TopK:
    """As `bench.similarity.top_k`, with the same scores and indices bit for bit, however many shards there are.

    opening: gives the database; every task calls it, so the files that it opens lie at the same path on all nodes.
    `on_progress` is told how many rows of all are searched. Raises as `bench.similarity.top_k` does, and BenchError
    where workers can't open the database, see another one, or die RETRIES times with the same shard.
    """
    import ray

    database = opening()
    n = len(database)
    Scan(queries, database, similarity)  # checked here, so that what a task finds wrong is a row of its shard
    require_k(k, database)
    normalised(queries, similarity, "queries")
    n_cpus = cluster.workers("cpu")
    n_shards = n_shards or max(SHARDS_PER_CPU * n_cpus, -(-n // SHARD_ROWS))
    bounds = np.linspace(0, n, min(n_shards, n) + 1).astype(int).tolist()
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_of_shard)
    common = ray.put(queries), ray.put(opening), tuple(database.shape), k, similarity
    shards = itertools.pairwise(bounds)
    waiting: dict[Any, int] = {}
    best: TopK | None = None
    done = 0
    on_progress(0, n)
    try:
        while done < n:
            # few at once: none is cancelled after a failure, since a race in ray.cancel (Ray 2.60) ends this process
            for first, last in itertools.islice(shards, 2 * n_cpus - len(waiting)):
                waiting[task.remote(*common, first, last)] = last - first
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            found = ray.get(ready)
            best = found if best is None else searching.merge([best, found], k)
            done += waiting.pop(ready)
            on_progress(done, n)
    except ray.exceptions.RayError as error:
        raise told(_first_failure(waiting, error)) from None
    assert best is not None
    return best


def _first_failure(tasks: Iterable[Any], failure: Exception) -> Exception:
    """The failure that comes first in the database, of the tasks at work in its order."""
    import ray

    for task in tasks:
        try:
            ray.get(task)
        except ray.exceptions.RayError as error:
            failure = error
            break
    return failure


def _of_shard(
    queries: NDArray[np.floating],
    opening: Callable[[], Rows],
    shape: tuple[int, ...],
    k: int,
    similarity: Similarity,
    first: int,
    last: int,
) -> TopK:
    """The best of the rows first..last, with their indices in the whole database."""
    try:
        database = opening()
    except (OSError, BenchError) as error:
        raise BenchError(
            f"the Ray worker on {socket.gethostname()} can't open the database ({error}): put it at the same path on "
            "every node"
        ) from error
    if tuple(database.shape) != shape:
        raise BenchError(
            f"the Ray worker on {socket.gethostname()} sees a database of shape {tuple(database.shape)}, not {shape}: "
            "give every node the same files"
        )
    try:
        found = searching.top_k(queries, Shard(database, first, last), min(k, last - first), similarity)
    except DescriptorError:
        for start in range(first, last, BLOCK_ROWS):  # again, to name the row by its place in the whole
            normalised(database[start : min(start + BLOCK_ROWS, last)], similarity, "database", start)
        raise
    return TopK(found.scores, found.indices + first)
