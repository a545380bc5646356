"""Top-k of torch tensors on their own device: candidates by its products, the scores by the ones of every machine.

A device adds up in an order of its own, so its scores differ from the chain of `kernels` in the last bits. It names
more candidates than are wanted; the host computes their scores, and searches anew for a query whose last candidates are
so close that the device can't have told them apart.
"""

import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.similarity.prepare import normalised
from bench.similarity.spec import Similarity

if TYPE_CHECKING:
    from torch import Tensor

#: Candidates beyond the k that are wanted.
SPARE = 32
#: Products in memory at once.
PRODUCTS = 2**26
#: Norms below it, or over its inverse, whose squares float32 holds badly or not at all.
SMALL = 1e-12


def candidates(
    queries: "Tensor", database: "Tensor", k: int, similarity: Similarity
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows [N, c] of the database among which the k best of each query [N] surely are, and where that is so.

    Raises DescriptorError as `top_k` does.
    """
    import torch

    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # a coarser one would break the promise below
    try:
        return _candidates(queries, database, k, similarity)
    finally:
        torch.set_float32_matmul_precision(precision)


def _candidates(
    queries: "Tensor", database: "Tensor", k: int, similarity: Similarity
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    import torch

    q = _ready(queries, similarity, "queries", 0)
    kept = min(k + SPARE, len(database))
    rows = max(1, PRODUCTS // len(q))
    scores = torch.full((len(q), 0), -torch.inf, device=q.device)
    indices = torch.zeros((len(q), 0), dtype=torch.int64, device=q.device)
    longest = torch.zeros((), device=q.device)
    for first in range(0, len(database), rows):
        x = _ready(database[first : first + rows], similarity, "database", first)
        longest = torch.maximum(longest, torch.linalg.vector_norm(x, dim=2).max())
        found, places = _products(q, x, similarity).topk(min(kept, len(x)), dim=1)
        scores, indices = torch.cat([scores, found], 1), torch.cat([indices, places + first], 1)
        scores, places = scores.topk(min(kept, scores.shape[1]), dim=1)
        indices = indices.gather(1, places)
    # sums of d products, by this device and by the host, each off by at most d * 2**-24 of its bound, and what
    # normalising adds
    largest = torch.linalg.vector_norm(q, dim=2).amax(1) * longest
    apart = 2 * (q.shape[2] + 32) * 2.0**-23 * largest
    sure = (scores[:, k - 1] - scores[:, -1] > apart) | (kept == len(database))
    return indices.cpu().numpy(), sure.cpu().numpy()


def _ready(vectors: "Tensor", similarity: Similarity, role: str, first: int) -> "Tensor":
    """Normalised chunks [n, C, d] in float32, by the host where float32 on the device would not do."""
    import torch

    chunks = vectors.float()
    if not similarity.tokens:
        chunks = chunks.reshape(len(chunks), similarity.chunks or 1, -1)
    norms = torch.linalg.vector_norm(chunks, dim=2, keepdim=True)
    empty = ~vectors.reshape(chunks.shape).any(dim=2, keepdim=True)  # of squares too small the norm is 0 as well
    of_rows = torch.linalg.vector_norm(norms, dim=1, keepdim=True)
    lost = ~((norms > SMALL) & (norms < 1 / SMALL) | empty)
    if similarity.grid is not None or bool(lost.any() | (of_rows == 0).any()):
        by_host = torch.from_numpy(normalised(vectors, similarity, role, first)).to(vectors.device)
        return by_host if similarity.tokens else by_host.reshape(chunks.shape)
    if similarity.norm == "none":
        return chunks
    return chunks / (torch.where(empty, 1, norms) if similarity.norm == "chunk" else of_rows)


def _products(q: "Tensor", x: "Tensor", similarity: Similarity) -> "Tensor":
    """The largest product of the chunks that meet [N, M], one pair of chunks in memory at a time."""
    import torch

    n, m = q.shape[1], x.shape[1]
    best = q[:, 0] @ x[:, 0].T
    meeting = itertools.product(range(n), range(m)) if similarity.cross else zip(range(n), range(m), strict=True)
    for a, b in itertools.islice(meeting, 1, None):
        torch.maximum(best, q[:, a] @ x[:, b].T, out=best)
    return best
