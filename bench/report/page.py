"""The report as one HTML page that needs no network: ranking, figures, datasets, hardest queries, provenance."""

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench import published_figures as published
from bench.metrics import parse
from bench.plugins import natural
from bench.published_figures import Beside
from bench.ranking import Ranking
from bench.records import Record
from bench.report import gallery, grid
from bench.report.figures.marks import Mark
from bench.report.gallery import Gallery
from bench.report.grid import Grid
from bench.report.text import missing, notes, unranked
from bench.scored import Scored

#: Bytes of a page; pictures are left out until it fits.
MAX_BYTES = 10_000_000
#: Two figures of a column and of two columns of a paper fit side by side.
PIXELS_PER_POINT = 1.53

_TEMPLATES = Path(__file__).parent / "templates"
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
class Figure:
    """caption: what it says, also for who can't see it. marks: what its parts stand for."""

    title: str
    caption: str
    svg: str
    marks: Sequence[Mark] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Pixels across and down, so that letters are of one size in all figures; None where the figure tells none."""
        found = [re.search(rf'<svg[^>]*?\b{side}="([\d.]+)pt"', self.svg) for side in ("width", "height")]
        across, down = (round(float(side[1]) * PIXELS_PER_POINT) if side else None for side in found)
        return None if across is None or down is None else (across, down)

    @property
    def view_box(self) -> str:
        """Of the SVG, whose units the marks are in."""
        found = re.search(r'<svg[^>]*?\bviewBox="([^"]*)"', self.svg)
        return found[1] if found else ""

    @property
    def uri(self) -> str:
        """As an image of its own, whose styles and ids meet nothing else on the page."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


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
    over = len(text.encode()) - MAX_BYTES
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
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    template = environment.get_template("report.html.j2")
    return template.render(
        **content,
        galleries=galleries,
        cut=cut,
        # files of this project
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
    )


def _csp_hash(text: str) -> str:
    """What a Content-Security-Policy names an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


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
