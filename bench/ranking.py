"""From scores to ranks: the mean over datasets, and who may be ranked at all."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def competition_ranks(values: Sequence[float | None]) -> list[int | None]:
    """Ranks from 1 by falling value; equal values share the better rank, None has none."""
    ranks = pd.Series(np.array(values, np.float64)).rank(method="min", ascending=False)
    return [None if pd.isna(rank) else int(rank) for rank in ranks]


def rankable(status: str, complete: bool, weights: str) -> bool:
    """Only complete rows of real weights (or of none) are ranked: random ones say nothing of a backbone."""
    return status == "ok" and complete and weights != "random"
