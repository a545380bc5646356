"""`run`: arguments and printing; the work is elsewhere, and torch is imported only inside."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli_options import (
    WORKERS,
    AllowCode,
    Alpha,
    AlphaChoice,
    BatchSize,
    Colour,
    ColourChoice,
    Device,
    EngineChoice,
    Offline,
    Plugins,
    SkipUnreadable,
    Strict,
    WeightsChoice,
    WeightsDir,
    Workers,
    load_plugins,
    policy_of,
)
from bench.cli_sweep import options_of
from bench.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from bench.records import Config, Record, RunFolder


def execute(
    backbones: Annotated[
        str,
        typer.Option(help="Names, groups (all, candidates, embedded, extras), globs, timm:NAME, onnx:FILE; [options]."),
    ] = "all",
    datasets: Annotated[
        str,
        typer.Option(help="Names, groups (demo, synthetic, paper, published), globs, folder:DIR, pairs:DIR, disc:DIR."),
    ] = "demo",
    similarities: Annotated[
        str, typer.Option(help="See `list similarities`; braces as in a shell.")
    ] = "global,chunked@16",
    preprocess: Annotated[
        str, typer.Option(help="official, seed, squash:SIZE, short:SIZE or letterbox:SIZE.")
    ] = "official",
    postprocess: Annotated[str, typer.Option(help="Such as pcaw512,l2 or sn1.0[0,2]; see `list postprocess`.")] = "",
    background: Annotated[
        str | None, typer.Option(help="Folder, dataset or shards that post-processing is fitted on; not of the test.")
    ] = None,
    alpha: Alpha = AlphaChoice.white,
    colour: Colour = ColourChoice.ignored,
    strict: Strict = False,
    skip_unreadable: SkipUnreadable = False,
    output: Annotated[Path | None, typer.Option(help="Run folder.  [default: results/NAME]")] = None,
    device: Device = "auto",
    batch_size: BatchSize = 32,
    workers: Workers = WORKERS,
    engine: EngineChoice = "local",
    seed: Annotated[int, typer.Option(help="Seed of random weights and samples.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take a sample of so many queries of each dataset, for a quick look.")
    ] = None,
    weights: Annotated[
        WeightsChoice, typer.Option(help="random: tests the harness, is never ranked.")
    ] = WeightsChoice.pretrained,
    track: Annotated[
        str | None, typer.Option(help="Tell a tracker of every record: mlflow, wandb or tensorboard[:TARGET].")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the run folder anew.")] = False,
    weights_dir: WeightsDir = None,
    allow_code: AllowCode = False,
    offline: Offline = False,
    plugin: Plugins = None,
    *,
    sweeps: bool = False,
) -> "tuple[RunFolder, bool]":
    """The run folder, brought up to date, and whether something in it counts as failed.

    sweeps: similarities whose chunks do not divide a descriptor have no cells, instead of failed ones.
    """
    from dataclasses import asdict

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
    from bench.trackers import tracking
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    load_plugins(plugin)
    policy = policy_of(strict, skip_unreadable)
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
        alpha=alpha.value,
        colour=colour.value,
    )
    name = f"sweep-{datasets}" if sweeps else datasets
    folder = RunFolder.open(output or _default_output(name, config), config, overwrite)
    store = DescriptorStore(home() / "descriptors")
    store.require_writable()
    items = [c.item for c in data]
    argv = ["bench", *sys.argv[1:]]
    with (
        tracking(track, folder.path, asdict(config)) as tracked,
        console.counting_warnings(folder.path, keeps=True),
        works.connected() as cluster,
        console.watching() as watch,
    ):
        prepared = Run(
            config,
            chosen,
            items,
            fitted_on,
            folder,
            store,
            files,
            workers,
            argv,
            watch,
            tracked,
            cluster,
            sweeps,
            policy,
        )
        try:
            made = prepared.execute()
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what is computed is kept, and the same command goes on") from None
    scored = read(folder)
    console.print_result(*write_tables(folder.path, scored), scored)
    if tracked.problem:
        console.out.print(tracked.problem, soft_wrap=True)
    explicit = {c.item.name for c in chosen if c.explicit} | {c.item.name for c in data if c.explicit}
    return folder, any(_counts_as_failed(r, explicit) for r in made)


@options_of(execute)
def run(**options: Any) -> None:
    """Score backbones on datasets; goes on where an earlier run of the same command stopped."""
    _, failed = execute(**options)
    if failed:
        raise typer.Exit(3)


def _counts_as_failed(record: "Record", explicit: set[str]) -> bool:
    """Unavailable is a failure only where the backbone or dataset that is was named."""
    if record.status != "unavailable":
        return record.status == "failed"
    of_dataset = record.body["error"]["phase"] == "dataset"
    return (record.cell.dataset if of_dataset else record.cell.backbone) in explicit


def _default_output(datasets: str, config: "Config") -> Path:
    """results/NAME, where the name tells what is not the default, so that such runs do not meet in one folder."""
    from bench.plugins import ROOT

    changed = [
        config.preprocess if config.preprocess != "official" else "",
        config.postprocess,
        config.weights if config.weights == "random" else "",
        "" if config.alpha == "white" else f"alpha-{config.alpha}",
        "" if config.colour == "ignored" else f"colour-{config.colour}",
        "" if config.limit is None else f"limit{config.limit}",
    ]
    name = "-".join([datasets, *filter(None, changed)])
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return Path(os.path.relpath(ROOT / "results" / safe))
