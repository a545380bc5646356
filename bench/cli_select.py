"""`select`: arguments and printing of the selection of backbones."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.selection import Selection


class GroupChoice(StrEnum):
    """Which datasets count."""

    all = "all"
    retrieval = "retrieval"
    synthetic = "synthetic"


class RuleChoice(StrEnum):
    """Which similarity stands for a backbone."""

    best = "best"
    global_ = "global"
    chunked = "chunked"
    per_dataset = "per-dataset"


def select(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    top: Annotated[int, typer.Option(min=1, help="How many backbones are selected.")] = 3,
    group: Annotated[GroupChoice, typer.Option(help="Datasets that count: synthetic are those of known copies.")] = (
        GroupChoice.all
    ),
    rule: Annotated[
        RuleChoice, typer.Option(help="Similarity that stands for a backbone: best by its mean over datasets, ...")
    ] = RuleChoice.best,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Select the best backbones of a run, say how sure that is, and compare with the published selection."""
    from bench import console, plugins
    from bench.ranking import rank
    from bench.records import RunFolder
    from bench.report.choose import as_text
    from bench.report.text import percent, span
    from bench.scored import read
    from bench.selection import select as choose

    scored = read(RunFolder.existing(folder))
    ranking = rank(scored, group.value, rule.value)
    try:
        found = choose(ranking, top, plugins.backbones.members("winners"))
    except UsageError as error:
        raise UsageError("; ".join([str(error), *scored.problems])) from error
    if as_json:
        print(json.dumps(asdict(found) | {"agrees": found.agrees, "datasets": ranking.datasets}, indent=2))
        return
    rows = [
        {
            "rank": s.rank,
            "95 %": span(as_text(s.rank_low, "rank"), as_text(s.rank_high, "rank")),
            "name": s.backbone,
            "similarity": s.similarity,
            "mean_map %": percent(s.mean_map),
            "95 % ": span(percent(s.low), percent(s.high)),
            f"P(top {top})": f"{s.p_top[top - 1]:.2f}" if s.p_top else "",
        }
        for s in found.chosen
    ]
    lines = [f"Selected over {', '.join(ranking.datasets)}; each backbone by the rule '{rule.value}'."]
    if len(ranking.standings) > len(found.chosen):
        lines += _cut(found, ranking.standings[len(found.chosen)].backbone)
    lines += _compared(found)
    lines += [f"{name} has no rank: {why}" for name, why in ranking.apart.items() if name not in found.missing]
    console.print_rows(rows)
    for line in [*lines, *scored.problems]:
        console.out.print(line, soft_wrap=True)


def _cut(found: "Selection", left_out: str) -> list[str]:
    """Whether it separates what is chosen from the first that is not."""
    last = found.chosen[-1].backbone
    if found.next_p is None:
        return [f"Whether the cut is clear can't be told: the evidence of {last} or {left_out} can't be used."]
    if found.is_clear:
        return []
    return [f"The cut is not clear: {last} and {left_out} are not separable (corrected p = {found.next_p:.2f})."]


def _compared(found: "Selection") -> list[str]:
    """Whether the published selection agrees, and where it does not."""
    verdict = {True: "Agrees with", False: "Differs from", None: "Can't be compared with"}[found.agrees]
    published = f"the selection of Somepalli et al. (CVPR 2023): {', '.join(found.published)}"
    lacking = f", since without a rank here: {', '.join(found.unranked)}" if found.unranked else ""
    return [
        f"{verdict} {published}{lacking}.",
        *(f"- {name} was selected there; here: {where}" for name, where in found.missing.items()),
        *(f"- {name} is selected here only" for name in found.added),
    ]
