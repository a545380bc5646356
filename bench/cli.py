"""Arguments and printing; the work is elsewhere, and torch is imported only inside commands that need it."""

import io
import json
import signal
import sys
import traceback
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer

from bench import (
    cli_audit,
    cli_cache,
    cli_calibrate,
    cli_datasets,
    cli_dedup,
    cli_embed,
    cli_experiment,
    cli_generate,
    cli_make,
    cli_report,
    cli_run,
    cli_search,
    cli_select,
    cli_sweep,
    cli_throughput,
)
from bench.cli_options import Plugins, WeightsDir, load_plugins
from bench.errors import BenchError, Interrupted, UsageError, told

app = typer.Typer(
    help="Which image descriptor finds copies? Scores, ranks and times descriptors on retrieval and copy detection.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_make.app, name="make")
app.add_typer(cli_datasets.app, name="datasets")
app.add_typer(cli_cache.app, name="cache")
app.add_typer(cli_generate.app, name="generate")
app.add_typer(cli_experiment.app, name="experiment")
app.command()(cli_run.run)
app.command()(cli_sweep.command(cli_run.execute))
app.command()(cli_select.select)
for _made_of_runs in (cli_report.report, cli_report.compare, cli_report.merge, cli_report.verify):
    app.command()(_made_of_runs)
app.command()(cli_throughput.throughput)
app.command()(cli_embed.embed)
app.command()(cli_search.search)
app.command()(cli_audit.audit)
app.command()(cli_calibrate.calibrate)
app.command()(cli_dedup.dedup)


class Listed(StrEnum):
    """What `list` can list."""

    backbones = "backbones"
    datasets = "datasets"
    generators = "generators"
    similarities = "similarities"
    preprocess = "preprocess"
    postprocess = "postprocess"
    metrics = "metrics"


class Fetchable(StrEnum):
    """What `fetch` can fetch."""

    backbones = "backbones"
    datasets = "datasets"


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Read by `main`, which handles errors."""


@app.command()
def fetch(
    what: Annotated[Fetchable, typer.Argument(help="What to fetch.")],
    names: Annotated[
        str | None,
        typer.Argument(help="Names, groups, globs, as `run` takes them.  [default for backbones: candidates]"),
    ] = None,
    weights_dir: WeightsDir = None,
    plugin: Plugins = None,
) -> None:
    """Download the weights or datasets that are not here yet; goes on where an earlier call stopped."""
    from bench import console, plugins
    from bench import fetch as fetching
    from bench.weights import Network, WeightsStore

    load_plugins(plugin)
    with console.fetching() as watch:
        try:
            if what is Fetchable.datasets:
                if weights_dir is not None:
                    raise UsageError("--weights-dir is for backbones: leave it out")
                results = fetching.datasets([c.item for c in plugins.datasets.select(names or "")], watch)
            else:
                # nothing is loaded, so no code is run
                files = WeightsStore(Network(offline=False), weights_dir, allow_code=True)
                chosen = plugins.backbones.select("candidates" if names is None else names)
                results = fetching.backbones([c.item for c in chosen], files, watch)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what was received is kept, and the same command goes on") from None
    console.print_fetched(results)
    if any(result.problem for result in results):
        raise typer.Exit(3)


@app.command("list")
def list_(
    what: Annotated[Listed, typer.Argument(help="What to list.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    plugin: Plugins = None,
) -> None:
    """List what there is to choose from."""
    from bench import catalogue, console

    load_plugins(plugin)
    rows: list[dict[str, Any]] = {
        Listed.backbones: catalogue.backbones,
        Listed.datasets: catalogue.datasets,
        Listed.generators: catalogue.generators,
        Listed.similarities: catalogue.similarities,
        Listed.preprocess: catalogue.preprocess,
        Listed.postprocess: catalogue.postprocess,
        Listed.metrics: catalogue.metrics,
    }[what]()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        console.print_rows(rows, catalogue.COLUMNS.get(what.value, ()))


def main() -> NoReturn:
    """Run the command line; every expected error is one sentence on stderr and an exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill leaves nothing half-made, as Ctrl-C does
    try:
        app(arguments, standalone_mode=True)
    except BenchError as error:
        _stop(str(error), error.exit_code, debug)
    except OSError as error:
        _stop(told(error), 1, debug)
    except Exception as error:  # noqa: BLE001 - the last resort: anything unexpected is told as such
        _stop(f"unexpected {type(error).__name__}: {error}; run again with --debug for the traceback", 1, debug)
    sys.exit(0)


def _stop(sentence: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)
