"""Where the data of a drawn figure lie on it, and what they say in words: for a page on which they answer."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: How far around a single point its mark reaches, points.
_AROUND = 6.0
_POINTS_PER_INCH = 72


@dataclass(frozen=True)
class Point:
    """A part of a figure: a box of `axes` (data), or a single point where corners are the same."""

    axes: Axes
    corner: tuple[float, float]
    other: tuple[float, float]
    backbone: str
    label: str


@dataclass(frozen=True)
class Mark:
    """Where a part of a figure lies, from its left and top, in points, which are the units of its SVG."""

    backbone: str
    label: str
    left: float
    top: float
    width: float
    height: float
    is_round: bool


def at(axes: Axes, x: float, y: float, backbone: str, label: str) -> Point:
    """A single point."""
    return Point(axes, (x, y), (x, y), backbone, label)


def row(axes: Axes, place: float, height: float, backbone: str, label: str) -> Point:
    """A row about `place`, as wide as the axes."""
    left, right = axes.get_xlim()
    return Point(axes, (left, place - height / 2), (right, place + height / 2), backbone, label)


def placed(point: Point, figure: Figure) -> Mark:
    """Where it lies on the figure, whose layout is settled."""
    is_round = point.corner == point.other
    pixels = point.axes.transData.transform([point.corner, point.other])
    (left, bottom), (right, top) = (pixels * _POINTS_PER_INCH / figure.dpi).round(2).tolist()
    left, right = sorted((left, right))
    bottom, top = sorted((bottom, top))
    around = _AROUND if is_round else 0.0
    height = figure.get_figheight() * _POINTS_PER_INCH
    return Mark(
        point.backbone,
        point.label,
        left=left - around,
        top=height - top - around,
        width=right - left + 2 * around,
        height=top - bottom + 2 * around,
        is_round=is_round,
    )


def percent(value: float, low: float | None = None, high: float | None = None) -> str:
    """A fraction, with its interval where it has one."""
    between = "" if low is None or high is None else f" ({100 * low:.1f}\u2013{100 * high:.1f})"
    return f"{100 * value:.1f} %{between}"
