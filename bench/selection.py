"""Which backbones a run selects, how sure that is, and whether a published selection agrees."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import UsageError
from bench.ranking import LEVEL, Ranking, Standing


@dataclass(frozen=True)
class Selection:
    """The first `top` of a ranking against a published selection of names.

    chosen: by rank; more than `top` where equal ones share the last place. next_p: corrected p that the last of them is
    as good as the first left out, None where nothing is left out or there is no evidence. missing: published names
    that were not chosen, with where they stand instead. added: chosen names that were not published. unranked:
    published names that have no rank, so that the run can't tell.
    """

    top: int
    chosen: tuple[Standing, ...]
    next_p: float | None
    published: tuple[str, ...]
    missing: dict[str, str]
    added: tuple[str, ...]
    unranked: tuple[str, ...]

    @property
    def agrees(self) -> bool | None:
        """Whether the two are the same set; None where a published one has no rank."""
        return None if self.unranked else not self.missing and not self.added

    @property
    def is_clear(self) -> bool:
        """Whether what was chosen is separable from what was not."""
        return self.next_p is None or self.next_p < LEVEL


def select(ranking: Ranking, top: int, published: Sequence[str]) -> Selection:
    """The `top` first of a ranking, held against a published selection.

    A variant or a backbone with options stands for the one published: `net:small` and `net[size=320]` for `net`.
    Raises UsageError where nothing is ranked, or fewer than `top`.
    """
    if len(ranking.standings) < top:
        why = "".join(f"; {name}: {reason}" for name, reason in ranking.apart.items())
        n = len(ranking.standings)
        few = f"only {n} backbones have a rank, so {top} can't be selected: choose a smaller --top, or run the others"
        none = f"no backbone has a rank in the group {ranking.group} by the rule {ranking.rule}: choose others"
        raise UsageError(f"{few if n else none}{why}")
    chosen = tuple(s for s in ranking.standings if s.rank <= top)
    families = {family(s.backbone) for s in chosen}
    missing = {name: _instead(name, ranking, top) for name in published if name not in families}
    added = tuple(s.backbone for s in chosen if family(s.backbone) not in published)
    ranked = {family(s.backbone) for s in ranking.standings}
    unranked = tuple(name for name in published if name not in ranked)
    return Selection(top, chosen, chosen[-1].p_next, tuple(published), missing, added, unranked)


def family(backbone: str) -> str:
    """The name before the variant and options."""
    return backbone.partition("[")[0].partition(":")[0]


def _instead(name: str, ranking: Ranking, top: int) -> str:
    for standing in ranking.standings:
        if family(standing.backbone) == name:
            sure = f", among the first {top} with probability {standing.p_top[top - 1]:.2f}" if standing.p_top else ""
            between = f" (95 %: {standing.rank_low} to {standing.rank_high})" if standing.p_top else ""
            return f"rank {standing.rank}{between}{sure}"
    reasons = [reason for backbone, reason in ranking.apart.items() if family(backbone) == name]
    return f"no rank: {reasons[0]}" if reasons else "not in this run"
