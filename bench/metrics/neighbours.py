"""Classes by the vote of neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.interfaces import Indices
from bench.metrics.ranks import flat

TEMPERATURE = 0.07


@dataclass(frozen=True)
class Neighbours:
    """The nearest of each query for a vote: scores float32 [Q, K] (-inf for none), classes [Q, K], own class [Q]."""

    scores: NDArray[np.float32]
    classes: Indices
    own: Indices


def knn_accuracy(
    scores: ArrayLike, classes: ArrayLike, own: ArrayLike, k: int = 20, temperature: float = TEMPERATURE
) -> float:
    """Share of queries whose class wins the vote of their k nearest, each of weight exp(score / temperature).

    The weighted kNN classifier of DINO (Caron et al., ICCV 2021), whose scores are cosines. scores: float [Q, M],
    -inf for no neighbour; classes: int [Q, M], of the neighbours, in any order; own: int [Q]. k larger than M is M.
    Ties are pessimistic: among equal scores neighbours of other classes come first, and an equal vote is lost.
    Raises ValueError for other shapes, no query, or k < 1.
    """
    s, c, wanted = np.asarray(scores, dtype=np.float64), np.asarray(classes), np.asarray(own)
    if s.ndim != 2 or s.shape != c.shape or wanted.shape != s.shape[:1] or not len(s) or k < 1:
        raise ValueError(f"scores {s.shape}, classes {c.shape}, own {wanted.shape} and k = {k} do not fit together")
    return float(won_votes(s, c, wanted, k, temperature).mean())


def won_votes(
    scores: NDArray[np.floating], classes: Indices, own: Indices, k: int = 20, temperature: float = TEMPERATURE
) -> NDArray[np.bool_]:
    """Whether each query [Q] wins the vote that `knn_accuracy` counts."""
    s = np.asarray(scores, np.float64)
    order = np.lexsort((classes == own[:, None], -s), axis=1)[:, :k]
    s, c = np.take_along_axis(s, order, axis=1), np.take_along_axis(classes, order, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        # relative to the nearest: the same votes, and no overflow
        weights = np.where(s == -np.inf, 0.0, np.exp((s - s[:, :1]) / temperature))
    ahead = _votes(weights, c) if s.shape[1] else np.zeros_like(weights)
    mine = c == own[:, None]
    won: NDArray[np.bool_] = _largest(ahead, mine) > _largest(ahead, ~mine)
    return won


def nearest(scores: NDArray[np.float32], own: Indices, classes: Indices, junk: Sequence[Indices], k: int) -> Neighbours:
    """The k nearest images by scores [Q, M] that are not junk, with their classes; own: int [Q], classes: int [M].

    At the cut equal scores keep images of other classes first, then those of lower index.
    """
    visible = scores + np.float32(0)  # a copy, in which -0.0 is 0.0
    visible[flat(junk)] = -np.inf
    bits = visible.view(np.uint32)
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64) << np.uint64(32)
    keys |= (classes != own[:, None]).astype(np.uint64) << np.uint64(31)
    keys |= np.arange(len(classes) - 1, -1, -1, dtype=np.uint64)
    best = np.argpartition(keys, -min(k, len(classes)), axis=1)[:, -k:]
    return Neighbours(np.take_along_axis(visible, best, axis=1), classes[best], own)


def _votes(weights: NDArray[np.float64], classes: NDArray[np.generic]) -> NDArray[np.float64]:
    """Of each neighbour [Q, k] the sum of the weights of all neighbours of its class."""
    distinct, number = np.unique(classes, return_inverse=True)
    cell = np.arange(len(classes))[:, None] * len(distinct) + number.reshape(classes.shape)
    used, place = np.unique(cell, return_inverse=True)
    sums = np.bincount(place.ravel(), weights.ravel(), minlength=len(used)).astype(np.float64)
    return sums[place.reshape(classes.shape)]


def _largest(votes: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    largest: NDArray[np.float64] = np.where(among, votes, 0.0).max(axis=1, initial=0.0)
    return largest
