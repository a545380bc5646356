"""How every figure looks: sizes, type, and one colour, marker and line for a backbone wherever it is drawn.

Colours are those of Okabe and Ito (Color Universal Design, 2008), told apart with any colour vision; markers, and
filled or hollow, tell backbones apart without colour.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.plugins import natural

#: Widths of one and of two columns of a journal, inches.
SINGLE, DOUBLE = 3.3, 6.9

GREY, LIGHT = "#666666", "#C4C4C4"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
#: Letters of a name that are shown; of a row's name that leave room for the row in one column.
_LONGEST, _LONGEST_IN_SINGLE = 30, 26

# matplotlib types every setting by its name
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    # text as text in PDF, as outlines in SVG: neither needs a font where it is read
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "descriptor-bench",
    # the same widths at every resolution
    "text.hinting": "none",
    # a name with a dollar is no formula
    "text.parse_math": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.4,
    "hatch.linewidth": 0.4,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "lines.markeredgewidth": 0.8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    # no layout but the one that a figure asks for
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.dpi": 300,
}


@dataclass(frozen=True)
class Look:
    """Of one backbone."""

    colour: str
    marker: str
    line: Any
    filled: bool

    @property
    def marks(self) -> dict[str, Any]:
        """Arguments of plot and errorbar for the marker alone."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": self.colour,
        }

    @property
    def curve(self) -> dict[str, Any]:
        """The same with the line."""
        return self.marks | {"linestyle": self.line}


def looks(backbones: Iterable[str]) -> dict[str, Look]:
    """The look of each backbone, by the natural order of all names; 280 are different, 16 of them without colour."""
    names = sorted(set(backbones), key=natural)
    return {
        name: Look(
            _COLOURS[n % len(_COLOURS)],
            _MARKERS[n % len(_MARKERS)],
            _LINES[n % len(_LINES)],
            n // len(_MARKERS) % 2 == 0,
        )
        for n, name in enumerate(names)
    }


def styled() -> AbstractContextManager[None]:
    """The settings in which figures are made and saved; matplotlib's own are as before when it ends."""
    return mpl.rc_context(_STYLE)


def new(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width, height), layout="constrained")


def width_for(rows: Iterable[str]) -> float:
    """Width of a figure whose rows are called so."""
    return SINGLE if max(map(len, rows)) <= _LONGEST_IN_SINGLE else DOUBLE


def short(name: str) -> str:
    """A name, its middle left out where it is long."""
    half = (_LONGEST - 1) // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[-half:]}"


def named(chosen: Mapping[str, str]) -> dict[str, str]:
    """Of each backbone, with its similarity, what it is called: by both, unless the similarity is that of all."""
    several = len(set(chosen.values())) > 1
    return {name: f"{short(name)}, {similarity}" if several else short(name) for name, similarity in chosen.items()}


def told(chosen: Mapping[str, str]) -> str:
    """For a caption: the one similarity that all have, or how each has its own."""
    similarities = sorted(set(chosen.values()))
    if len(similarities) == 1:
        return f"Similarity of all: {similarities[0]}."
    return "Each backbone has the similarity of its highest mean over datasets."


def datasets(n: int) -> str:
    """For a caption."""
    return "1 dataset" if n == 1 else f"{n} datasets"
