"""Report pages for tests: of a real run over images with names that try to be markup."""

from pathlib import Path

from PIL import Image

from bench.records import RunFolder
from bench.report import tables_of
from bench.report.gallery import galleries
from bench.report.page import Figure, page
from bench.scored import Scored, read
from tests.conftest import Bench

SCRIPT = "<script>alert(1)</script>.png"
MARKUP = "<img src=x onerror=alert(2)>"
SVG = (
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="252pt" height="72pt" viewBox="0 0 252 72">'
    "<style>*{fill:red}</style><script>alert(3)</script><rect width='252' height='72'/></svg>"
)
FIGURE = Figure("Ranks & intervals", "What <b>it</b> says.", SVG)


def run_odd(bench: Bench, folder: Path, small: Path, photo: Path, *options: str) -> Path:
    """A run of three backbones over copies and classes; the path of an image of the latter is a script."""
    image = Image.open(photo).convert("RGB")
    for number, label in enumerate(("<script>alert(1)<", "cat")):
        for view in range(3):
            path = folder / "odd" / label / ("script>.png" if (number, view) == (0, 0) else f"{MARKUP}{view}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            left = 200 * number + 8 * view
            image.crop((left, 0, left + 200, 200)).save(path)
    datasets = f"disc:{small},folder:{folder / 'odd'}"
    out = folder / "out"
    ran = bench("run", "--backbones", "color,dhash,pdq", "--datasets", datasets, *options, "--output", out)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return out


def page_of(folder: Path, figures: tuple[Figure, ...] = (FIGURE,)) -> str:
    """The page of a run folder."""
    return page_of_scored(read(RunFolder(folder)), folder, figures)


def page_of_scored(scored: Scored, folder: Path, figures: tuple[Figure, ...] = ()) -> str:
    """The page of records that may have been changed since they were read."""
    tables = tables_of(scored)
    shown = galleries(scored, tables.verdicts[0], RunFolder(folder).config()) if tables.verdicts else []
    return page(scored, tables.leaderboard, tables.verdicts, figures, shown)
