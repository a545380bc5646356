"""How replication depends on the number of training images: densities, shares above thresholds, whether it was seen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.audit.statistics import Share, edges
from bench.experiment.replication import Dependence, Sampled
from bench.report.figures.drawn import Drawn
from bench.report.figures.marks import percent
from bench.report.figures.style import DOUBLE, GREY, LIGHT, new, short, styled

_ROW_HEIGHT, _LEGEND_ROW, _LEGEND_COLUMNS = 1.75, 0.17, 2
#: Factor between places that stand for the same number of images.
_ASIDE = 1.05
#: Told apart with any colour vision, and by lightness; without its end that is too light on paper.
_COLOURS, _LIGHTEST = "viridis", 0.8
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
_MARKERS, _OF_THRESHOLDS = ("o", "s", "^", "D", "v"), ("#D55E00", "#0072B2", "#009E73", "#000000", "#CC79A7")
#: The look, among them, of what is compared with no threshold.
_FOUND = 3


def replication(found: Sequence[Dependence]) -> Drawn:
    """A row of three panels for each backbone and similarity; the legends, which hold for all rows, below them."""
    of_sizes = -(-(len(found[0].models) + 1) // _LEGEND_COLUMNS)
    n_thresholds = len(found[0].models[0].audited.verdict.thresholds)
    of_others = -(-max(n_thresholds, 2) // _LEGEND_COLUMNS)
    with styled():
        figure = new(DOUBLE, _ROW_HEIGHT * len(found) + 0.1 + _LEGEND_ROW * max(of_sizes, of_others))
        panels = figure.subplots(len(found), 3, squeeze=False)
        for of, (densities, shares, seen) in zip(found, panels, strict=True):
            _draw_densities(densities, of)
            _draw_shares(shares, of)
            _draw_seen(seen, of)
        for axes in panels[-1]:
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=_LEGEND_COLUMNS, columnspacing=1)
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    return Drawn("replication", "Replication by the number of training images", figure, _caption(found))


def _draw_densities(axes: Axes, of: Dependence) -> None:
    bins = edges(of.background, *(model.audited.verdict.best for model in of.models))
    density, _ = np.histogram(of.background, bins, density=True)
    axes.stairs(density, bins, fill=True, color=LIGHT, alpha=0.6, label="all images")
    for model, look in zip(of.models, _looks(len(of.models)), strict=True):
        density, _ = np.histogram(model.audited.verdict.best, bins, density=True)
        axes.stairs(density, bins, label=f"trained on {model.n_training:,}", **look)
    for threshold in of.models[0].audited.verdict.thresholds:
        axes.axvline(threshold.score, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_title(f"{short(of.backbone)}, {of.similarity}", loc="left")
    axes.set(xlabel="similarity to the nearest", ylabel="density")


def _draw_shares(axes: Axes, of: Dependence) -> None:
    by_threshold: dict[str, dict[int, Share]] = {}
    for model in of.models:
        for above in model.audited.verdict.above:
            by_threshold.setdefault(above.threshold, {})[model.n_training] = above.generated
    for number, (asked, shares) in enumerate(by_threshold.items()):
        _draw_intervals(axes, shares, f"above {asked}", number, number - (len(by_threshold) - 1) / 2)
    axes.set_title("more similar than a threshold", loc="left")
    axes.set_ylabel("generated images, %")
    axes.set_ylim(bottom=0)
    _finish(axes, of)


def _draw_seen(axes: Axes, of: Dependence) -> None:
    shares = {model.n_training: model.is_seen for model in of.models if model.is_seen}
    if shares:
        _draw_intervals(axes, shares, "found", _FOUND, 0)
        numbers = np.geomspace(min(shares), max(shares), 50)
        axes.plot(numbers, 100 * numbers / of.n_images, color=GREY, linestyle="--", label="by chance")
    axes.set_title("nearest of all was trained on", loc="left")
    axes.set_ylim(0, 100)
    _finish(axes, of)


def _draw_intervals(axes: Axes, shares: Mapping[int, Share], label: str, number: int, aside: float) -> None:
    """Shares in percent by the number of training images, with their intervals.

    number: decides the look. aside: how far beside its place each is drawn, so that none hides another.
    """
    values = [100 * share.value for share in shares.values()]
    # a share of all or of none is an end of its interval, but for rounding
    below = [max(0.0, 100 * (share.value - share.low)) for share in shares.values()]
    over = [max(0.0, 100 * (share.high - share.value)) for share in shares.values()]
    axes.errorbar(
        [n * _ASIDE**aside for n in shares],
        values,
        yerr=[below, over],
        label=label,
        color=_OF_THRESHOLDS[number % len(_OF_THRESHOLDS)],
        marker=_MARKERS[number % len(_MARKERS)],
        linestyle=_LINES[number % len(_LINES)],
        capsize=2,
        clip_on=False,
    )


def _finish(axes: Axes, of: Dependence) -> None:
    numbers = [model.n_training for model in of.models]
    axes.set(xlabel="training images", xscale="log")
    axes.set_xlim(numbers[0] / 1.3, numbers[-1] * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()


def _looks(n: int) -> Iterator[dict[str, Any]]:
    """From dark to light, each with a line of its own."""
    colours = mpl.colormaps[_COLOURS](np.linspace(0, _LIGHTEST, n))
    for number, colour in enumerate(colours):
        yield {"color": tuple(colour.tolist()), "linestyle": _LINES[number % len(_LINES)]}


def _caption(found: Sequence[Dependence]) -> str:
    n_images = found[0].n_images
    told = [f"{of.backbone}, {of.similarity}, {_of_model(of, model)}." for of in found for model in of.models]
    return (
        f"Generated images of models trained on some of {n_images:,} images. Left: similarity to the nearest image "
        "trained on, and (grey) of all images to their nearest other one; dotted: thresholds. Middle: generated images "
        "above each threshold. Right: those whose nearest of all images was trained on, beside the share of images "
        f"that were. Bars, and in brackets: 95 % intervals. {' '.join(told)}"
    )


def _of_model(of: Dependence, model: Sampled) -> str:
    told = [
        f"{share.k:,} of {share.n:,} are above {above.threshold} ({percent(share.value, share.low, share.high)})"
        for above in model.audited.verdict.above
        for share in (above.generated,)
    ]
    if seen := model.is_seen:
        chance = percent(model.n_training / of.n_images)
        share = percent(seen.value, seen.low, seen.high)
        told.append(f"of {seen.k:,} the nearest was trained on ({share}, by chance {chance})")
    return f"{model.n_training:,} training images: {'; '.join(told)}"
