"""Top-k of torch tensors on their own device: candidates by its products, the scores by the ones of every machine.

A device adds up in an order of its own, so its scores differ from the chain of `kernels` in the last bits. It names
more candidates than are wanted; the host computes their scores, and searches anew for a query whose last candidates are
so close that the device can't have told them apart.
"""

import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.similarity.prepare import Vectors, normalised
from bench.similarity.spec import Similarity

if TYPE_CHECKING:
    from torch import Tensor

#: Candidates beyond the k that are wanted.
SPARE = 32
#: Products in memory at once.
PRODUCTS = 2**26


def candidates(
    queries: Vectors, database: Vectors, k: int, similarity: Similarity
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
    queries: Vectors, database: Vectors, k: int, similarity: Similarity
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    import torch

    q, x = (_on_device(v, similarity, role) for v, role in ((queries, "queries"), (database, "database")))
    kept = min(k + SPARE, len(x))
    rows = max(1, PRODUCTS // len(q))
    scores = torch.full((len(q), 0), -torch.inf, device=q.device)
    indices = torch.zeros((len(q), 0), dtype=torch.int64, device=q.device)
    for first in range(0, len(x), rows):
        found = _products(q, x[first : first + rows], similarity)
        here = torch.arange(first, first + found.shape[1], device=q.device).expand(len(q), -1)
        scores, places = torch.cat([scores, found], 1).topk(min(kept, scores.shape[1] + found.shape[1]), dim=1)
        indices = torch.cat([indices, here], 1).gather(1, places)
    # a sum of d products, by this device and by the host, each with an error of at most d * 2**-24 of its bound
    largest = torch.linalg.vector_norm(q, dim=2).amax(1) * torch.linalg.vector_norm(x, dim=2).max()
    apart = 2 * (q.shape[2] + 8) * 2.0**-23 * largest
    sure = (scores[:, k - 1] - scores[:, -1] > apart) | (kept == len(x))
    return indices.cpu().numpy(), sure.cpu().numpy()


def _on_device(vectors: Vectors, similarity: Similarity, role: str) -> "Tensor":
    """Normalised chunks [n, C, d] in float32."""
    import torch

    assert isinstance(vectors, torch.Tensor)
    ready = torch.from_numpy(normalised(vectors, similarity, role)).to(vectors.device)
    return ready if similarity.tokens else ready.reshape(len(ready), similarity.chunks or 1, -1)


def _products(q: "Tensor", x: "Tensor", similarity: Similarity) -> "Tensor":
    """The largest product of the chunks that meet [N, M], one pair of chunks in memory at a time."""
    import torch

    n, m = q.shape[1], x.shape[1]
    best = q[:, 0] @ x[:, 0].T
    meeting = itertools.product(range(n), range(m)) if similarity.cross else zip(range(n), range(m), strict=True)
    for a, b in itertools.islice(meeting, 1, None):
        torch.maximum(best, q[:, a] @ x[:, b].T, out=best)
    return best
