"""The leaderboard for people: the same cells in Markdown and on the console, rounded only here."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.ranking import Ranking, left_out
from bench.records import Record
from bench.report import choose
from bench.report.omitted import notes as omitted_notes
from bench.report.omitted import skipping
from bench.scored import Scored

NON_COMMERCIAL = "†"
NON_COMMERCIAL_NOTE = f"{NON_COMMERCIAL} the licence of these weights forbids commercial use."
SAMPLE_NOTE = (
    "a sample of that many queries of each dataset, with what answers them; the scores are not those of "
    "the whole datasets."
)
RANDOM_NOTE = "weights=random: these rows test the harness and say nothing of the backbones; they are not ranked."


def shown(table: pd.DataFrame, columns: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Headings and cells as text of some columns, or of those shown where none are named.

    Rows without any score are left out: `missing` tells why they have none.
    """
    chosen = list(columns or choose.usual(table))
    scored = table[table["n_datasets"] > 0]
    marked = scored.assign(
        backbone=scored["backbone"].where(~scored["non_commercial"].astype(bool), scored["backbone"] + NON_COMMERCIAL)
    )
    rows = [[choose.as_text(row[column], column) for column in chosen] for row in marked.to_dict("records")]
    return [f"{column} %" if choose.is_share(column) else column for column in chosen], rows


def markdown(
    table: pd.DataFrame, scored: Scored, verdicts: Sequence[Ranking], columns: Sequence[str] | None = None
) -> str:
    """The leaderboard, the verdict, where they come from, and every backbone without scores with its reason."""
    records = scored.records
    headings, rows = shown(table, columns)
    body = markdown_table(headings, rows)
    parts = ["# Leaderboard", body, *notes(table, records), *_verdict(verdicts), *map(plain, scored.problems)]
    parts += [_measured_on(records), *_missing(records), *map(plain, unranked(scored))]
    return "\n\n".join(parts) + "\n"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]], as_they_are: Sequence[str] = ()) -> str:
    """In Markdown; cells are plain text but for those under the headings named."""
    kept = [heading in as_they_are for heading in headings]
    safe = [[cell if keep else plain(cell) for cell, keep in zip(row, kept, strict=True)] for row in rows]
    # headings apart: two may be the same
    return str(pd.DataFrame(safe).to_markdown(index=False, headers=[*map(plain, headings)], disable_numparse=True))


def plain(text: str) -> str:
    """Text of Markdown that says just this: nothing in it ends a cell or a line, begins a tag, a link or emphasis."""
    safe = re.sub(r"[\\|*`]", r"\\\g<0>", " ".join(text.split()))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")


def notes(table: pd.DataFrame, records: Sequence[Record]) -> list[str]:
    """What a reader of the scores has to know: random weights, licences, changed steps, several machines."""
    body = records[0].body
    changed = {"Preprocessing": (body["preprocess"]["mode"], "official"), "Post-processing": (_post(body), "")}
    return [
        *([RANDOM_NOTE] if any(record.weights == "random" for record in records) else []),
        *([f"limit={limit}: {SAMPLE_NOTE}"] if (limit := body["dataset"]["limit"]) is not None else []),
        *([NON_COMMERCIAL_NOTE] if table.loc[table["n_datasets"] > 0, "non_commercial"].any() else []),
        *(f"{name} of all rows: {value}." for name, (value, usual) in changed.items() if value != usual),
        *_several_machines(records),
        *skipping(records),
        *omitted_notes(records),
    ]


def _several_machines(records: Sequence[Record]) -> list[str]:
    of_scores = [record.body["hardware"] for record in records if record.status == "ok"]
    found = dict.fromkeys(f"{h['device']} ({h['gpu'] or h['cpu']}, {h['threads']} threads)" for h in of_scores)
    if len(found) < 2:
        return []
    return [f"Measured on several devices, {'; '.join(found)}: images_per_s compares between rows of one device alone."]


def verdict(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """Headings and cells as text of one ranking of backbones; a bracket joins neighbours that are not separable."""
    headings = ["rank", "95 %", "backbone", "similarity", "mean_map %", "95 %", "P(first)", "P(top 3)", "not separable"]
    rows = [
        [
            str(s.rank),
            span(choose.as_text(s.rank_low, "rank"), choose.as_text(s.rank_high, "rank")),
            s.backbone,
            s.similarity,
            percent(s.mean_map),
            span(percent(s.low), percent(s.high)),
            f"{s.p_top[0]:.2f}" if s.p_top else "",
            f"{s.p_top[min(3, len(s.p_top)) - 1]:.2f}" if s.p_top else "",
            ", ".join(chr(97 + n) for n, (first, last) in enumerate(ranking.brackets) if first <= at <= last),
        ]
        for at, s in enumerate(ranking.standings)
    ]
    return headings, rows


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal, empty where there is none."""
    return choose.as_text(value, "mean_map")


def span(low: str, high: str) -> str:
    """Both ends of an interval, or nothing where there is none."""
    return f"{low}-{high}" if low and high else ""


def _verdict(verdicts: Sequence[Ranking]) -> list[str]:
    """Of all datasets, each backbone at its best similarity; ranking.csv has the other groups and rules."""
    found = next((r for r in verdicts if (r.group, r.rule) == ("all", "best") and len(r.standings) > 1), None)
    if found is None:
        return []
    headings, rows = verdict(found)
    text = (
        "Each backbone at the similarity that is best by its mean over all datasets. Intervals and probabilities: "
        f"{found.n_resamples:,} bootstrap resamples of the queries within each dataset (seed {found.seed}). Neighbours "
        "with the same letter are not separable at 5 % (paired sign-flip test on average precision, Holm-corrected)."
    )
    return ["## Verdict", text, markdown_table(headings, rows)]


def _post(body: Mapping[str, Any]) -> str:
    steps, fit_set = body["postprocess"]["spec"], body["postprocess"]["fit_set"]
    return f"{steps}, fitted on {fit_set}" if fit_set else str(steps)


def missing(records: Sequence[Record]) -> dict[str, list[str]]:
    """Reason -> the backbones, datasets or cells that have no scores because of it."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record.status != "ok":
            error = record.body["error"]
            whole = {"weights": record.cell.backbone, "dataset": record.cell.dataset}
            name = whole.get(error["phase"], str(record.cell))
            names = found.setdefault(f"{record.status}: {error['message']}", [])
            if name not in names:
                names.append(name)
    return found


def unranked(scored: Scored) -> list[str]:
    """A sentence on each backbone that has no rank though none of its cells failed, and its weights are not random."""
    failed = {record.cell.backbone for record in scored.records if record.status != "ok" or record.weights == "random"}
    return [f"{name} has no rank: {why}." for name, why in left_out(scored).items() if name not in failed]


def _missing(records: Sequence[Record]) -> list[str]:
    lines = [plain(f"- {', '.join(names)}: {reason}") for reason, names in missing(records).items()]
    return ["Without scores:\n\n" + "\n".join(lines)] if lines else []


def _measured_on(records: Sequence[Record]) -> str:
    """Each distinct combination of machine and code once."""
    return (
        "Measured on "
        + "; ".join(sorted({_machine(record) for record in records}))
        + ". images_per_s includes decoding."
    )


def _machine(record: Record) -> str:
    hardware, packages, git = (record.body[part] for part in ("hardware", "packages", "git"))
    return ", ".join(
        [
            hardware["cpu"],
            *([hardware["gpu"]] if hardware["gpu"] else []),
            f"{hardware['cores']} cores, {hardware['threads']} threads, {hardware['ram_gb']} GB",
            f"{hardware['os']}, Python {hardware['python']}",
            *(f"{name} {packages[name]}" for name in ("torch", "timm", "pillow")),
            f"commit {(git['sha'] or 'unknown')[:12]}" + (" with local changes" if git["dirty"] else ""),
            f"seed {record.body['seed']}",
        ]
    )
