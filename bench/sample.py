"""A part of a dataset for a quick look: fewer queries, and all that answers them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.interfaces import Classes, GroundTruth, Indices, Levels, Split


def limited(split: Split, n: int, seed: int) -> Split:
    """At most `n` queries, drawn by `seed`, with every image that is positive, junk or judged for one of them.

    The database is filled up to `n` with others of it, drawn too; queries and database keep their order.
    """
    rng = np.random.default_rng(seed)
    queries = np.sort(rng.permutation(len(split.queries))[:n])
    judged = (split.ground_truth, *split.setups.values())
    named = [part[q] for truth in judged for part in (truth.positives, truth.junk) for q in queries]
    if split.levels is not None:
        named.append(split.levels.database[np.isin(split.levels.queries, queries)])
    needed = np.unique(np.concatenate([*named, np.empty(0, np.int64)]))
    others = rng.permutation(np.setdiff1d(np.arange(len(split.database)), needed))[: max(0, n - len(needed))]
    return selected(split, queries, np.sort(np.concatenate([needed, others])).astype(np.int64))


def selected(split: Split, queries: Indices, database: Indices) -> Split:
    """The part of a split with these queries [Q'] and this part of the database [M'], both by rising rows."""
    levels = split.levels
    if levels is not None:
        kept = np.isin(levels.queries, queries) & np.isin(levels.database, database)
        levels = Levels(
            _places(levels.queries[kept], queries), _places(levels.database[kept], database), levels.level[kept]
        )

    def rows_of(part: Sequence[Indices]) -> tuple[Indices, ...]:
        return tuple(_places(part[q][np.isin(part[q], database)], database) for q in queries)

    def truth_of(truth: GroundTruth) -> GroundTruth:
        return GroundTruth(rows_of(truth.positives), rows_of(truth.junk))

    return replace(
        split,
        queries=tuple(split.queries[q] for q in queries),
        database=tuple(split.database[row] for row in database),
        ground_truth=truth_of(split.ground_truth),
        setups={name: truth_of(truth) for name, truth in split.setups.items()},
        classes=split.classes and Classes(split.classes.queries[queries], split.classes.database[database]),
        levels=levels,
        tags=tuple(split.tags[q] for q in queries) if split.tags else (),
    )


def _places(values: Indices, kept: Indices) -> Indices:
    """Where each value stands among the ascending `kept`."""
    return np.searchsorted(kept, values).astype(np.int64)
