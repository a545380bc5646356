"""From scores to a verdict: aggregates over datasets, ranks, and how sure they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.records import Record
from bench.scored import SEED, Scored
from bench.uncertainty import FEWEST, MOST, N_RESAMPLES, holm, interval, rounded, sign_flip_p

#: Which datasets count: all, those of kind retrieval, or the sets of known copies (kind copy).
Group = Literal["all", "retrieval", "synthetic"]
#: Which similarity stands for a backbone: its best by the mean over datasets, `global`, the best chunked one, the best
#: of each dataset; or each for itself.
Rule = Literal["best", "global", "chunked", "per-dataset", "each"]
GROUPS: tuple[Group, ...] = get_args(Group)
#: Rules by which a backbone has one place.
RULES: tuple[Rule, ...] = ("best", "global", "chunked", "per-dataset")
METRIC = "map"
#: Two neighbours whose corrected p is not below it are not separable.
LEVEL = 0.05

_KINDS: Mapping[Group, tuple[str, ...]] = {
    "all": ("retrieval", "copy"),
    "retrieval": ("retrieval",),
    "synthetic": ("copy",),
}


@dataclass(frozen=True)
class Standing:
    """One backbone's place. mean_map: over datasets, with its 95 % interval low..high.

    rank_low, rank_high: 95 % of the ranks over resamples; None, as p_top is empty, where there are none. mrr: mean of
    1 / rank over datasets. borda: mean over datasets of the share of the others it beats, half for equals. z: mean over
    datasets of the score's distance from the mean of all, in standard deviations. p_top: probability to be among the
    first 1, 2, ... over resamples. p_next: Holm-corrected p that it is as good as the next one; None for the last, and
    where the evidence of either is lost.
    """

    backbone: str
    similarity: str
    weights: str
    rank: int
    rank_low: int | None
    rank_high: int | None
    mean_map: float
    low: float | None
    high: float | None
    mrr: float
    borda: float
    z: float
    p_top: tuple[float, ...]
    p_next: float | None


@dataclass(frozen=True)
class Ranking:
    """standings by rank. apart: backbone -> why it has no rank.

    brackets: first and last position, from 0, of the runs in which none can be told from the next at 5 %.
    """

    group: Group
    rule: Rule
    datasets: tuple[str, ...]
    standings: tuple[Standing, ...]
    apart: Mapping[str, str]
    brackets: tuple[tuple[int, int], ...]
    n_resamples: int = N_RESAMPLES
    seed: int = SEED


@dataclass(frozen=True)
class _Candidate:
    """What may stand for a backbone. cells: of the group's datasets, in their order."""

    similarity: str
    cells: tuple[Record, ...]

    @property
    def scores(self) -> list[float]:
        return [cell.body["metrics"][METRIC] for cell in self.cells]


def rank(scored: Scored, group: Group = "all", rule: Rule = "best") -> Ranking:
    """The verdict on the backbones of a run over the datasets of a group that have `map`.

    Only backbones with real weights (or none) and a score on every dataset are ranked. Resamples are by query within
    each dataset, the same for every backbone: a mean has an interval where its own evidence is there, ranks have them
    where that of all is.
    """
    datasets, chosen, apart = _chosen(scored, group, rule)
    # a stable order by falling mean
    chosen.sort(key=lambda candidate: -float(np.mean(candidate.scores)))
    if not chosen:
        return Ranking(group, rule, datasets, (), apart, ())
    values = np.array([candidate.scores for candidate in chosen])
    precisions = [scored.precisions([c.cells[at].cell for c in chosen]) for at in range(len(datasets))]
    means = _resampled_means(scored, chosen, precisions)
    p_next = _tests(precisions)
    return Ranking(group, rule, datasets, _standings(chosen, values, means, p_next), apart, _brackets(p_next))


def left_out(scored: Scored) -> dict[str, str]:
    """Backbone -> why it has no rank over all datasets."""
    return _chosen(scored, "all", "best")[2]


def competition_ranks(values: Sequence[float | None]) -> list[int | None]:
    """Ranks from 1 by falling value; equal values share the better rank, None has none."""
    ranks = pd.Series(np.array(values, np.float64)).rank(method="min", ascending=False)
    return [None if pd.isna(rank) else int(rank) for rank in ranks]


def _chosen(scored: Scored, group: Group, rule: Rule) -> tuple[tuple[str, ...], list[_Candidate], dict[str, str]]:
    """The datasets of a group, what stands for the backbones over them, and why others have nothing that does."""
    of_group = [r for r in scored.records if r.body["dataset"]["kind"] in _KINDS[group]]
    datasets = tuple(dict.fromkeys(r.cell.dataset for r in of_group if METRIC in r.body["dataset"]["metrics"]))
    chosen: list[_Candidate] = []
    apart: dict[str, str] = {}
    lost = scored.n_datasets - len({record.cell.dataset for record in scored.records})
    for backbone, records in groupby(of_group, key=lambda record: record.cell.backbone):
        found, why = _candidates(list(records), datasets, rule)
        if lost:
            found, why = [], f"{lost} of the {scored.n_datasets} datasets of the run have no record that counts"
        if found:
            chosen += found if rule == "each" else [_stands_for(found, rule)]
        else:
            apart[backbone] = why
    return datasets, chosen, apart


def _candidates(records: list[Record], datasets: Sequence[str], rule: Rule) -> tuple[list[_Candidate], str]:
    """The similarities that have a score on all datasets, or why there is none."""
    if records[0].weights == "random":
        return [], "its weights are random"
    found, lacks = [], "no similarity fits the rule"
    for similarity, of_similarity in groupby(records, key=lambda record: str(record.cell.similarity)):
        cells = list(of_similarity)
        scores = {c.cell.dataset: c for c in cells if c.status == "ok" and c.body["metrics"].get(METRIC) is not None}
        is_global = cells[0].body["similarity"]["kind"] == "global"
        if (rule == "global" and not is_global) or (rule == "chunked" and is_global):
            continue
        if missing := [name for name in datasets if name not in scores]:
            lacks = f"it has no score on {', '.join(missing)}"
        else:
            found.append(_Candidate(similarity, tuple(scores[name] for name in datasets)))
    return found, lacks


def _stands_for(candidates: list[_Candidate], rule: Rule) -> _Candidate:
    """One of a backbone's similarities, the first of equally good ones; or a mixture of them."""
    if rule == "per-dataset":
        of_datasets = zip(*(candidate.cells for candidate in candidates), strict=True)
        best = [max(cells, key=lambda cell: float(cell.body["metrics"][METRIC])) for cells in of_datasets]
        return _Candidate("best of each dataset", tuple(best))
    return max(candidates, key=lambda candidate: float(np.mean(candidate.scores)))


def mean_reciprocal_rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over datasets of 1 / rank, equal scores sharing the better one: values [n, D], float64 [n]."""
    ranks = pd.DataFrame(values).rank(method="min", ascending=False).to_numpy()
    mean: NDArray[np.float64] = (1 / ranks).mean(axis=1)
    return mean


def borda(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over datasets of the share of the others that each beats, half for equals: values [n, D], float64 [n]."""
    n = len(values)
    ranks = pd.DataFrame(values).rank(method="average", ascending=False).to_numpy()
    mean: NDArray[np.float64] = ((n - ranks) / max(n - 1, 1)).mean(axis=1)
    return mean


def mean_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over datasets of the distance from the mean of all, in standard deviations (0 where all are equal) [n]."""
    spread = values.std(axis=0)
    z = np.divide(values - values.mean(axis=0), spread, out=np.zeros_like(values), where=spread > 0)
    mean: NDArray[np.float64] = z.mean(axis=1)
    return mean


def _standings(
    chosen: list[_Candidate], values: NDArray[np.float64], means: NDArray[np.float64], p_next: list[float | None]
) -> tuple[Standing, ...]:
    """values [n, D], means [B, n] of the resamples."""
    n = len(chosen)
    places = competition_ranks(values.mean(axis=1).tolist())
    aggregates = zip(mean_reciprocal_rank(values), borda(values), mean_z(values), strict=True)
    fewest = [min(cell.body["n_used"][METRIC] for cell in candidate.cells) for candidate in chosen]
    drawn = _ranks(means, min(fewest))
    found = []
    for at, (candidate, place, of_datasets) in enumerate(zip(chosen, places, aggregates, strict=True)):
        assert place is not None  # every value exists
        places_drawn: tuple[int | None, int | None] = None, None
        between = interval(means[:, at], fewest[at], float(values[at].mean())) or (None, None)
        p_top: tuple[float, ...] = ()
        if drawn is not None:
            low, high = (int(q) for q in np.quantile(drawn[:, at], (0.025, 0.975), method="inverted_cdf"))
            places_drawn = min(low, place), max(high, place)
            p_top = tuple(float((drawn[:, at] <= k).mean()) for k in range(1, n + 1))
        found.append(
            Standing(
                backbone=candidate.cells[0].cell.backbone,
                similarity=candidate.similarity,
                weights=candidate.cells[0].weights,
                rank=place,
                rank_low=places_drawn[0],
                rank_high=places_drawn[1],
                mean_map=float(values[at].mean()),
                low=between[0],
                high=between[1],
                mrr=float(of_datasets[0]),
                borda=float(of_datasets[1]),
                z=float(of_datasets[2]),
                p_top=p_top,
                p_next=None if at == n - 1 else p_next[at],
            )
        )
    return tuple(found)


def _resampled_means(
    scored: Scored, chosen: list[_Candidate], precisions: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The mean over datasets of every resample, [B, n], the same resamples for all; nan where it does not exist."""
    total = np.zeros((N_RESAMPLES, len(chosen)))
    for cell, of in zip(chosen[0].cells, precisions, strict=True):
        total += scored.resampled_mean(cell.cell.dataset, of)
    return total / len(precisions)


def _ranks(means: NDArray[np.float64], fewest: int) -> NDArray[np.float64] | None:
    """The ranks in every resample, [B or a little less, n].

    None where the evidence of any is not to be had, a dataset has fewer than FEWEST queries with a positive, or too
    many resamples have none.
    """
    exist = ~np.isnan(means).any(axis=1)
    if fewest < FEWEST or exist.mean() < MOST:
        return None
    return pd.DataFrame(means[exist]).rank(axis=1, method="min", ascending=False).to_numpy()


def _tests(precisions: list[NDArray[np.float64]]) -> list[float | None]:
    """Holm-corrected p of every two neighbours, [n - 1]; None where the evidence of either is not to be had."""
    known = np.all([~np.isnan(of).all(axis=1) for of in precisions], axis=0)
    tested = np.flatnonzero(known[1:] & known[:-1])
    found: list[float | None] = [None] * (len(known) - 1)
    if len(tested):
        some = int(tested[0])
        differences = [(of[tested + 1] - of[tested])[:, ~np.isnan(of[some])] for of in precisions]
        for at, p in zip(tested, holm(sign_flip_p(differences, SEED)), strict=True):
            found[at] = rounded(p)
    return found


def _brackets(p_next: list[float | None]) -> tuple[tuple[int, int], ...]:
    """Runs of neighbours that are not separable."""
    together = [p is not None and p >= LEVEL for p in p_next]
    changes = [0, *(at + 1 for at, (a, b) in enumerate(pairwise(together)) if a != b), len(together)]
    return tuple((first, last) for first, last in pairwise(changes) if first < last and together[first])
