"""One HTML page that needs no network: style, script and figures are inside, and a policy forbids everything else."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report.figures.marks import Mark

#: Bytes of a page; pictures are left out until it fits.
MAX_BYTES = 10_000_000
#: Two figures of a column and of two columns of a paper fit side by side.
PIXELS_PER_POINT = 1.53

_SHARED = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Figure:
    """caption: what it says, also for who can't see it. marks: what its parts stand for."""

    title: str
    caption: str
    svg: str
    marks: Sequence[Mark] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Pixels across and down, so that letters are of one size in all figures; None where the figure tells none."""
        found = [re.search(rf'<svg[^>]*?\b{side}="([\d.]+)pt"', self.svg) for side in ("width", "height")]
        across, down = (round(float(side[1]) * PIXELS_PER_POINT) if side else None for side in found)
        return None if across is None or down is None else (across, down)

    @property
    def view_box(self) -> str:
        """Of the SVG, whose units the marks are in."""
        found = re.search(r'<svg[^>]*?\bviewBox="([^"]*)"', self.svg)
        return found[1] if found else ""

    @property
    def uri(self) -> str:
        """As an image of its own, whose styles and ids meet nothing else on the page."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


def rendered(template: Path, content: Mapping[str, Any]) -> str:
    """The page of a template that extends `base.html.j2`.

    The style and the script of the template's name, where they lie beside it, follow those that all pages have.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = template.name.partition(".")[0]
    style, script = (
        "\n".join(
            path.read_text(encoding="utf-8")
            for path in (_SHARED / f"page.{kind}", template.parent / f"{own}.{kind}")
            if path.is_file()
        )
        for kind in ("css", "js")
    )
    return environment.get_template(template.name).render(
        **content,
        # files of this project
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
    )


def _csp_hash(text: str) -> str:
    """What a Content-Security-Policy names an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
