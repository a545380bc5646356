"""From scores to ranks: the mean over datasets, and who may be ranked at all."""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd


def competition_ranks(values: Sequence[float | None]) -> list[int | None]:
    """Ranks from 1 by falling value; equal values share the better rank, None has none."""
    ranks = pd.Series(np.array(values, np.float64)).rank(method="min", ascending=False)
    return [None if pd.isna(rank) else int(rank) for rank in ranks]


def ranks_within(values: Sequence[float | None], groups: Sequence[Hashable]) -> list[int | None]:
    """`competition_ranks` among the values of the same group, such as those measured on a sample of one size."""
    ranks: list[int | None] = [None] * len(values)
    for group in dict.fromkeys(groups):
        places = [place for place, of in enumerate(groups) if of == group]
        for place, rank in zip(places, competition_ranks([values[place] for place in places]), strict=True):
            ranks[place] = rank
    return ranks


def rankable(status: str, complete: bool, weights: str) -> bool:
    """Only complete rows of real weights (or of none) are ranked: random ones say nothing of a backbone."""
    return status == "ok" and complete and weights != "random"
