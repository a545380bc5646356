"""Scores along something: the number of chunks, and how much of an image was copied."""

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.ranking import METRIC
from bench.records import Record
from bench.report.figures.choice import Choice
from bench.report.figures.drawn import Drawn
from bench.report.figures.marks import Point, at
from bench.report.figures.style import DOUBLE, SINGLE, Look, datasets, named, new, short, told
from bench.similarity.spec import Norm
from bench.sweep import GLOBAL, Line

_AREA = "area="
_PANELS_A_ROW = 3
_PANEL_HEIGHT, _LEGEND_ROW = 1.75, 0.16
_LEGEND_COLUMNS = {1: 1, 2: 3, 3: 3}  # by the panels in a row


def chunk_sweep(lines: Sequence[Line], looks: Mapping[str, Look]) -> Drawn | None:
    """Mean mAP against the number of chunks, a panel a norm; None where no backbone has two numbers of one norm."""
    chunked = [line for line in lines if line.similarity.chunks]
    norms: list[Norm] = [
        norm for norm in get_args(Norm) if any(len(_curve(chunked, name, norm)) > 1 for name in _names(chunked))
    ]
    if not norms:
        return None
    names = _names(chunked)
    numbers = sorted({line.similarity.chunks for line in chunked if line.similarity.chunks})
    whole = {line.backbone: 100 * line.mean_map for line in lines if line.similarity == GLOBAL}
    figure, panels = _panels(len(norms), len(names))
    marked: list[Point] = []
    for axes, norm in zip(panels, norms, strict=True):
        for name in names:
            curve = _curve(chunked, name, norm)
            axes.plot(list(curve), list(curve.values()), label=short(name), **looks[name].curve)
            if name in whole:
                axes.axhline(whole[name], color=looks[name].colour, linewidth=0.4, alpha=0.6, zorder=1)
                axes.plot(numbers[0] / 2, whole[name], **looks[name].marks)
                marked.append(at(axes, numbers[0] / 2, whole[name], name, f"{name}, global: {_mean(whole[name])}"))
            marked += [at(axes, k, y, name, f"{name}, K = {k}, norm={norm}: {_mean(y)}") for k, y in curve.items()]
        _scale_of_chunks(axes, numbers, bool(whole))
        axes.set(title=f"norm={norm}", xlabel="chunks K")
    _finish(figure, panels, "mean mAP, %")
    caption = f"Mean mAP over {datasets(len(lines[0].cells))} against the number of chunks K" + (
        ", and of the whole descriptor (global, thin horizontal lines)." if whole else "."
    )
    return Drawn("chunks", "Number of chunks", figure, caption, tuple(marked))


def difficulty(choices: Sequence[Choice], looks: Mapping[str, Look]) -> Drawn | None:
    """mAP against the share of the query that was copied, a panel a synthetic set; None without such a set."""
    cells = [cell for choice in choices for cell in choice.cells if len(_by_area(cell)) > 1]
    if not cells:
        return None
    sets = list(dict.fromkeys(cell.cell.dataset for cell in cells))
    chosen = {choice.backbone: choice.similarity for choice in choices}
    names = named(chosen)
    figure, panels = _panels(len(sets), len({cell.cell.backbone for cell in cells}))
    marked: list[Point] = []
    for axes, dataset in zip(panels, sets, strict=True):
        for cell in (cell for cell in cells if cell.cell.dataset == dataset):
            name, curve = cell.cell.backbone, _by_area(cell)
            axes.plot(list(curve), list(curve.values()), label=names[name], **looks[name].curve)
            what = f"{name}, {chosen[name]}, {dataset}"
            marked += [at(axes, x, y, name, f"{what}, {x:g} % copied: mAP {y:.1f} %") for x, y in curve.items()]
        axes.set(title=short(dataset), xlabel="copied share of the query, %", xlim=(0, 103), ylim=(-3, 103))
    _finish(figure, panels, "mAP, %")
    caption = (
        "mAP against the share of the query that was copied from the original, one panel a synthetic set. "
        + told(chosen)
    )
    return Drawn("difficulty", "Difficulty of synthetic copies", figure, caption, tuple(marked))


def _names(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line.backbone for line in lines))


def _curve(lines: Iterable[Line], backbone: str, norm: Norm) -> dict[int, float]:
    """K -> mean mAP in percent, by rising K."""
    found = {
        line.similarity.chunks: 100 * line.mean_map
        for line in lines
        if line.backbone == backbone and line.similarity.norm == norm and line.similarity.chunks
    }
    return dict(sorted(found.items()))


def _mean(value: float) -> str:
    return f"mean mAP {value:.1f} %"


def _by_area(cell: Record) -> dict[float, float]:
    """Copied share -> mAP, both in percent, by rising share."""
    scores = {tag: of[METRIC]["value"] for tag, of in cell.body["by_tag"].items() if tag.startswith(_AREA)}
    found = {100 * float(tag.removeprefix(_AREA)): 100 * value for tag, value in scores.items() if value is not None}
    return dict(sorted(found.items()))


def _scale_of_chunks(axes: Axes, numbers: Sequence[int], has_global: bool) -> None:
    axes.set_xscale("log", base=2)
    whole = {numbers[0] / 2: "global"} if has_global else {}
    ticks = whole | {float(k): str(k) for k in numbers}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())


def _panels(n: int, n_names: int) -> tuple[Figure, list[Axes]]:
    """A figure of n panels that share their axis of scores, with room for a legend below."""
    columns = min(n, _PANELS_A_ROW)
    rows, legend = -(-n // columns), -(-n_names // _LEGEND_COLUMNS[columns])
    figure = new(SINGLE if columns == 1 else DOUBLE, rows * _PANEL_HEIGHT + legend * _LEGEND_ROW + 0.1)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel().tolist()
    for unused in grid[n:]:
        unused.remove()
    return figure, grid[:n]


def _finish(figure: Figure, panels: Sequence[Axes], label: str) -> None:
    for number, axes in enumerate(panels):
        axes.grid()
        axes.set_ylabel("" if number % _PANELS_A_ROW else label)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    known = {name: line for axes in panels for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        known.values(), known, loc="outside lower center", ncols=_LEGEND_COLUMNS[min(len(panels), _PANELS_A_ROW)]
    )
