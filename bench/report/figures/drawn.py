"""A figure with what it is called and what it says, and its files."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from matplotlib.figure import Figure

from bench.report.figures.marks import Mark, Point, placed
from bench.report.figures.style import styled

Format = Literal["pdf", "svg", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Drawn:
    """name: of its files. caption: what a reader has to know, for the paper and for who can't see it.

    points: what a page tells of single parts of it.
    """

    name: str
    title: str
    figure: Figure
    caption: str
    points: tuple[Point, ...] = ()

    @property
    def marks(self) -> list[Mark]:
        """Where the points lie, once the layout is settled."""
        return [placed(point, self.figure) for point in self.points]

    @cached_property
    def svg(self) -> bytes:
        """What a file of its own holds, and the page shows."""
        return self._saved("svg")

    def encoded(self, kind: Format) -> bytes:
        """The file; the same figure is the same bytes."""
        return self.svg if kind == "svg" else self._saved(kind)

    def _saved(self, kind: Format) -> bytes:
        about: Mapping[Format, dict[str, str | None]] = {
            "pdf": {"Title": self.title, "Subject": self.caption, "CreationDate": None},
            "svg": {"Title": self.title, "Description": self.caption, "Date": None},
            "png": {"Title": self.title, "Description": self.caption},
        }
        stream = io.BytesIO()
        with styled():
            self.figure.savefig(stream, format=kind, metadata=about[kind])
        return stream.getvalue()
