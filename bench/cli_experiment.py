"""`experiment`: arguments and printing of what is trained, sampled and audited as a whole."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli_audit_options import BACKBONES, SIMILARITIES, Backbones, Background, Similarities, Thresholds, TopK
from bench.cli_generate_options import (
    Channels,
    CheckpointEvery,
    Count,
    Ema,
    Flip,
    InferenceSteps,
    LearningRate,
    Resolution,
    Schedule,
    ScheduleChoice,
    Scheduler,
    SchedulerChoice,
    Steps,
    TrainedOn,
    Warmup,
)
from bench.cli_options import (
    WORKERS,
    AllowCode,
    Alpha,
    AlphaChoice,
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
from bench.errors import Interrupted

if TYPE_CHECKING:
    from bench.audit.describing import Tried
    from bench.experiment.replication import Dependence
    from bench.experiment.table import Conclusion

app = typer.Typer(help="Train, sample and audit as a whole.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Train, sample and audit as a whole."""  # of a single command, too, the name is written


@app.command()
def replication(
    images: TrainedOn,
    subsets: Annotated[str, typer.Option(help="Numbers of training images, a model each: 100,300,1000.")],
    output: Annotated[Path, typer.Option(help="Folder for models, samples, audits and what they come to.")] = Path(
        "results/replication"
    ),
    steps: Steps = 20_000,
    resolution: Resolution = 64,
    channels: Channels = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step, sampled at a time, described at a time.")] = 32,
    learning_rate: LearningRate = 2e-4,
    schedule: Schedule = ScheduleChoice.constant,
    warmup: Warmup = None,
    ema: Ema = True,
    flip: Flip = False,
    checkpoint_every: CheckpointEvery = 500,
    count: Count = 1000,
    scheduler: Scheduler = SchedulerChoice.ddim,
    inference_steps: InferenceSteps = 50,
    backbones: Backbones = BACKBONES,
    similarities: Similarities = SIMILARITIES,
    top_k: TopK = 20,
    threshold: Thresholds = "0.5",
    calibration: Calibrations = None,
    background: Background = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn: subsets, weights, samples.")] = 0,
    alpha: Alpha = AlphaChoice.white,
    colour: Colour = ColourChoice.ignored,
    strict: Strict = False,
    keep_blank: KeepBlank = False,
    device: Device = "auto",
    workers: Workers = WORKERS,
    weights_dir: WeightsDir = None,
    allow_code: AllowCode = False,
    offline: Offline = False,
    plugin: Plugins = None,
) -> None:
    """Tell whether models of fewer training images copy more: train, sample and audit one for each number.

    Goes on where the same command stopped; models that `generate train` made in its folder are taken over.
    """
    from bench import console, plugins, provenance
    from bench.audit.calibration import Calibration
    from bench.audit.describing import Describing, config_of
    from bench.audit.sides import Reading
    from bench.audit.thresholds import parse_all as parse_thresholds
    from bench.audit.verdict import Settings as AuditSettings
    from bench.data.unreadable import sentences, write_left_out
    from bench.experiment import make, write
    from bench.experiment.replication import Auditing, available, compare, require_rates
    from bench.generate import extra
    from bench.generate.learner import Settings as TrainSettings
    from bench.generate.sample import Settings as SampleSettings
    from bench.generate.subset import TrainingReading
    from bench.memory import keep_freed_memory
    from bench.similarity.spec import parse_all
    from bench.sources import images_of
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    load_plugins(plugin)
    extra.diffusers()
    where = provenance.resolve_device(device)
    table = Calibration.read(calibration) if calibration else None
    auditing = Auditing(
        tuple(parse_all(similarities)), AuditSettings(top_k, parse_thresholds(threshold), background, seed, table)
    )
    training = TrainSettings.asked(
        resolution=resolution,
        channels=channels,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule.value,
        warmup=warmup,
        ema=ema,
        flip=flip,
        seed=seed,
        device=where,
        precision="auto",
    )
    sampling = SampleSettings(
        count=count,
        scheduler=scheduler.value,
        steps=inference_steps,
        guidance=None,
        batch_size=batch_size,
        seed=seed,
        device=where,
        precision="fp32",
    )
    chosen, weights = plugins.backbones.select(backbones), WeightsStore(Network(offline), weights_dir, allow_code)
    source = images_of(images)
    reading = TrainingReading(resolution, workers, alpha.value, colour.value, strict)
    sizes = make.sizes_of(subsets, len(source.images))
    wanted = make.Generating(source, sizes, training, checkpoint_every, sampling)
    make.require_possible(wanted, output)
    require_rates(auditing, len(source.images))
    with console.counting_warnings(output):
        try:
            with console.counting_each() as progress:
                # of the squares that the networks see: transparency and profiles are gone by then
                config = config_of(chosen, seed, where, batch_size, AlphaChoice.white.value, ColourChoice.ignored.value)
                audit_reading = Reading(workers, strict=strict, keep_blank=keep_blank)
                how = Describing.here(chosen, config, weights, audit_reading, progress)
                how, unavailable = available(how, auditing)
                left_out = make.make(wanted, output, reading, progress)
                outcome = compare(sizes, output, auditing, how)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what is whole is kept, and the same command goes on") from None
        outcome.unavailable.update(unavailable)
        _show(outcome)
        for line in sentences("images", left_out):
            console.out.print(line, soft_wrap=True)
        if outcome.found:
            argv = ["bench", *sys.argv[1:]]
            written = write.everything(output, outcome, wanted, auditing, argv, workers)
            written += write_left_out(output, {"images": left_out})
            console.out.print(f"written: {', '.join(map(str, written))}", soft_wrap=True)
    if outcome.failed:
        raise typer.Exit(3)


def _show(outcome: "Tried[Dependence]") -> None:
    from bench import console
    from bench.experiment.table import conclusions, rows

    if outcome.found:
        console.print_rows([_row(row) for row in rows(outcome.found)])
    for conclusion in conclusions(outcome.found):
        console.out.print(_sentence(conclusion), soft_wrap=True)
    for what, why in (*outcome.failed.items(), *outcome.unavailable.items()):
        console.out.print(f"{what}: {why}", soft_wrap=True)


def _row(row: dict[str, Any]) -> dict[str, str]:
    """For people: shares in percent, two decimals."""
    seen = row["nearest_is_seen_share"]
    plain = row["threshold"] == f"{row['score']:g}"
    return {
        "name": row["backbone"],
        "similarity": row["similarity"],
        "training_images": f"{row['n_training']:,}",
        "above": row["threshold"] if plain else f"{row['score']:.4f} ({row['threshold']})",
        "generated_%": f"{100 * row['share']:.2f}",
        "95 %_interval": f"{100 * row['low']:.2f} to {100 * row['high']:.2f}",
        "all images_%": f"{100 * row['background_share']:.2f}",
        "median": f"{row['p50']:.3f}",
        "nearest was_trained on %": "" if seen is None else f"{100 * seen:.2f}",
        "by chance_%": "" if seen is None else f"{100 * row['chance']:.2f}",
    }


def _sentence(of: "Conclusion") -> str:
    from bench.report.choose import p_text

    few, many = of.of_fewest, of.of_most
    return (
        f"{of.backbone}, {of.similarity}, above {of.threshold}: {of.sentence} ({few.k:,} of {few.n:,} with "
        f"{of.fewest:,} training images, {many.k:,} of {many.n:,} with {of.most:,}; p {p_text(of.p)})"
    )
