"""An audit as one HTML page that needs no network: what came of it, the most similar images, provenance."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.audit.gallery import Gallery, cut, files, galleries
from bench.audit.statistics import N_PERMUTATIONS
from bench.audit.verdict import Audited
from bench.interfaces import ImageFile
from bench.report.html import MAX_BYTES, Figure, rendered
from bench.report.thumbnails import Thumbnail, thumbnails

_TEMPLATE = Path(__file__).parent / "templates/audit.html.j2"
#: Images of a side that are named among those that can't be read.
_N_NAMED = 50


@dataclass(frozen=True)
class Picture:
    """number: of the one place of the page that holds it."""

    number: int
    small: Thumbnail


def page(
    audited: Sequence[Audited],
    summary: Mapping[str, Any],
    unreadable: Mapping[str, Mapping[str, str]],
    figure: Figure,
    workers: int,
) -> str:
    """The page as HTML. summary: of summary.json. unreadable: by side and name, why. workers: threads that read images.

    Where it would be larger than MAX_BYTES, it shows fewer generated images, and says so.
    """
    content = {
        "summary": summary,
        "verdicts": summary["verdicts"],
        "command": shlex.join(summary["argv"]),
        "packages": {name: version or "not installed" for name, version in summary["packages"].items()},
        "unreadable": {side: (len(of), list(of.items())[:_N_NAMED]) for side, of in unreadable.items() if of},
        "figure": figure,
        "n_permutations": N_PERMUTATIONS,
    }
    found = galleries(audited)
    small = thumbnails(files(found), workers)
    text = _rendered(content, found, small)
    n = n_shown = max(len(gallery.copies) for gallery in found)
    while n and len(text.encode()) > MAX_BYTES:
        n = min(n - 1, n * MAX_BYTES // len(text.encode()))
        text = _rendered(content, cut(found, n), small, f"To keep the page small, it shows {n} instead of {n_shown}.")
    return text


def _rendered(
    content: Mapping[str, Any], found: Sequence[Gallery], small: Mapping[ImageFile, Thumbnail], fewer: str = ""
) -> str:
    shown = [file for file in files(found) if file in small]
    pictures = {file: Picture(number, small[file]) for number, file in enumerate(shown)}
    return rendered(_TEMPLATE, {**content, "galleries": found, "pictures": pictures, "fewer": fewer})
