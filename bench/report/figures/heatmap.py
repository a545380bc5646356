"""Every dataset and backbone at a glance."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from bench.plugins import natural
from bench.ranking import METRIC
from bench.records import Record
from bench.report.figures.choice import Choice
from bench.report.figures.drawn import Drawn
from bench.report.figures.marks import Point
from bench.report.figures.style import DOUBLE, LIGHT, named, new, short, told

#: Main metrics that are no share, and their best value.
_HIGHEST = {"ns_score": 4.0}
_COLOURS = LinearSegmentedColormap.from_list("blues", ("#FFFFFF", "#B5D7EA", "#5BA3D0", "#1F6FAD", "#08306B"))
#: Darker than this, black letters have less contrast than white ones (WCAG 2.2).
_DARK = 0.179


def heat_map(records: Sequence[Record], choices: Sequence[Choice]) -> Drawn | None:
    """The main metric of each dataset and backbone, written in its cell; hatched where it is missing."""
    if not choices:
        return None
    measured = {record.cell.dataset: record.body["dataset"]["metrics"][0] for record in records}
    metrics = dict(sorted(measured.items(), key=lambda of: natural(of[0])))
    chosen = {choice.backbone: choice.similarity for choice in choices}
    figure = new(DOUBLE, 0.9 + 0.2 * len(choices))
    axes = figure.add_subplot(xlim=(0, len(metrics)), ylim=(len(choices), 0))
    marked = []
    for row, choice in enumerate(choices):
        values = {cell.cell.dataset: cell.body["metrics"][metrics[cell.cell.dataset]] for cell in choice.cells}
        for column, (dataset, metric) in enumerate(metrics.items()):
            value = values.get(dataset)
            _draw_cell(axes, column, row, value, metric)
            what = f"{choice.backbone}, {choice.similarity}, {dataset}: {_told(value, metric)}"
            marked.append(Point(axes, (column, row), (column + 1, row + 1), choice.backbone, what))
    axes.xaxis.tick_top()
    axes.set_xticks([n + 0.5 for n in range(len(metrics))], [_heading(*of) for of in metrics.items()])
    axes.tick_params(axis="x", rotation=35)
    for label in axes.get_xticklabels():
        label.set(horizontalalignment="left", rotation_mode="anchor")
    axes.set_yticks([n + 0.5 for n in range(len(choices))], named(chosen).values())
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    caption = f"{_caption(metrics)} {told(chosen)}"
    return Drawn("heatmap", "Scores by dataset and backbone", figure, caption, tuple(marked))


def _draw_cell(axes: Axes, column: int, row: int, value: float | None, metric: str) -> None:
    if value is None:
        missing = Rectangle((column, row), 1, 1, facecolor="white", edgecolor=LIGHT, hatch="/////", linewidth=0)
        axes.add_patch(missing)
        return
    colour = _COLOURS(_share(value, metric))
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
    text = _text(value, metric)
    letters = "white" if _luminance(colour) < _DARK else "black"
    axes.text(column + 0.5, row + 0.52, text, ha="center", va="center", color=letters)


def _text(value: float, metric: str) -> str:
    return f"{value:.2f}" if metric in _HIGHEST else f"{100 * value:.1f}"


def _told(value: float | None, metric: str) -> str:
    """In words."""
    if value is None:
        return "no score"
    return f"{metric} {_text(value, metric)}" + ("" if metric in _HIGHEST else " %")


def _share(value: float, metric: str) -> float:
    """Of the best possible score, which decides the colour."""
    return min(max(value / _HIGHEST.get(metric, 1.0), 0.0), 1.0)


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _heading(dataset: str, metric: str) -> str:
    return short(dataset) if metric == METRIC else f"{short(dataset)}\n{metric}"


def _caption(metrics: Mapping[str, str]) -> str:
    others = sorted(set(metrics.values()) - {METRIC})
    return (
        "mAP in percent"
        + (f" ({', '.join(others)} where the column says so)" if others else "")
        + ". Dark is good; a hatched cell has no score."
    )
