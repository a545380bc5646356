"""Quality against speed."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox

from bench.ranking import Ranking, Standing
from bench.report.figures.drawn import Drawn
from bench.report.figures.labels import label_points
from bench.report.figures.marks import at, percent
from bench.report.figures.speed import Speeds
from bench.report.figures.style import DOUBLE, LIGHT, Look, datasets, new, short, told

#: Of a decade; where the speeds span less than one.
_TICKS, _MORE_TICKS = (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the points (speed, quality) to which none is equal in both and better in one, by rising speed."""

    def is_beaten(a: tuple[float, float]) -> bool:
        return any(b[0] >= a[0] and b[1] >= a[1] and b != a for b in points)

    return sorted((n for n, point in enumerate(points) if not is_beaten(point)), key=lambda n: points[n])


def pareto(ranking: Ranking, speeds: Speeds, looks: Mapping[str, Look]) -> Drawn | None:
    """Mean mAP with its 95 % interval against images per second; None without two backbones that have both."""
    shown = [s for s in ranking.standings if s.backbone in speeds.images_per_s]
    if len(shown) < 2:
        return None
    points = [(speeds.images_per_s[s.backbone], 100 * s.mean_map) for s in shown]
    figure = new(DOUBLE, 3.2)
    axes = figure.add_subplot(xscale="log", xlabel=f"images/s, {speeds.what}", ylabel="mean mAP, %")
    axes.margins(y=0.08)
    slowest, *_, fastest = sorted(x for x, _ in points)
    room = max((fastest / slowest) ** 0.12, 1.1)
    axes.set_xlim(slowest / room, fastest * room)
    axes.xaxis.set_major_locator(LogLocator(subs=_TICKS if fastest > 10 * slowest else _MORE_TICKS, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid()
    best = [points[n] for n in front(points)]
    axes.plot(*zip(*best, strict=True), drawstyle="steps-pre", color=LIGHT, linewidth=2, zorder=1)
    for standing, point in zip(shown, points, strict=True):
        axes.errorbar(
            *point,
            yerr=_around(standing),
            linestyle="none",
            elinewidth=0.7,
            capsize=1.5,
            **looks[standing.backbone].marks,
        )
    bars = [
        Bbox(((x, 100 * s.low), (x, 100 * s.high))) for (x, _), s in zip(points, shown, strict=True) if s.low and s.high
    ]
    for (x, y), (further, lower) in pairwise(best):
        bars += [Bbox(((x, lower), (x, y))), Bbox(((x, lower), (further, lower)))]
    label_points(figure, axes, points, [short(s.backbone) for s in shown], bars)
    marked = [at(axes, *point, s.backbone, _label(s, point[0])) for s, point in zip(shown, points, strict=True)]
    return Drawn("pareto", "Quality against speed", figure, _caption(ranking, shown, speeds), tuple(marked))


def _label(s: Standing, images_per_s: float) -> str:
    return f"{s.backbone}, {s.similarity}: mean mAP {percent(s.mean_map, s.low, s.high)}, {images_per_s:,.1f} images/s"


def _around(standing: Standing) -> list[list[float]] | None:
    """The interval as matplotlib has it: how far it reaches below and above."""
    if standing.low is None or standing.high is None:
        return None
    return [[100 * max(standing.mean_map - standing.low, 0)], [100 * max(standing.high - standing.mean_map, 0)]]


def _caption(ranking: Ranking, shown: Sequence[Standing], speeds: Speeds) -> str:
    without = [s.backbone for s in ranking.standings if s not in shown]
    chosen = told({s.backbone: s.similarity for s in shown})
    return (
        f"Mean mAP over {datasets(len(ranking.datasets))} against speed ({speeds.what}) on one device, "
        f"{speeds.device}. {chosen}"
        + (" Bars: 95 % intervals over resampled queries." if any(s.low is not None for s in shown) else "")
        + " Line: the front, which no backbone beats in both."
        + (f" Without a speed on that device: {', '.join(without)}." if without else "")
    )
