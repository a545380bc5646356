"""Arguments and printing; the work is elsewhere, and torch is imported only inside commands that need it."""

import json
import os
import signal
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bench import cli_cache, cli_datasets, cli_embed, cli_make, cli_search, cli_select, cli_throughput
from bench.errors import BenchError, Interrupted, UsageError, told

if TYPE_CHECKING:
    from bench.records import Config, Record

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
app.command()(cli_embed.embed)
app.command()(cli_search.search)
app.command()(cli_select.select)


class WeightsChoice(StrEnum):
    """Trained parameters, or seeded random ones for tests of the harness."""

    pretrained = "pretrained"
    random = "random"


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


WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="Folder of weights brought by hand, under their published names.")
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file that registers backbones or datasets; repeatable."),
]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Read by `main`, which handles errors."""


@app.command()
def run(
    backbones: Annotated[
        str,
        typer.Option(help="Names, groups (all, candidates, embedded, extras), globs, timm:NAME, onnx:FILE; [options]."),
    ] = "all",
    datasets: Annotated[
        str,
        typer.Option(help="Names, groups (demo, synthetic, paper, published), globs, folder:DIR, pairs:DIR, disc:DIR."),
    ] = "demo",
    similarities: Annotated[str, typer.Option(help="See `list similarities`.")] = "global,chunked@16",
    preprocess: Annotated[
        str, typer.Option(help="official, seed, squash:SIZE, short:SIZE or letterbox:SIZE.")
    ] = "official",
    postprocess: Annotated[str, typer.Option(help="Such as pcaw512,l2 or sn1.0[0,2]; see `list postprocess`.")] = "",
    background: Annotated[
        str | None, typer.Option(help="Folder, dataset or shards that post-processing is fitted on; not of the test.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Run folder.  [default: results/NAME]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 32,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode images.")] = min(4, os.cpu_count() or 1),
    engine: Annotated[str, typer.Option(help="What describes images: local, ray or ray:HOST:PORT.")] = "local",
    seed: Annotated[int, typer.Option(help="Seed of random weights and samples.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take a sample of so many queries of each dataset, for a quick look.")
    ] = None,
    weights: Annotated[
        WeightsChoice, typer.Option(help="random: tests the harness, is never ranked.")
    ] = WeightsChoice.pretrained,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the run folder anew.")] = False,
    weights_dir: WeightsDir = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run TorchScript weights of which no hash was published.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    plugin: Plugins = None,
) -> None:
    """Score backbones on datasets; goes on where an earlier run of the same command stopped."""
    from bench import console, plugins, provenance
    from bench.background import Background
    from bench.engines import Engine
    from bench.memory import keep_freed_memory
    from bench.paths import home
    from bench.postprocess import Pipeline
    from bench.preprocess import Mode
    from bench.records import Config, RunFolder
    from bench.report import write_tables
    from bench.run import Run
    from bench.scored import read
    from bench.similarity.spec import parse_all
    from bench.store import DescriptorStore
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    _load(plugin)
    works = Engine.parse(engine)
    files = WeightsStore(Network(offline), weights_dir, allow_code)
    chosen = plugins.backbones.select(backbones)
    data = plugins.datasets.select(datasets)
    pipeline = Pipeline.parse(postprocess)
    if pipeline.needs_background != (background is not None):
        raise UsageError(
            f"--postprocess {pipeline} is fitted on images apart from the test: name them by --background"
            if pipeline.needs_background
            else f"--background {background} is used by nothing: --postprocess names no step that is fitted"
        )
    pipeline.require_global(parsed := parse_all(similarities))
    fitted_on = Background.parse(background) if background else None
    config = Config(
        backbones=tuple(sorted(c.item.name for c in chosen)),
        datasets=tuple(sorted(c.item.identity for c in data)),
        similarities=tuple(sorted(str(s) for s in parsed)),
        weights=weights.value,
        seed=seed,
        device=provenance.resolve_device(device),
        batch_size=batch_size,
        preprocess=str(Mode.parse(preprocess)),
        postprocess=str(pipeline),
        background=fitted_on.identity if fitted_on else None,
        limit=limit,
    )
    folder = RunFolder.open(output or _default_output(datasets, config), config, overwrite)
    store = DescriptorStore(home() / "descriptors")
    store.require_writable()
    items = [c.item for c in data]
    argv = ["bench", *sys.argv[1:]]
    with works.connected() as cluster, console.watching() as watch:
        prepared = Run(config, chosen, items, fitted_on, folder, store, files, workers, argv, watch, cluster)
        try:
            made = prepared.execute()
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what is computed is kept, and the same command goes on") from None
    scored = read(folder)
    console.print_result(*write_tables(folder.path, scored), scored)
    explicit = {c.item.name for c in chosen if c.explicit} | {c.item.name for c in data if c.explicit}
    if any(_counts_as_failed(r, explicit) for r in made):
        raise typer.Exit(3)


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

    _load(plugin)
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

    _load(plugin)
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


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Rebuild every table of a run folder from its records."""
    from bench import console
    from bench.records import RunFolder
    from bench.report import write_tables
    from bench.scored import read

    scored = read(RunFolder.existing(folder))
    console.print_result(*write_tables(folder, scored), scored)


def main() -> NoReturn:
    """Run the command line; every expected error is one sentence on stderr and an exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
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


def _counts_as_failed(record: "Record", explicit: set[str]) -> bool:
    """Unavailable is a failure only where the backbone or dataset that is was named."""
    if record.status != "unavailable":
        return record.status == "failed"
    of_dataset = record.body["error"]["phase"] == "dataset"
    return (record.cell.dataset if of_dataset else record.cell.backbone) in explicit


def _load(files: list[Path] | None) -> None:
    from bench.plugins import load_file

    for file in files or []:
        load_file(file)


def _default_output(datasets: str, config: "Config") -> Path:
    """results/NAME, where the name tells what is not the default, so that such runs do not meet in one folder."""
    from bench.plugins import ROOT

    changed = [
        config.preprocess if config.preprocess != "official" else "",
        config.postprocess,
        config.weights if config.weights == "random" else "",
        "" if config.limit is None else f"limit{config.limit}",
    ]
    name = "-".join([datasets, *filter(None, changed)])
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return Path(os.path.relpath(ROOT / "results" / safe))
