"""The report as one HTML page that needs no network: ranking, figures, datasets, hardest queries, provenance."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from bench import published_figures as published
from bench.metrics import parse
from bench.names import encoded
from bench.plugins import natural
from bench.published_figures import Beside
from bench.ranking import Ranking
from bench.records import Record
from bench.report import gallery, grid
from bench.report.gallery import Gallery
from bench.report.grid import Grid
from bench.report.html import MAX_BYTES, Figure, rendered
from bench.report.text import missing, notes, unranked
from bench.scored import Scored

_TEMPLATE = Path(__file__).parent / "templates/report.html.j2"
_COUNTS = {
    "queries": "n_queries",
    "database images": "n_database",
    "right pairs": "n_pairs",
    "queries without a match": "n_queries_without_positive",
    "junk images": "n_junk",
}
_GROUPS = {"all": "all datasets", "retrieval": "retrieval", "synthetic": "synthetic copies"}
_RULES = {
    "best": "the best on the mean",
    "global": "global",
    "chunked": "the best chunked",
    "per-dataset": "the best of each dataset",
}


@dataclass(frozen=True)
class Verdict:
    """A ranking as the page shows it."""

    ranking: Ranking
    grid: Grid
    sentence: str


@dataclass(frozen=True)
class DatasetPart:
    """body: of a record's dataset. counts: of what it has. by_tag: None where it has no tags."""

    name: str
    body: Mapping[str, Any]
    counts: Mapping[str, str]
    grid: Grid
    by_tag: Grid | None


@dataclass(frozen=True)
class Origin:
    """Records of one machine and one commit. packages: versions by name."""

    hardware: Mapping[str, Any]
    git: Mapping[str, Any]
    packages: Mapping[str, str]


def page(
    scored: Scored,
    table: pd.DataFrame,
    verdicts: Sequence[Ranking],
    figures: Sequence[Figure],
    galleries: Sequence[Gallery],
    beside: Sequence[Beside] = (),
) -> str:
    """The page as HTML. table: the leaderboard. beside: what stands beside published figures.

    Where it would be larger than MAX_BYTES, every dataset shows fewer of its hardest queries, and the page says so.
    """
    content = _content(scored, table, verdicts) | {"figures": figures, "beside": beside}
    text = _rendered(content, galleries, "")
    over = len(encoded(text)) - MAX_BYTES
    if over <= 0:
        return text
    fewer, n = gallery.bounded(galleries, gallery.n_bytes(galleries) - over)
    return _rendered(content, fewer, f"To keep the page small, it shows {n} queries of each dataset at most.")


def _content(scored: Scored, table: pd.DataFrame, verdicts: Sequence[Ranking]) -> dict[str, Any]:
    records = scored.records
    created = sorted(record.body["created_utc"] for record in records)
    return {
        "verdicts": [Verdict(r, grid.verdict(r, scored, table), sentence(r)) for r in verdicts],
        "groups": {name: _GROUPS[name] for name in dict.fromkeys(r.group for r in verdicts)},
        "rules": {name: _RULES[name] for name in dict.fromkeys(r.rule for r in verdicts)},
        "every_row": grid.every_row(scored, table),
        "published": published,
        "datasets": _datasets(scored),
        "metrics": _metrics(records),
        "notes": [*notes(table, records), *unranked(scored)],
        "problems": scored.problems,
        "missing": missing(records),
        "weights": _weights(records),
        "origins": _origins(records),
        "commands": list(dict.fromkeys(shlex.join(record.body["argv"]) for record in records)),
        "seeds": sorted({record.body["seed"] for record in records}),
        "created": (created[0], created[-1]),
        "n_backbones": len({record.cell.backbone for record in records}),
        "n_datasets": scored.n_datasets,
        "only_random": all(record.weights == "random" for record in records),
    }


def sentence(ranking: Ranking) -> str:
    """The verdict in words: who is first, and whether it can be told from the next."""
    first, others = ranking.standings[0], ranking.standings[1:]
    mean = grid.score(first.mean_map, "map", grid.between(first.low, first.high))
    between = f" (95 %: {mean.between})" if mean.between else ""
    equal = [one.backbone for one in others if one.rank == 1]
    place = f"shares the first place with {', '.join(equal)}" if equal else "is first"
    words = (
        f"{first.backbone}, {first.similarity}, {place} of {len(ranking.standings)}: mean mAP {mean.text} %{between}."
    )
    if first.p_next is None:
        return words
    separable = "is not separable" if ranking.brackets and ranking.brackets[0][0] == 0 else "is separable"
    return f"{words} It {separable} from the next, {others[0].backbone}, at the level of 5 %."


def _rendered(content: Mapping[str, Any], galleries: Sequence[Gallery], cut: str) -> str:
    return rendered(_TEMPLATE, {**content, "galleries": galleries, "cut": cut})


def _datasets(scored: Scored) -> list[DatasetPart]:
    """Those with scores, by name."""
    ok = sorted((r for r in scored.records if r.status == "ok"), key=lambda r: natural(r.cell.dataset))
    parts = []
    for name, of_dataset in groupby(ok, key=lambda record: record.cell.dataset):
        records = list(of_dataset)
        body = records[0].body["dataset"]
        counts = {name: f"{body[field]:,}" for name, field in _COUNTS.items() if field in body}
        parts.append(DatasetPart(name, body, counts, grid.of_dataset(records, scored), grid.by_tag(records)))
    return parts


def _metrics(records: Iterable[Record]) -> dict[str, str]:
    """What each metric of the run is, without its setup."""
    found = [parse(name)[0] for record in records for name in record.body["dataset"]["metrics"]]
    return {metric.name: metric.description for metric in found}


def _weights(records: Iterable[Record]) -> list[Mapping[str, Any]]:
    """One record's body of each backbone: one that has scores, if any."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for record in sorted(records, key=lambda record: record.status != "ok"):
        found.setdefault((record.cell.backbone, record.weights), record.body)
    return [found[key] for key in sorted(found, key=lambda key: natural(key[0]))]


def _origins(records: Iterable[Record]) -> list[Origin]:
    """Each distinct machine and commit once; of packages all versions that occur."""
    found: list[tuple[Mapping[str, Any], Mapping[str, Any], dict[str, set[str]]]] = []
    for record in records:
        hardware, git = record.body["hardware"], record.body["git"]
        known = next((of for of in found if of[:2] == (hardware, git)), None)
        if known is None:
            known = hardware, git, {}
            found.append(known)
        for name, version in record.body["packages"].items():
            known[2].setdefault(name, set()).add(version or "not installed")
    return [
        Origin(hardware, git, {name: ", ".join(sorted(of)) for name, of in sorted(packages.items())})
        for hardware, git, packages in found
    ]
