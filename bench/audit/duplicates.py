"""Clusters of near-copies in a set of images: what is repeated is learnt by heart first."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.similarity import Similarity, range_search
from bench.similarity.prepare import Rows

#: Descriptors compared with all at once.
AT_ONCE = 256


@dataclass(frozen=True)
class Clusters:
    """cluster: int64 [M] of each image, numbered from 0 by falling size, equal sizes by their first image.

    neighbours: int64 [M], how many other images are more similar to it than the threshold. sizes: int64 [C].
    """

    cluster: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def summary(self) -> Mapping[str, int | float]:
        """How many images there are, in how many clusters of several, how large the largest is, and their share."""
        several = self.sizes[self.sizes > 1]
        return {
            "n_images": len(self.cluster),
            "n_clusters": len(several),
            "largest": int(self.sizes[0]),
            "n_duplicated": int(several.sum()),
            "share_duplicated": float(several.sum() / len(self.cluster)),
        }


def clusters(descriptors: Rows, threshold: float, similarity: Similarity) -> Clusters:
    """Connected components of the pairs whose similarity is over the threshold. Raises as `range_search` does.

    An image that is more similar to none is a cluster of its own.
    """
    n = len(descriptors)
    over = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
    labels = np.arange(n)
    neighbours = np.zeros(n, np.int64)
    for first in range(0, n, AT_ONCE):
        found = range_search(descriptors[first : first + AT_ONCE], descriptors, over, similarity)
        a, b = found.queries + first, found.indices
        others = a != b
        neighbours += np.bincount(a[others], minlength=n)
        labels = _joined(labels, a[others], b[others])
    return _numbered(labels, neighbours)


def _joined(labels: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels after the images a [P] and b [P] have come together, pair by pair."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(labels.max()) + 1
    edges = coo_array((np.ones(len(a), np.bool_), (labels[a], labels[b])), shape=(n, n))
    _, together = connected_components(edges, directed=False)
    joined: NDArray[np.int64] = together[labels].astype(np.int64)
    return joined


def _numbered(labels: NDArray[np.int64], neighbours: NDArray[np.int64]) -> Clusters:
    _, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return Clusters(number[inverse], neighbours, sizes[order].astype(np.int64))
