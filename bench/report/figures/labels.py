"""Names beside points, where they cover as little as can be."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from bench.report.figures.style import GREY

#: Where a label may stand about its point: directions, degrees, and distances, points; the first are the best.
_DIRECTIONS = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200)
_DISTANCES = (5.0, 9.0, 14.0, 20.0, 27.0, 35.0)
#: Further away than this a line leads to the point.
_BESIDE = 9.0
_MARKER, _LINE = 2.5, 1.0  # half their sizes, points
#: A label stays so far from what is another's, points.
_APART = 7.0
#: What lies outside the axes counts so many times what covers something.
_OUTSIDE = 10


class _Place(NamedTuple):
    """Of a label, from its point: how far, points, and which side of the text faces the point."""

    x: float
    y: float
    horizontal: str
    vertical: str


def label_points(
    figure: Figure, axes: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], bars: Sequence[Bbox]
) -> None:
    """Write texts beside points (data), one after the other, each where it meets least of what stands already.

    bars: what else is drawn, as boxes (data).
    """
    figure.draw_without_rendering()  # settles the layout, so that places on paper are known
    point = figure.dpi / 72
    centres = axes.transData.transform(points)
    markers = np.hstack([centres - _APART * point, centres + _APART * point])
    taken = [np.array(axes.transData.transform_bbox(bar).padded(_LINE * point).extents) for bar in bars]
    places = [_place(distance, angle) for distance in _DISTANCES for angle in _DIRECTIONS]
    inside = np.array(axes.get_window_extent().extents)
    for number, (of, centre, text) in enumerate(zip(points, centres, texts, strict=True)):
        probe = axes.text(*of, text)
        size = probe.get_window_extent()
        probe.remove()
        boxes = np.array([_box(centre, size, place, point) for place in places])
        outside = size.width * size.height - _common(boxes, inside)
        covered = _OUTSIDE * outside + sum(_common(boxes, o) for o in (*taken, *np.delete(markers, number, axis=0)))
        best = int(np.argmin(covered.round(3)))
        taken.append(boxes[best])
        _write(axes, of, text, places[best])


def _place(distance: float, angle: float) -> _Place:
    x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    horizontal = "left" if x > 0.3 else "right" if x < -0.3 else "center"
    vertical = "bottom" if y > 0.6 else "top" if y < -0.6 else "center"
    return _Place(distance * x, distance * y, horizontal, vertical)


def _box(centre: Sequence[float], size: Bbox, place: _Place, point: float) -> list[float]:
    """What a text of that size covers: left, bottom, right, top; a point has so many pixels."""
    shift = {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0, "top": 1.0}
    left = centre[0] + place.x * point - shift[place.horizontal] * size.width
    bottom = centre[1] + place.y * point - shift[place.vertical] * size.height
    return [left, bottom, left + size.width, bottom + size.height]


def _common(boxes: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that each of boxes [n, 4] has in common with another [4]."""
    sides = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    area: NDArray[np.float64] = np.maximum(sides, 0).prod(axis=1)
    return area


def _write(axes: Axes, of: tuple[float, float], text: str, place: _Place) -> None:
    leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.4, "shrinkA": 0, "shrinkB": _MARKER}
    axes.annotate(
        text,
        of,
        (place.x, place.y),
        textcoords="offset points",
        ha=place.horizontal,
        va=place.vertical,
        arrowprops=leader if math.hypot(place.x, place.y) > _BESIDE else None,
    )
