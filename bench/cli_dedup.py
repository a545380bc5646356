"""`dedup`: arguments and printing of near-copies inside a set of images."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli_options import (
    WORKERS,
    AllowCode,
    Alpha,
    AlphaChoice,
    BatchSize,
    Calibrations,
    Colour,
    ColourChoice,
    Device,
    KeepBlank,
    Offline,
    Plugins,
    Strict,
    WeightsDir,
    Workers,
    load_plugins,
)
from bench.errors import Interrupted, UsageError


def dedup(
    images: Annotated[str, typer.Argument(help="Images as `embed` takes them, or descriptors as `search` does.")],
    output: Annotated[Path, typer.Option(help="Folder for duplicates.csv and summary.json.")],
    threshold: Annotated[str, typer.Option(help="Near-copies are above this NUMBER, fpr:RATE or precision:SHARE.")],
    backbone: Annotated[str, typer.Option(help="One, as `run` takes it; of no use for descriptors.")] = "sscd",
    similarity: Annotated[str, typer.Option(help="One; see `list similarities`.")] = "global",
    calibration: Calibrations = None,
    background: Annotated[int, typer.Option(min=2, help="Images whose pairs make a rate a threshold.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the images that are drawn for it.")] = 0,
    alpha: Alpha = AlphaChoice.white,
    colour: Colour = ColourChoice.ignored,
    strict: Strict = False,
    keep_blank: KeepBlank = False,
    device: Device = "auto",
    batch_size: BatchSize = 32,
    workers: Workers = WORKERS,
    weights_dir: WeightsDir = None,
    allow_code: AllowCode = False,
    offline: Offline = False,
    plugin: Plugins = None,
) -> None:
    """Find clusters of near-copies in a set of images: what is repeated there is what a generator learns by heart."""
    from bench import console, plugins, provenance
    from bench.audit.apart import Apart, drawn
    from bench.audit.calibration import Calibration, applied, require_known
    from bench.audit.describing import Describing, config_of, one_side
    from bench.audit.duplicates import clusters
    from bench.audit.sides import Reading, holds_descriptors, made_from
    from bench.audit.thresholds import Threshold
    from bench.audit.write import write_duplicates
    from bench.data.unreadable import sentences, write_left_out
    from bench.memory import keep_freed_memory
    from bench.similarity import Similarity
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    load_plugins(plugin)
    parsed, wanted = Similarity.parse(similarity), Threshold.parse(threshold)
    table = Calibration.read(calibration) if calibration else None
    require_known([wanted], table)
    chosen = plugins.backbones.select(backbone)
    if len(chosen) > 1:
        raise UsageError(f"'{backbone}' is {len(chosen)} backbones: name one")
    where, weights = provenance.resolve_device(device), WeightsStore(Network(offline), weights_dir, allow_code)
    with console.counting_warnings(output):
        try:
            with console.counting_each() as progress:
                config = config_of(chosen, seed, where, batch_size, alpha.value, colour.value)
                reading = Reading(workers, strict=strict, keep_blank=keep_blank)
                side = one_side("images", images, parsed, Describing.here(chosen, config, weights, reading, progress))
        except KeyboardInterrupt:
            raise Interrupted("interrupted; whole descriptors are kept, and the same command goes on") from None
        name = chosen[0].item.name
        if holds_descriptors(images):
            name = str(made_from(images).get("backbone", "descriptors"))
        rows = drawn(len(side), background, seed)
        (of,) = applied([wanted], (name, side.made_by, parsed), table, lambda: Apart.of(side, rows, parsed))
        score = of.score
        found = clusters(side.descriptors, score, parsed)
        about = {
            "images": images,
            "backbone": name,
            "similarity": str(parsed),
            "threshold": str(wanted),
            "score": score,
            **side.left_out.counts,
            "argv": ["bench", *sys.argv[1:]],
        }
        written = write_duplicates(output, side, found, about)
        written += write_left_out(output, {"images": side.left_out})
        told = found.summary()
        lines = [
            f"{told['n_duplicated']:,} of {told['n_images']:,} images ({100 * told['share_duplicated']:.2f} %) have "
            f"near-copies, in {told['n_clusters']:,} clusters of {told['largest']:,} images at most: "
            f"{name}, {parsed}, above {score:.4f}",
            *sentences("images", side.left_out),
            f"written: {', '.join(map(str, written))}",
        ]
    for line in lines:
        console.out.print(line, soft_wrap=True)
