"""Exact search for the k most similar database descriptors of each query, block by block.

Products are summed in float64 and rounded to float32 once: that absorbs the last-bit differences between matrix
kernels, so that equal rows tie wherever they stand, whatever the block size or the number of threads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError
from bench.similarity.spec import Similarity

if TYPE_CHECKING:
    from torch import Tensor

ArrayOrTensor: TypeAlias = "NDArray[np.floating] | Tensor"

QUERY_BLOCK = 256
DATABASE_BLOCK = 1024


@dataclass(frozen=True)
class TopK:
    """scores [N, k] float32 and indices [N, k] int64 into the database: by falling score, ties by lower index."""

    scores: NDArray[np.float32]
    indices: NDArray[np.int64]


def top_k(queries: ArrayOrTensor, database: ArrayOrTensor, k: int, similarity: Similarity) -> TopK:
    """The `k` most similar of `database` [M, D] for each of `queries` [N, D], exactly.

    Takes numpy arrays and torch tensors of any floating type. Raises DescriptorError for empty sets, values
    that are not finite, zero vectors, other dimensions or k outside 1..M, and UsageError where the chunks do
    not divide D.
    """
    q, x = _comparable(queries, database, similarity)
    if not 1 <= k <= len(x):
        raise DescriptorError(f"k is {k}, but the database has {len(x)} descriptors: choose k from 1 to {len(x)}")
    blocks = [_chunks(q[start : start + QUERY_BLOCK], similarity) for start in range(0, len(q), QUERY_BLOCK)]
    found: list[list[NDArray[np.uint64]]] = [[] for _ in blocks]
    for start, rows in _blocks(x):
        chunks = _chunks(rows, similarity)
        for keys, block in zip(found, blocks, strict=True):
            keys.append(_sort_keys(_block_scores(block, chunks), start))
            if sum(part.shape[1] for part in keys) > 2 * k + DATABASE_BLOCK:
                keys[:] = [_largest(keys, k)]
    ordered = np.sort(np.concatenate([_largest(keys, k) for keys in found]), axis=1)[:, ::-1]
    return TopK(_scores_of(ordered), _indices_of(ordered))


def similarities(queries: ArrayOrTensor, database: ArrayOrTensor, similarity: Similarity) -> NDArray[np.float32]:
    """The similarity [N, M] of each of `queries` [N, D] to all of `database` [M, D], the scores that `top_k` sorts.

    Raises as `top_k` does.
    """
    q, x = _comparable(queries, database, similarity)
    scores = np.empty((len(q), len(x)), np.float32)
    blocks = [_chunks(q[start : start + QUERY_BLOCK], similarity) for start in range(0, len(q), QUERY_BLOCK)]
    for start, rows in _blocks(x):
        chunks = _chunks(rows, similarity)
        for number, block in enumerate(blocks):
            part = scores[number * QUERY_BLOCK : (number + 1) * QUERY_BLOCK, start : start + len(rows)]
            part[:] = _block_scores(block, chunks)
    return scores


def _largest(parts: list[NDArray[np.uint64]], k: int) -> NDArray[np.uint64]:
    """The k largest keys of each row, in no order."""
    keys = np.concatenate(parts, axis=1)
    return np.partition(keys, -k, axis=1)[:, -k:] if keys.shape[1] > k else keys


def _blocks(x: NDArray[np.floating]) -> Iterator[tuple[int, NDArray[np.floating]]]:
    for start in range(0, len(x), DATABASE_BLOCK):
        yield start, x[start : start + DATABASE_BLOCK]


def _chunks(vectors: NDArray[np.floating], similarity: Similarity) -> NDArray[np.float64]:
    """Normalised vectors as [C, N, D / C]; a global vector is one chunk."""
    x = vectors.astype(np.float64)
    split = x.reshape(len(x), similarity.chunks or 1, -1)
    norms = np.linalg.norm(split, axis=2, keepdims=True)
    if similarity.norm == "vector":
        norms = np.linalg.norm(norms, axis=1, keepdims=True)
    # a chunk of zeros (ReLU features have them) is alike to nothing: its products are 0
    return np.ascontiguousarray((split / np.where(norms > 0, norms, 1)).transpose(1, 0, 2))


def _block_scores(q: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
    """Largest product over corresponding chunks [C, N, d], [C, M, d] -> [N, M], one chunk in memory at a time."""
    best = q[0] @ x[0].T
    product = np.empty_like(best)
    for q_chunk, x_chunk in zip(q[1:], x[1:], strict=True):
        np.maximum(best, np.matmul(q_chunk, x_chunk.T, out=product), out=best)
    rounded: NDArray[np.float32] = best.astype(np.float32)
    return rounded


def _sort_keys(scores: NDArray[np.float32], first_index: int) -> NDArray[np.uint64]:
    """Integers that sort as (score, then lower index): the score's bits above, the index complemented below."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 turns -0.0 into 0.0
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    index = np.arange(first_index, first_index + scores.shape[1], dtype=np.uint64)
    return (ordered << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - index)


def _scores_of(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    return np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered).astype(np.uint32).view(np.float32)


def _indices_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (np.uint64(0xFFFFFFFF) - (keys & np.uint64(0xFFFFFFFF))).astype(np.int64)


def _comparable(
    queries: ArrayOrTensor, database: ArrayOrTensor, similarity: Similarity
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    q, x = _checked(queries, "queries"), _checked(database, "database")
    if q.shape[1] != x.shape[1]:
        raise DescriptorError(
            f"queries have {q.shape[1]} dimensions and the database {x.shape[1]}: compare like with like"
        )
    similarity.require_divides(q.shape[1])
    return q, x


def _checked(vectors: ArrayOrTensor, role: str) -> NDArray[np.floating]:
    array = vectors if isinstance(vectors, np.ndarray) else vectors.detach().cpu().double().numpy()
    if array.ndim != 2 or 0 in array.shape:
        raise DescriptorError(f"the {role} have shape {array.shape}: give a matrix [number, dimension], not empty")
    if not np.issubdtype(array.dtype, np.floating):
        raise DescriptorError(f"the {role} are of type {array.dtype}: give floating-point descriptors")
    for start, block in _blocks(array):
        for bad, what in ((~np.isfinite(block).all(axis=1), "not finite"), (~block.any(axis=1), "zero")):
            if bad.any():
                row = start + int(np.argmax(bad))
                raise DescriptorError(f"row {row} of the {role} is {what}: it has no similarity to anything")
    return array
