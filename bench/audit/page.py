"""An audit as one HTML page that needs no network: what came of it, the most similar images, provenance."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.audit.gallery import Gallery, cut, files, galleries
from bench.audit.statistics import N_PERMUTATIONS
from bench.audit.verdict import Audited
from bench.data.unreadable import BLANK, UNREADABLE, LeftOut
from bench.interfaces import ImageFile
from bench.names import encoded
from bench.report.html import MAX_BYTES, Figure, rendered
from bench.report.thumbnails import Thumbnail, thumbnails

_TEMPLATE = Path(__file__).parent / "templates/audit.html.j2"
#: Images of a side that are named among those that are left out.
_N_NAMED = 50


@dataclass(frozen=True)
class LeftOutPart:
    """Images or files that are not used. rows: the first of them, or of their kinds, and why. n: of all rows."""

    title: str
    note: str
    rows: Sequence[tuple[str, str]]
    n: int


@dataclass(frozen=True)
class Picture:
    """number: of the one place of the page that holds it."""

    number: int
    small: Thumbnail


def page(
    audited: Sequence[Audited],
    summary: Mapping[str, Any],
    left_out: Mapping[str, LeftOut],
    figure: Figure,
    workers: int,
) -> str:
    """The page as HTML. summary: of summary.json. left_out: by side. workers: threads that read images.

    Where it would be larger than MAX_BYTES, it shows fewer generated images, and says so.
    """
    content = {
        "summary": summary,
        "verdicts": summary["verdicts"],
        "command": shlex.join(summary["argv"]),
        "packages": {name: version or "not installed" for name, version in summary["packages"].items()},
        "left_out": [part for side, of in left_out.items() for part in _left_out(side, of)],
        "figure": figure,
        "n_permutations": N_PERMUTATIONS,
    }
    found = galleries(audited)
    small = thumbnails(files(found), workers)
    text = _rendered(content, found, small)
    n = n_shown = max(len(gallery.copies) for gallery in found)
    while n and len(encoded(text)) > MAX_BYTES:
        n = min(n - 1, n * MAX_BYTES // len(encoded(text)))
        text = _rendered(content, cut(found, n), small, f"To keep the page small, it shows {n} instead of {n_shown}.")
    return text


def _left_out(side: str, of: LeftOut) -> Iterator[LeftOutPart]:
    for noun, file, images in (
        ("that can't be read or described", UNREADABLE, of.unreadable),
        ("that are blank", BLANK, of.blank),
    ):
        if images:
            title = f"{side.capitalize()} images {noun}: {len(images):,}"
            yield LeftOutPart(title, f"all of them: {file}", list(images.items())[:_N_NAMED], len(images))
    if of.skipped:
        rows = [(suffix, f"{n:,} files") for suffix, n in sorted(of.skipped.items())]
        title = f"{side.capitalize()} files that are no images: {sum(of.skipped.values()):,}"
        yield LeftOutPart(title, "by suffix", rows, len(rows))


def _rendered(
    content: Mapping[str, Any], found: Sequence[Gallery], small: Mapping[ImageFile, Thumbnail], fewer: str = ""
) -> str:
    shown = [file for file in files(found) if file in small]
    pictures = {file: Picture(number, small[file]) for number, file in enumerate(shown)}
    return rendered(_TEMPLATE, {**content, "galleries": found, "pictures": pictures, "fewer": fewer})
