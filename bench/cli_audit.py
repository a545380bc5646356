"""`audit`: arguments and printing of whether generated images copy training images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli_audit_options import BACKBONES, SIMILARITIES, Backbones, Background, Similarities, Thresholds, TopK
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

if TYPE_CHECKING:
    from bench.audit.run import Outcome
    from bench.audit.verdict import Above, Verdict


def audit(
    generated: Annotated[str, typer.Option(help="Images as `embed` takes them, or descriptors as `search` does.")],
    training: Annotated[str, typer.Option(help="What the generator was trained on, in the same form.")],
    output: Annotated[Path, typer.Option(help="Folder for what is found.")],
    backbones: Backbones = BACKBONES,
    similarities: Similarities = SIMILARITIES,
    top_k: TopK = 20,
    threshold: Thresholds = "0.5",
    calibration: Calibrations = None,
    background: Background = 10_000,
    seed: Annotated[int, typer.Option(help="Of what is drawn: the background, permutations.")] = 0,
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
    """Tell whether generated images copy training images: best matches, shares above a threshold, histograms.

    Descriptors are kept, so the same command goes on where it stopped.
    """
    from bench import console, plugins, provenance
    from bench.audit import run as auditing
    from bench.audit import write
    from bench.audit.calibration import Calibration
    from bench.audit.describing import Describing, config_of
    from bench.audit.sides import Reading
    from bench.audit.thresholds import parse_all as parse_thresholds
    from bench.audit.verdict import Settings
    from bench.memory import keep_freed_memory
    from bench.similarity.spec import parse_all
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    load_plugins(plugin)
    table = Calibration.read(calibration) if calibration else None
    settings = Settings(top_k, parse_thresholds(threshold), background, seed, table)
    wanted = auditing.Wanted(generated, training, tuple(parse_all(similarities)), settings)
    if blocked := next((place for place in (output, *output.parents) if place.is_file()), None):
        raise UsageError(f"can't write to the folder {output}: {blocked} is a file; choose another --output")
    for images in (generated, training):
        if Path(images).is_dir() and output.resolve().is_relative_to(Path(images).resolve()):
            raise UsageError(f"--output {output} lies in {images}, which its figures would join: choose another")
    with console.counting_warnings(output):
        try:
            where = provenance.resolve_device(device)
            if wanted.of_descriptors:
                outcome = auditing.of_descriptors(wanted, strict)
            else:
                chosen = plugins.backbones.select(backbones)
                weights = WeightsStore(Network(offline), weights_dir, allow_code)
                with console.counting_each() as progress:
                    config = config_of(chosen, seed, where, batch_size, alpha.value, colour.value)
                    reading = Reading(workers, strict=strict, keep_blank=keep_blank)
                    how = Describing.here(chosen, config, weights, reading, progress)
                    outcome = auditing.of_images(wanted, how)
            _show(outcome)
            if outcome.audited:
                written = write.everything(output, outcome, wanted, ["bench", *sys.argv[1:]], where, workers)
                console.out.print(f"written: {', '.join(map(str, written))}", soft_wrap=True)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; whole descriptors are kept, and the same command goes on") from None
    if outcome.failed:
        raise typer.Exit(3)


def _show(outcome: "Outcome") -> None:
    from bench import console
    from bench.data.unreadable import sentences

    if outcome.audited:
        console.print_rows([_row(one.verdict, above) for one in outcome.audited for above in one.verdict.above])
    if outcome.is_self:
        console.out.print("both sides are the same images: none matches itself, or what is the same byte by byte")
    for line in (line for side, of in outcome.left_out.items() for line in sentences(side, of)):
        console.out.print(line, soft_wrap=True)
    for what, why in (*outcome.failed.items(), *outcome.unavailable.items()):
        console.out.print(f"{what}: {why}", soft_wrap=True)


def _row(verdict: "Verdict", above: "Above") -> dict[str, str]:
    """For people: shares in percent, two decimals."""
    from bench.report.choose import p_text

    told = verdict.summary
    share, background = above.generated, told["background"]
    return {
        "name": verdict.backbone,
        "similarity": str(verdict.similarity),
        "above": above.threshold if above.threshold == f"{above.score:g}" else f"{above.score:.4f} ({above.threshold})",
        "generated_%": f"{100 * share.value:.2f}",
        "95 %_interval": f"{100 * share.low:.2f} to {100 * share.high:.2f}",
        "training_%": "" if above.training is None else f"{100 * above.training.value:.2f}",
        "median": f"{told['top1']['p50']:.3f}",
        "training_median": "" if background is None else f"{background['top1']['p50']:.3f}",
        "overlap": "" if background is None else f"{background['overlap']:.3f}",
        "p": "" if background is None else p_text(background["p"]),
    }
