"""All figures of a run, and their files."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bench.files import write_bytes
from bench.ranking import Ranking
from bench.records import FIGURES
from bench.report.figures.choice import choices
from bench.report.figures.curves import chunk_sweep, difficulty
from bench.report.figures.drawn import FORMATS, Drawn
from bench.report.figures.gain import gain
from bench.report.figures.heatmap import heat_map
from bench.report.figures.pareto import pareto
from bench.report.figures.ranks import rank_intervals
from bench.report.figures.speed import Speeds
from bench.report.figures.style import GREY, Look, looks, styled
from bench.scored import Scored
from bench.sweep import gains, lines

#: In a run folder.
FOLDER = "figures"
#: Those of a sweep.
SWEEP = ("chunks", "gain")
CAPTION = "txt"
RANDOM, MARK = "random weights", ".random"


def draw(scored: Scored, ranking: Ranking, measured: Speeds | None) -> list[Drawn]:
    """Every figure that there is something to draw in.

    Random weights are left out beside others; where nothing else is there, every figure says so in itself, in its name
    and in its caption.
    """
    shown = _without_random(scored)
    look = _looks(shown)
    chosen = choices(shown.records)
    with styled():
        found = [
            pareto(ranking, measured, look) if measured else None,
            rank_intervals(ranking, look),
            heat_map(shown.records, chosen),
            *_of_chunks(shown, look),
            difficulty(chosen, look),
        ]
        return _finished(found, scored, shown)


def draw_sweep(scored: Scored) -> list[Drawn]:
    """The figures of `draw` that show numbers of chunks."""
    shown = _without_random(scored)
    with styled():
        return _finished(_of_chunks(shown, _looks(shown)), scored, shown)


def write_figures(folder: Path, drawn: Iterable[Drawn]) -> list[Path]:
    """Write the figures of a run folder into its sub-folder FOLDER, and drop those that are no more; the paths.

    Each as PDF, SVG and PNG, its caption as text.
    """
    return _save(folder / FOLDER, drawn, FIGURES)


def write_sweep_figures(folder: Path, scored: Scored) -> list[Path]:
    """Draw and write those that show numbers of chunks; the others stay as they are."""
    return _save(folder / FOLDER, draw_sweep(scored), SWEEP)


def _save(folder: Path, drawn: Iterable[Drawn], names: Iterable[str]) -> list[Path]:
    """names: of the figures that there may be."""
    files: dict[Path, bytes] = {}
    for figure in drawn:
        files |= {folder / f"{figure.name}.{kind}": figure.encoded(kind) for kind in FORMATS}
        files[folder / f"{figure.name}.{CAPTION}"] = f"{figure.caption}\n".encode()
    for path, content in files.items():
        write_bytes(path, content)
    for before in (folder / f"{n}{mark}.{kind}" for n in names for mark in ("", MARK) for kind in (*FORMATS, CAPTION)):
        if before not in files:
            before.unlink(missing_ok=True)
    return list(files)


def _without_random(scored: Scored) -> Scored:
    real = tuple(record for record in scored.records if record.weights != "random")
    return replace(scored, records=real or scored.records)


def _looks(shown: Scored) -> dict[str, Look]:
    return looks(record.cell.backbone for record in shown.records)


def _of_chunks(shown: Scored, look: Mapping[str, Look]) -> list[Drawn | None]:
    return [chunk_sweep(lines(shown), look), gain(gains(shown), look)]


def _finished(found: Iterable[Drawn | None], scored: Scored, shown: Scored) -> list[Drawn]:
    """With what a reader of any of them has to know, and their layout settled once for all files."""
    told = ""
    if (limit := shown.records[0].body["dataset"]["limit"]) is not None:
        told += f" A sample of {limit} queries a dataset."
    random = dict.fromkeys(record.cell.backbone for record in scored.records if record.weights == "random")
    are_drawn = any(record.weights == "random" for record in shown.records)
    if random and not are_drawn:
        told += f" Left out, of random weights: {', '.join(random)}."
    drawn = [replace(figure, caption=figure.caption + told) for figure in found if figure]
    drawn = [_marked(figure) for figure in drawn] if are_drawn else drawn
    for figure in drawn:
        figure.figure.draw_without_rendering()
        figure.figure.set_layout_engine(None)  # "none" would draw it twice for every file
    return drawn


def _marked(drawn: Drawn) -> Drawn:
    """The figure with a note across its top."""
    drawn.figure.suptitle(RANDOM, fontsize="large", color=GREY)
    return replace(drawn, name=f"{drawn.name}{MARK}", caption=f"{drawn.caption} All weights are random.")
