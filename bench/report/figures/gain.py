"""What chunks gain over the whole descriptor."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import get_args

from matplotlib.axes import Axes

from bench.report.figures.drawn import Drawn
from bench.report.figures.marks import row
from bench.report.figures.style import DOUBLE, GREY, Look, datasets, named, new, short, told, width_for
from bench.similarity.spec import Norm
from bench.sweep import Gain

_ROW, _BETWEEN = 0.11, 0.6  # inches a row; rows between two backbones
#: More do not fit on a page: then each backbone has one.
_MOST_ROWS = 72


def gain(gains: Sequence[Gain], looks: Mapping[str, Look]) -> Drawn | None:
    """Gain of each number of chunks with its 95 % interval, by backbone, a panel a norm; None where there is none.

    Where that is too much for a page, of each backbone the similarity with the highest gain.
    """
    if not gains:
        return None
    over = f"over the whole descriptor (global), mean mAP of {datasets(len(gains[0].line.cells))}."
    if len({_row(one) for one in gains}) > _MOST_ROWS or len({one.line.similarity for one in gains}) == 1:
        best = [max(of, key=lambda one: one.value) for _, of in groupby(gains, key=lambda one: one.line.backbone)]
        chosen = {one.line.backbone: str(one.line.similarity) for one in best}
        rows = {_row(one): (float(n), named(chosen)[one.line.backbone]) for n, one in enumerate(best)}
        return _drawn({"": best}, rows, looks, f"Gain of chunks {over} {told(chosen)}")
    norms: tuple[Norm, ...] = get_args(Norm)
    by_norm = {norm: [one for one in gains if one.line.similarity.norm == norm] for norm in norms}
    panels = {f"norm={norm}": of for norm, of in by_norm.items() if of}
    return _drawn(panels, _rows(gains), looks, f"Gain of K chunks {over}")


def _row(one: Gain) -> tuple[str, int | None]:
    return one.line.backbone, one.line.similarity.chunks


def _rows(gains: Sequence[Gain]) -> dict[tuple[str, int | None], tuple[float, str]]:
    """Where each backbone and number of chunks stands, from the top, and what it is called."""
    found: dict[tuple[str, int | None], tuple[float, str]] = {}
    below = 0.0
    for backbone, of in groupby(gains, key=lambda one: one.line.backbone):
        name = f"{short(backbone)}   K = "
        for chunks in sorted({one.line.similarity.chunks or 0 for one in of}):
            found[backbone, chunks] = below, f"{name}{chunks}"
            below += 1
            name = ""
        below += _BETWEEN
    return found


def _drawn(
    panels: Mapping[str, Sequence[Gain]],
    rows: Mapping[tuple[str, int | None], tuple[float, str]],
    looks: Mapping[str, Look],
    caption: str,
) -> Drawn:
    bottom = max(place for place, _ in rows.values()) + 0.7
    figure = new(DOUBLE if len(panels) > 1 else width_for(name for _, name in rows.values()), 0.6 + _ROW * bottom)
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for axes, (title, gains) in zip(grid, panels.items(), strict=True):
        for one in gains:
            _draw(axes, one, rows[_row(one)][0], looks[one.line.backbone])
        axes.axvline(0, color=GREY, linewidth=0.7, zorder=1)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0, labelsize=6)
        axes.set(title=title, xlabel="gain over global, points of mAP", ylim=(bottom, -0.7))
    grid[0].set_yticks([place for place, _ in rows.values()], [name for _, name in rows.values()])
    if any(one.low is not None for of in panels.values() for one in of):
        caption += " Lines: 95 % intervals, both with the same resampled queries. Filled: 0 is outside."
    marked = [
        row(axes, rows[_row(one)][0], 1, one.line.backbone, _label(one))
        for axes, of in zip(grid, panels.values(), strict=True)
        for one in of
    ]
    return Drawn("gain", "Gain of chunks", figure, caption, tuple(marked))


def _label(one: Gain) -> str:
    between = "" if one.low is None or one.high is None else f" ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
    return f"{one.line.backbone}, {one.line.similarity}: {100 * one.value:+.1f}{between} points of mean mAP over global"


def _draw(axes: Axes, one: Gain, place: float, look: Look) -> None:
    """Filled where the interval is without 0."""
    is_sure = False
    if one.low is not None and one.high is not None:
        is_sure = one.low > 0 or one.high < 0
        axes.plot([100 * one.low, 100 * one.high], [place, place], color=look.colour, linewidth=0.8)
    fill = {"markerfacecolor": look.colour if is_sure else "white"}
    axes.plot(100 * one.value, place, markersize=3, **(look.marks | fill))
