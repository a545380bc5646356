"""`sweep`: arguments and printing of a run over numbers of chunks."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.records import RunFolder
    from bench.sweep import Gain

SIMILARITIES = "chunked@{2,4,8,16,32,64}"
#: What `execute` is told beside the options.
SWEEPS = "sweeps"

#: Takes the options of `run`, and `sweeps`: whether similarities that do not divide a descriptor have no cells, instead
#: of failed ones. Returns the run folder, and whether the run counts as failed.
Execute = Callable[..., "tuple[RunFolder, bool]"]


def options_of(execute: Execute, **defaults: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator of a command `f(**options)`: it has the options of `execute`, some with other defaults."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = [
            parameter.replace(default=defaults.get(name, parameter.default))
            for name, parameter in inspect.signature(execute).parameters.items()
            if name != SWEEPS
        ]
        # what typer reads options from
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def command(execute: Execute) -> Callable[..., None]:
    """The command `sweep`."""

    @options_of(execute, similarities=SIMILARITIES)
    def sweep(**options: Any) -> None:
        """Run over numbers of chunks, and tell what each gains over `global`, which is always among them."""
        from bench.similarity.spec import parse_all

        asked = ",".join(map(str, parse_all(options.pop("similarities"))))
        wanted = f"global,{asked}"
        folder, failed = execute(**options, similarities=wanted, sweeps=True)
        shown = show(folder)
        if failed:
            raise typer.Exit(3)
        if not shown:
            raise UsageError(
                "the sweep has no gain to show: name numbers of chunks that divide the descriptors, and datasets on "
                "which each has a mAP"
            )

    return sweep


def show(folder: "RunFolder") -> bool:
    """Print what each number of chunks gains, and write its figures. False where there is nothing to show."""
    from bench import console
    from bench.report.figures import write_sweep_figures
    from bench.scored import read
    from bench.similarity import Similarity
    from bench.sweep import gains, left_out

    scored = read(folder)
    found = gains(scored)
    if found:
        console.print_rows([_row(gain) for gain in found])
    for problem in scored.problems:
        console.out.print(problem, soft_wrap=True)
    for sentence in left_out(scored, [Similarity.parse(spec) for spec in folder.config()["similarities"]]):
        console.out.print(sentence, soft_wrap=True)
    if not found:
        return False
    written = write_sweep_figures(folder.path, scored)
    console.out.print(f"written: {', '.join(map(str, written))}", soft_wrap=True)
    return True


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
