"""Approximate search by indexes of faiss (Douze et al., "The Faiss library", 2024), candidates compared again exactly.

Of a similarity that is the largest product of aligned chunks, every chunk has an index of its own. A database row among
the best k by that largest product is among the best k of the chunk that it comes from, so the union of what the indexes
find holds the best k, as far as each index is exact.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.similarity.pairs import rescore
from bench.similarity.prepare import Rows, normalised, shape_of
from bench.similarity.scan import threads
from bench.similarity.search import TopK, ordered, require_k
from bench.similarity.spec import Similarity

#: Rows that an index is trained on, at least, where there are so many; of inverted lists so many a list.
TRAINING_ROWS, TRAINING_ROWS_A_LIST = 2**15, 64
#: Rows that are added at once, and bytes of candidates that are compared at once.
ADDED_ROWS, CANDIDATE_BYTES, QUERIES_AT_ONCE = 4096, 2**27, 512
#: An index is asked for so many times k: what it takes for equal is told apart exactly.
WIDER = 2


@dataclass(frozen=True)
class Factory:
    """A faiss index as `FACTORY[:PARAMETER=VALUE,...]`: IVF256,Flat:nprobe=16, HNSW32:efSearch=64, IVF64,PQ16."""

    description: str
    parameters: str = ""

    @classmethod
    def parse(cls, text: str) -> "Factory":
        """Raises UsageError where there is no description; what it says is judged when an index is made."""
        description, _, parameters = text.partition(":")
        if not description.strip():
            raise UsageError("the index has no description: write faiss:FACTORY, such as faiss:IVF256,Flat")
        return cls(description.strip(), parameters.strip())

    def __str__(self) -> str:
        return self.description + (f":{self.parameters}" if self.parameters else "")

    def make(self, dimension: int) -> Any:
        """An empty index of inner products. Raises UsageError where faiss is missing or knows no such index."""
        faiss = _faiss()
        try:
            index = faiss.index_factory(dimension, self.description, faiss.METRIC_INNER_PRODUCT)
            if self.parameters:
                faiss.ParameterSpace().set_index_parameters(index, self.parameters)
        except RuntimeError as error:
            raise self._cannot(error, f"make an index '{self}' of {dimension} dimensions") from None
        return index

    def train(self, index: Any, rows: NDArray[np.float32]) -> None:
        """Raises UsageError where there are too few rows."""
        try:
            index.train(rows)
        except RuntimeError as error:
            raise self._cannot(error, f"train an index '{self}' on {len(rows)} descriptors") from None

    def add(self, index: Any, rows: NDArray[np.float32]) -> None:
        """Raises UsageError where such an index takes no rows by themselves."""
        try:
            index.add(rows)
        except RuntimeError as error:
            raise self._cannot(error, f"fill an index '{self}'") from None

    def _cannot(self, error: RuntimeError, what: str) -> UsageError:
        """What faiss says, without the place in its source."""
        said = re.sub(r"^Error in .*?\.cpp:[0-9]+: (Error: '.*' failed: )?", "", " ".join(str(error).split()))
        return UsageError(f"faiss can't {what} ({said}): choose another factory string")


@dataclass(frozen=True)
class Approximate:
    """A database indexed for one similarity; indexes: one a chunk, in memory. build_s: seconds of training, adding."""

    database: Rows
    similarity: Similarity
    indexes: tuple[Any, ...]
    build_s: float

    def search(self, queries: Rows, k: int) -> TopK:
        """The `k` best that the indexes find for each of `queries`, with their exact scores.

        Where an index finds fewer, index -1 with score -inf fills the end. Raises as `top_k` does.
        """
        shape_of(queries, self.database, self.similarity)
        require_k(k, self.database)
        wide = min(WIDER * k, len(self.database))
        row_bytes = int(np.prod(self.database.shape[1:])) * self.database.dtype.itemsize
        at_once = min(QUERIES_AT_ONCE, max(1, CANDIDATE_BYTES // (row_bytes * wide * len(self.indexes))))
        found = [
            self._search(queries[first : first + at_once], first, wide, k) for first in range(0, len(queries), at_once)
        ]
        return TopK(np.concatenate([f.scores for f in found]), np.concatenate([f.indices for f in found]))

    def _search(self, queries: NDArray[np.floating], first: int, wide: int, k: int) -> TopK:
        chunks = _chunks(normalised(queries, self.similarity, "queries", first), self.similarity)
        found = [index.search(rows, wide)[1] for index, rows in zip(self.indexes, chunks, strict=True)]
        candidates = np.sort(np.concatenate(found, axis=1), axis=1)
        candidates[:, 1:][candidates[:, 1:] == candidates[:, :-1]] = -1
        rows = np.unique(np.maximum(candidates, 0))  # read once for all these queries, in order
        places = np.where(candidates < 0, -1, np.searchsorted(rows, candidates))
        scores = rescore(queries, self.database[rows], places, self.similarity)
        best = ordered(scores, candidates)
        return TopK(best.scores[:, :k], best.indices[:, :k])


def build(database: Rows, similarity: Similarity, factory: Factory, seed: int = 0) -> Approximate:
    """Indexes of `database` [M, D] or [M, T, d], trained on a sample that `seed` draws.

    Raises UsageError where faiss is missing, can't make or train such an index, or where the similarity has none, and
    DescriptorError as `top_k` does.
    """
    if similarity.cross:
        raise UsageError(
            f"{similarity} has no approximate index, it compares every token with all: choose --index flat"
        )
    started = time.perf_counter()
    shape = shape_of(database, database, similarity)
    _faiss().omp_set_num_threads(threads())
    indexes = tuple(factory.make(shape.dimension) for _ in range(shape.database_chunks))
    if not indexes[0].is_trained:
        sample = _chunks(normalised(_sample(database, indexes[0], seed), similarity), similarity)
        for index, rows in zip(indexes, sample, strict=True):
            factory.train(index, rows)
    for first in range(0, len(database), ADDED_ROWS):
        block = normalised(database[first : first + ADDED_ROWS], similarity, "database", first)
        for index, rows in zip(indexes, _chunks(block, similarity), strict=True):
            factory.add(index, rows)
    return Approximate(database, similarity, indexes, time.perf_counter() - started)


def _sample(database: Rows, index: Any, seed: int) -> NDArray[np.floating]:
    """Rows to train on, all where they are few."""
    inverted = _faiss().try_extract_index_ivf(index)
    wanted = max(TRAINING_ROWS, TRAINING_ROWS_A_LIST * (inverted.nlist if inverted else 0))
    n = len(database)
    if wanted >= n:
        return database[0:n]
    return database[np.sort(np.random.default_rng(seed).choice(n, wanted, replace=False))]


def _chunks(rows: NDArray[np.float32], similarity: Similarity) -> Iterator[NDArray[np.float32]]:
    """The rows [N, d] of each chunk, of normalised descriptors."""
    n_chunks = rows.shape[1] if similarity.tokens else similarity.chunks or 1
    parts = rows.reshape(len(rows), n_chunks, -1)
    return (np.ascontiguousarray(parts[:, chunk]) for chunk in range(n_chunks))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UsageError("--index faiss:... needs faiss: pip install 'descriptor-bench[faiss]'") from None
    return faiss
