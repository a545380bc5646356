"""What a cell's scores follow from, query by query: ranks of the positives, pooled pairs, the best matches.

It is kept beside the cell's record as an .npz file of plain arrays, which any numpy reads (docs/results.md).
"""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.metrics import Judged, JudgedPairs, Neighbours, Pool, Ranks, Resamples, Score, parse
from bench.metrics.retrieval import average_precisions

Arrays = Mapping[str, NDArray[np.generic]]

#: What comes of files that `to_bytes` has not written.
_ODD = (OSError, EOFError, TypeError, ValueError, LookupError, zipfile.BadZipFile)

#: Best matches of each query that are kept.
TOP = 10


@dataclass(frozen=True)
class Evidence:
    """Judged results of Q queries by setup, "" for the dataset's plain ground truth.

    query_ids [Q]. ap: float64 [Q], average precision of each query by the first setup, finite sum, nan without a
    positive. tags: of each query, or none at all. top: int64 [Q, TOP or fewer], rows of the database by falling
    similarity, junk and the image itself left out, -1 where there are no more; top_scores: float32, their similarity.
    """

    judged: Mapping[str, Judged]
    query_ids: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]
    top: NDArray[np.int64]
    top_scores: NDArray[np.float32]
    ap: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        judged: Mapping[str, Judged],
        query_ids: tuple[str, ...],
        tags: tuple[tuple[str, ...], ...],
        top: NDArray[np.int64],
        top_scores: NDArray[np.float32],
    ) -> "Evidence":
        """With the average precisions that follow from the first setup."""
        return cls(judged, query_ids, tags, top, top_scores, precisions(next(iter(judged.values()))))

    def score(self, metric: str) -> Score:
        """The dataset's score by a metric `name` or `name[SETUP]`, computed again."""
        found, setup = parse(metric)
        return found.score(self.judged[setup or ""])

    def resampled(self, metrics: Iterable[str], weights: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """The scores of each resample [B] by metric, weights [B, Q]; nan where it does not exist."""
        drawn = {setup: Resamples(judged, weights) for setup, judged in self.judged.items()}
        parsed = {name: parse(name) for name in metrics}
        return {name: metric.resampled(drawn[setup or ""]) for name, (metric, setup) in parsed.items()}

    def of_tag(self, tag: str) -> Judged:
        """The plain results of the queries with a tag, and of all without a positive, which copies are told from."""
        judged = self.judged[""]
        return judged.of_queries(np.array([tag in own for own in self.tags]) | (judged.n_positives == 0))

    def all_tags(self) -> list[str]:
        """In the order in which queries have them first."""
        return list(dict.fromkeys(tag for own in self.tags for tag in own))


def precisions(judged: Judged) -> NDArray[np.float64]:
    """Average precision of each query, float64 [Q]."""
    return average_precisions(judged.ranks, judged.n_positives, "finite")


class _Packed(Mapping[str, Judged]):
    """The judged results of a file by setup, unpacked when they are asked for: pools of many cells are large."""

    def __init__(self, content: bytes, setups: Sequence[str], name: str) -> None:
        self._content, self._setups, self._name = content, setups, name

    def __getitem__(self, setup: str) -> Judged:
        if setup not in self._setups:
            raise KeyError(setup)
        try:
            with np.load(io.BytesIO(self._content), allow_pickle=False) as arrays:
                return _unpacked({key.removeprefix(f"{setup}/"): arrays[key] for key in arrays if _is_of(key, setup)})
        except _ODD as error:
            raise _no_evidence(self._name, error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._setups)

    def __len__(self) -> int:
        return len(self._setups)


def to_bytes(evidence: Evidence) -> bytes:
    """The .npz file."""
    arrays: dict[str, NDArray[np.generic]] = {
        "ap": evidence.ap,
        "query_ids": np.array(evidence.query_ids, np.str_),
        "tags": np.array(json.dumps(evidence.tags)),
        "top": evidence.top.astype(np.int32),
        "top_scores": evidence.top_scores,
        "setups": np.array(json.dumps(list(evidence.judged))),
    }
    for setup, judged in evidence.judged.items():
        arrays |= {f"{setup}/{name}" if setup else name: array for name, array in _packed(judged).items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def from_bytes(content: bytes, name: str) -> Evidence:
    """What `to_bytes` wrote. Raises UsageError, naming the file, for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = Evidence(
                _Packed(content, json.loads(str(arrays["setups"])), name),
                tuple(arrays["query_ids"].tolist()),
                tuple(tuple(own) for own in json.loads(str(arrays["tags"]))),
                arrays["top"].astype(np.int64),
                arrays["top_scores"],
                arrays["ap"],
            )
            n_queries = {len(found.query_ids), len(found.ap), len(found.top), len(found.tags) or len(found.ap)}
            if len(n_queries) > 1:
                raise ValueError(f"its arrays are of {' and '.join(map(str, sorted(n_queries)))} queries")
            return found
    except _ODD as error:
        raise _no_evidence(name, error) from error


def _no_evidence(name: str, error: Exception) -> UsageError:
    return UsageError(f"the file {name} is not a cell's evidence ({error}): delete it and run again")


def best_matches(
    scores: NDArray[np.float32], junk: tuple[NDArray[np.int64], ...]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and similarities of the TOP best of scores [Q, M] that are not junk, as Evidence has them."""
    k = min(TOP, scores.shape[1])
    rows, of_rows = np.empty((len(scores), k), np.int64), np.empty((len(scores), k), np.float32)
    for query, ignored in enumerate(junk):
        visible = scores[query].copy()
        visible[ignored] = -np.inf
        best = np.sort(np.argpartition(-visible, k - 1)[:k])
        rows[query] = best[np.argsort(-visible[best], kind="stable")]
        of_rows[query] = visible[rows[query]]
    return np.where(of_rows > -np.inf, rows, -1), of_rows


def _is_of(key: str, setup: str) -> bool:
    return key.startswith(f"{setup}/") if setup else "/" not in key


def _packed(judged: Judged) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {
        "ranks": _small(judged.ranks.values),
        "ranks_query": _small(judged.ranks.query),
        "pair_ranks": _small(judged.pair_ranks),
        "n_positives": _small(judged.n_positives),
    }
    for name, part in (("neighbours", judged.neighbours), ("pairs", judged.pairs)):
        if part is not None:
            arrays |= {f"{name}_{field.name}": getattr(part, field.name) for field in fields(part)}
    return arrays | (_packed_pool(judged.pool) if judged.pool else {})


def _unpacked(arrays: Arrays) -> Judged:
    n_positives, ranks, query, pair_ranks = (
        arrays[name].astype(np.int64) for name in ("n_positives", "ranks", "ranks_query", "pair_ranks")
    )
    pool = _unpacked_pool(arrays, len(n_positives)) if "pool_levels" in arrays else None
    neighbours = Neighbours(**_part(arrays, "neighbours")) if "neighbours_own" in arrays else None
    pairs = JudgedPairs(**_part(arrays, "pairs")) if "pairs_levels" in arrays else None
    return Judged(Ranks(ranks, query, len(n_positives)), pair_ranks, n_positives, pool, neighbours, pairs)


def _part(arrays: Arrays, name: str) -> dict[str, Any]:
    return {key.removeprefix(f"{name}_"): array for key, array in arrays.items() if key.startswith(f"{name}_")}


def _packed_pool(pool: Pool) -> dict[str, NDArray[np.generic]]:
    """A reduced pool as counts of the different scores that the pairs of a query have.

    pool_levels [L]: the scores, rising. Of each query, score and kind that occurs: pool_step, how much further up the
    scores it lies than the one before (of a query, from 0), pool_count and pool_match; pool_runs [Q]: how many.
    """
    pool = pool.reduced()
    levels = np.unique(pool.scores)
    place = np.searchsorted(levels, pool.scores)
    key = (pool.query * max(len(levels), 1) + place) * 2 + pool.is_match
    found, counts = np.unique(key, return_counts=True)
    query, place = found // 2 // max(len(levels), 1), found // 2 % max(len(levels), 1)
    before = np.where(np.append(False, query[1:] == query[:-1]), np.append(0, place[:-1]), 0)[: len(place)]
    return {
        "pool_levels": levels,
        "pool_runs": _small(np.bincount(query, minlength=len(pool.n_pairs))),
        "pool_step": _small(place - before),
        "pool_count": _small(counts),
        "pool_match": (found % 2).astype(np.bool_),
    }


def _unpacked_pool(arrays: Arrays, n_queries: int) -> Pool:
    levels, is_match = arrays["pool_levels"], arrays["pool_match"]
    runs, step, count = (arrays[f"pool_{name}"].astype(np.int64) for name in ("runs", "step", "count"))
    query = np.repeat(np.arange(n_queries), runs)
    total = np.cumsum(step)
    first = np.cumsum(runs) - runs
    # the steps of earlier queries
    passed = np.append(0, total)[first]
    place = total - passed[query]
    n_pairs = np.bincount(np.repeat(query, count), minlength=n_queries)
    return Pool(levels[np.repeat(place, count)], np.repeat(is_match, count).astype(np.bool_), n_pairs)


def _small(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same numbers, none below 0, in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
