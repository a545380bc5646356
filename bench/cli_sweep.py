"""`sweep`: arguments and printing of a run over numbers of chunks."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from bench.records import RunFolder
    from bench.sweep import Gain

SIMILARITIES = "chunked@{2,4,8,16,32,64}"
#: What `execute` is told beside the options of `run`.
SWEEPS = "sweeps"


def command(execute: Callable[..., "tuple[RunFolder, bool]"]) -> Callable[..., None]:
    """The command `sweep`, with the options of `execute`, which is what `run` calls.

    execute: takes the options of `run`, and `sweeps`: whether similarities that do not divide a descriptor have no
    cells, instead of failed ones; returns the run folder, and whether the run counts as failed.
    """

    def sweep(**options: Any) -> None:
        """Run over numbers of chunks, and tell what each gains over `global`, which is always among them."""
        wanted = f"global,{options.pop('similarities')}"
        folder, failed = execute(**options, similarities=wanted, sweeps=True)
        show(folder)
        if failed:
            raise typer.Exit(3)

    parameters = [
        p.replace(default=SIMILARITIES) if p.name == "similarities" else p
        for p in inspect.signature(execute).parameters.values()
        if p.name != SWEEPS
    ]
    # what typer reads options from
    sweep.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    sweep.__annotations__ = {p.name: p.annotation for p in parameters}
    return sweep


def show(folder: "RunFolder") -> None:
    """Print what each number of chunks gains; write sweep.csv and its figures."""
    from bench import console
    from bench.files import write_text
    from bench.report.figures import write_sweep_figures
    from bench.scored import read
    from bench.similarity import Similarity
    from bench.sweep import gains, indivisible, table

    scored = read(folder)
    found = gains(scored)
    if found:
        console.print_rows([_row(gain) for gain in found])
    for backbone, names in indivisible(scored, [Similarity.parse(s) for s in folder.config()["similarities"]]).items():
        console.out.print(f"{backbone}: left out {', '.join(names)}, which can't cut its descriptor", soft_wrap=True)
    mark = ".random" if any(record.weights == "random" for record in scored.records) else ""
    path = folder.path / f"sweep{mark}.csv"
    write_text(path, table(found).to_csv(index=False, lineterminator="\n"))
    written = [path, *write_sweep_figures(folder.path, scored)]
    console.out.print(f"written: {', '.join(map(str, written))}", soft_wrap=True)


def _row(gain: "Gain") -> dict[str, str]:
    """For people: points of mean mAP, one decimal."""
    between = "" if gain.low is None or gain.high is None else f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    return {
        "name": gain.line.backbone,
        "weights": gain.line.weights,
        "similarity": str(gain.line.similarity),
        "mean_map %": f"{100 * gain.line.mean_map:.1f}",
        "gain over_global": f"{100 * gain.value:+.1f}",
        "95 %_interval": between,
    }
