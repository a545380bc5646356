"""How well scores follow the levels that people gave to pairs of images.

Both are of D-Rep (Wang et al., Image Copy Detection for Diffusion Models, NeurIPS 2024), whose levels are 0 to 5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.interfaces import Indices

HIGHEST_LEVEL = 5.0


@dataclass(frozen=True)
class JudgedPairs:
    """Pairs with a level: query [L], score [L], level [L]."""

    query: Indices
    scores: NDArray[np.floating]
    levels: NDArray[np.float64]


def pearson(scores: ArrayLike, levels: ArrayLike) -> float:
    """Pearson's correlation of scores [L] and levels [L]; nan where either is constant or there are fewer than two.

    Raises ValueError for different lengths or values that are not finite.
    """
    x, y = _checked(scores, levels)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1, 1))


def relative_deviation(predicted: ArrayLike, levels: ArrayLike, highest: float = HIGHEST_LEVEL) -> float:
    """Mean of |predicted - level| / max(highest - level, level): 0 is perfect, 1 is as wrong as can be.

    predicted: float [L], on the scale of the levels [L], 0 to `highest`. What is computed is this formula; it was
    not possible to hold it against the text of the paper, so compare with its tables with care.
    Raises ValueError for different lengths, no pair, values that are not finite or beyond 0..highest.
    """
    x, y = _checked(predicted, levels)
    if not len(x) or min(x.min(), y.min()) < 0 or max(x.max(), y.max()) > highest:
        raise ValueError(f"levels and predictions are from 0 to {highest:g}, and there must be one")
    return float(relative_deviations(x, y, highest).mean())


def relative_deviations(
    predicted: NDArray[np.float64], levels: NDArray[np.float64], highest: float = HIGHEST_LEVEL
) -> NDArray[np.float64]:
    """What `relative_deviation` averages, of each pair [L]."""
    deviations: NDArray[np.float64] = np.abs(predicted - levels) / np.maximum(highest - levels, levels)
    return deviations


def _checked(scores: ArrayLike, levels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (scores, levels))
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"{x.size} scores and {y.size} levels: there must be as many, all finite")
    return x, y
