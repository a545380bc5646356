"""Ranks and how sure they are."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.ranking import LEVEL, Ranking, Standing
from bench.report.figures.drawn import Drawn
from bench.report.figures.marks import percent, row
from bench.report.figures.style import GREY, Look, datasets, named, new, told, width_for


def rank_intervals(ranking: Ranking, looks: Mapping[str, Look]) -> Drawn | None:
    """Each backbone's rank with its 95 % interval, the first on top; None without intervals of two or more."""
    standings = ranking.standings
    if len(standings) < 2 or any(not s.p_top for s in standings):
        return None
    chosen = {s.backbone: s.similarity for s in standings}
    names = named(chosen).values()
    figure = new(width_for(names), 0.55 + 0.19 * len(standings))
    axes = figure.add_subplot(xlabel="rank", ylim=(len(standings) - 0.4, -0.6), xlim=(0.6, len(standings) + 0.4))
    for place, standing in enumerate(standings):
        look = looks[standing.backbone]
        ends = [end for end in (standing.rank_low, standing.rank_high) if end is not None]
        axes.plot(ends, [place, place], color=look.colour, solid_capstyle="butt")
        axes.plot(standing.rank, place, **look.marks)
    axes.set_yticks(range(len(standings)), names)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.grid(axis="x")
    for bracket in ranking.brackets:
        _draw_bracket(axes, *bracket)
    marked = tuple(row(axes, place, 1, s.backbone, _label(s)) for place, s in enumerate(standings))
    return Drawn("ranks", "Ranks with intervals", figure, f"{_caption(ranking)} {told(chosen)}", marked)


def _label(s: Standing) -> str:
    mean = percent(s.mean_map, s.low, s.high)
    return f"{s.backbone}, {s.similarity}: rank {s.rank} ({s.rank_low}\u2013{s.rank_high}), mean mAP {mean}"


def _draw_bracket(axes: Axes, first: int, last: int) -> None:
    """At the right, from the one position to the other."""
    top, bottom, inner, outer = first - 0.3, last + 0.3, 1.01, 1.03
    axes.plot(
        [inner, outer, outer, inner],
        [top, top, bottom, bottom],
        transform=axes.get_yaxis_transform(),
        color=GREY,
        linewidth=0.8,
        clip_on=False,
    )


def _caption(ranking: Ranking) -> str:
    caption = (
        f"Ranks by mean mAP over {datasets(len(ranking.datasets))}. Lines: 95 % of the ranks over "
        f"{ranking.n_resamples:,} resamples of the queries."
    )
    if ranking.brackets:
        tests = f"permutation tests, Holm-corrected, {100 * LEVEL:g} %"
        caption += f" Brackets: runs in which no backbone can be told from the next ({tests})."
    return caption
