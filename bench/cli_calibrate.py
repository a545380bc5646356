"""`calibrate`: arguments and printing of thresholds for a chosen rate of errors."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli_audit_options import BACKBONES, SIMILARITIES, Backbones, Similarities
from bench.cli_options import (
    WORKERS,
    AllowCode,
    Alpha,
    AlphaChoice,
    BatchSize,
    Colour,
    ColourChoice,
    Device,
    KeepBlank,
    Offline,
    Plugins,
    SkipUnreadable,
    Strict,
    WeightsDir,
    Workers,
    load_plugins,
    policy_of,
)
from bench.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from bench.audit.calibration import Calibrated


def calibrate(
    background: Annotated[str, typer.Option(help="Images of which none copies another, as `embed` takes them.")],
    output: Annotated[Path, typer.Option(help="Table of thresholds, a .csv file.")],
    threshold: Annotated[
        str, typer.Option(help="NUMBER, fpr:RATE or precision:SHARE; several with commas.")
    ] = "fpr:1e-4",
    datasets: Annotated[
        str, typer.Option(help="Sets of known copies as `run` takes them, such as synthetic or pairs:DIR.")
    ] = "",
    backbones: Backbones = BACKBONES,
    similarities: Similarities = SIMILARITIES,
    pairs_of: Annotated[int, typer.Option(min=2, help="Images of the background whose pairs are looked at.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the images that are drawn for it.")] = 0,
    alpha: Alpha = AlphaChoice.white,
    colour: Colour = ColourChoice.ignored,
    strict: Strict = False,
    skip_unreadable: SkipUnreadable = False,
    keep_blank: KeepBlank = False,
    device: Device = "auto",
    batch_size: BatchSize = 32,
    workers: Workers = WORKERS,
    weights_dir: WeightsDir = None,
    allow_code: AllowCode = False,
    offline: Offline = False,
    plugin: Plugins = None,
) -> None:
    """Tell from which similarity on an image is a copy, for a rate of false alarms or a precision, by backbone.

    `audit --calibration` and `dedup --calibration` take the table.
    """
    from bench import console, plugins, provenance
    from bench.audit import calibrate as calibrating
    from bench.audit.calibration import Calibration
    from bench.audit.describing import Describing, config_of
    from bench.audit.sides import Reading, holds_descriptors
    from bench.audit.thresholds import parse_all as parse_thresholds
    from bench.audit.write import made_with
    from bench.data.unreadable import NOTHING, LeftOut, sentences, write_left_out
    from bench.files import write_json
    from bench.memory import keep_freed_memory
    from bench.similarity.spec import parse_all
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    load_plugins(plugin)
    policy = policy_of(strict, skip_unreadable)
    if output.suffix != ".csv" or output.is_dir():
        raise UsageError(f"--output {output} is no .csv file: name one")
    if blocked := next((place for place in output.parents if place.is_file()), None):
        raise UsageError(f"can't write {output}: {blocked} is a file; choose another --output")
    wanted = calibrating.Wanted(
        background,
        tuple(chosen.item for chosen in plugins.datasets.select(datasets)) if datasets else (),
        parse_all(similarities),
        parse_thresholds(threshold),
        pairs_of,
        seed,
    )
    chosen, where = plugins.backbones.select(backbones), provenance.resolve_device(device)
    left_out: Mapping[str, LeftOut] = {}
    with console.counting_warnings(output.parent, f"{output.stem}."):
        try:
            if holds_descriptors(background):
                tried, left_out = calibrating.of_descriptors(wanted, strict)
            else:
                weights = WeightsStore(Network(offline), weights_dir, allow_code)
                with console.counting_each() as progress:
                    config = config_of(chosen, seed, where, batch_size, alpha.value, colour.value)
                    reading = Reading(workers, strict=strict, keep_blank=keep_blank)
                    how = Describing.here(chosen, config, weights, reading, progress)
                    tried, left_out = calibrating.of_images(wanted, how, policy)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; whole descriptors are kept, and the same command goes on") from None
        rows = tuple(row for of in tried.found for row in of)
        if rows:
            about = {
                "background": background,
                "datasets": [dataset.identity for dataset in wanted.datasets],
                "pairs_of": pairs_of,
                "seed": seed,
                **{name: {side: of.counts[name] for side, of in left_out.items()} for name in NOTHING.counts},
                "failed": tried.failed,
                "unavailable": tried.unavailable,
                "argv": ["bench", *sys.argv[1:]],
                "hardware": provenance.hardware(where),
                **made_with(),
            }
            Calibration(output, rows).write()
            write_json(output.with_suffix(".json"), about)
            lists = write_left_out(output.parent, left_out, f"{output.stem}.")
            console.print_rows([_told(row) for row in rows])
            written = output, output.with_suffix(".json"), *lists
            console.out.print(f"written: {', '.join(map(str, written))}", soft_wrap=True)
    for line in (line for side, of in left_out.items() for line in sentences(side, of)):
        console.out.print(line, soft_wrap=True)
    for what, why in (*tried.failed.items(), *tried.unavailable.items()):
        console.out.print(f"{what}: {why}", soft_wrap=True)
    if tried.failed:
        raise typer.Exit(3)


def _told(row: "Calibrated") -> dict[str, str]:
    """For people; rates with three digits."""
    return {
        "name": row.backbone,
        "similarity": row.similarity,
        "threshold": row.threshold,
        "similarity_above": "never reached" if row.score is None else f"{row.score:.4f}",
        "false_alarms": "" if row.fpr is None else f"{row.fpr:.3g}",
        "precision": "" if row.precision is None else f"{row.precision:.3f}",
        "recall": "" if row.recall is None else f"{row.recall:.3f}",
    }
