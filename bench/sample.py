"""A part of a dataset for a quick look: fewer queries, and all that answers them."""

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
    levels = split.levels
    if levels is not None:
        kept = np.isin(levels.queries, queries)
        levels = Levels(levels.queries[kept], levels.database[kept], levels.level[kept])
        named.append(levels.database)
    needed = np.unique(np.concatenate([*named, np.empty(0, np.int64)]))
    others = rng.permutation(np.setdiff1d(np.arange(len(split.database)), needed))[: max(0, n - len(needed))]
    database = np.sort(np.concatenate([needed, others])).astype(np.int64)

    def truth_of(truth: GroundTruth) -> GroundTruth:
        return GroundTruth(
            *(tuple(_places(part[q], database) for q in queries) for part in (truth.positives, truth.junk))
        )

    return replace(
        split,
        queries=tuple(split.queries[q] for q in queries),
        database=tuple(split.database[row] for row in database),
        ground_truth=truth_of(split.ground_truth),
        setups={name: truth_of(truth) for name, truth in split.setups.items()},
        classes=split.classes and Classes(split.classes.queries[queries], split.classes.database[database]),
        levels=levels and Levels(_places(levels.queries, queries), _places(levels.database, database), levels.level),
        tags=tuple(split.tags[q] for q in queries) if split.tags else (),
    )


def _places(values: Indices, kept: Indices) -> Indices:
    """Where each value stands among the ascending `kept`."""
    return np.searchsorted(kept, values).astype(np.int64)
