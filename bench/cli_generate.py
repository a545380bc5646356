"""`generate`: arguments and printing of what trains diffusion models and makes images with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
    Alpha,
    AlphaChoice,
    Colour,
    ColourChoice,
    Device,
    Plugins,
    Strict,
    Workers,
    load_plugins,
)
from bench.errors import Interrupted

app = typer.Typer(help="Train a diffusion model, or make images with one.", no_args_is_help=True, rich_markup_mode=None)


class TrainPrecision(StrEnum):
    """auto: bf16 or fp16 on a GPU, else fp32."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class SamplePrecision(StrEnum):
    """Of a model's weights, and of what it computes."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@app.command()
def train(
    images: TrainedOn,
    output: Annotated[Path, typer.Option(help="Folder of the model, as diffusers reads it.")],
    steps: Steps,
    subset: Annotated[
        int | None, typer.Option(min=1, help="Images drawn; fewer are part of more.  [default: all]")
    ] = None,
    resolution: Resolution = 64,
    channels: Channels = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 32,
    learning_rate: LearningRate = 2e-4,
    schedule: Schedule = ScheduleChoice.constant,
    warmup: Warmup = None,
    ema: Ema = True,
    flip: Flip = False,
    checkpoint_every: CheckpointEvery = 500,
    seed: Annotated[int, typer.Option(help="Of the subset, the first weights, and what every step draws.")] = 0,
    alpha: Alpha = AlphaChoice.white,
    colour: Colour = ColourChoice.ignored,
    strict: Strict = False,
    device: Device = "auto",
    precision: Annotated[TrainPrecision, typer.Option(help="auto: bf16 or fp16 on a GPU.")] = TrainPrecision.auto,
    workers: Workers = WORKERS,
    plugin: Plugins = None,
) -> None:
    """Train an unconditional diffusion model on some of the images; goes on where the same command stopped."""
    from bench import console, provenance
    from bench.data.unreadable import sentences, write_left_out
    from bench.generate import extra
    from bench.generate import subset as subsets
    from bench.generate import train as training
    from bench.generate.learner import Settings
    from bench.memory import keep_freed_memory
    from bench.sources import images_of

    keep_freed_memory()
    load_plugins(plugin)
    extra.diffusers()
    where = provenance.resolve_device(device)
    settings = Settings.asked(
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
        precision=precision.value,
    )
    try:
        reading = subsets.TrainingReading(resolution, workers, alpha.value, colour.value, strict)
        with console.counting_warnings(output), console.counting("images") as progress:
            drawn = subsets.read(images_of(images), subset, seed, reading, progress)
        with _watching("steps", settings.steps, settings.batch_size) as watch:
            trained = training.train(
                settings,
                drawn.first(),
                drawn.pixels,
                output,
                checkpoint_every,
                lambda done, loss: watch(done, f"loss {loss:.4f}"),
            )
        lists = write_left_out(output, {"images": drawn.left_out})
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the last checkpoint is kept, and the same command goes on") from None
    told = "holds the model" if trained else "already held the model"
    console.out.print(
        f"{output} {told}, trained on {len(drawn.images):,} images ({output / training.TRAINING}); `generate sample "
        f"--model {output}` makes images with it",
        soft_wrap=True,
    )
    for line in (*sentences("images", drawn.left_out), *(f"written: {path}" for path in lists)):
        console.out.print(line, soft_wrap=True)


@app.command()
def sample(
    model: Annotated[str, typer.Option(help="Folder of a diffusers pipeline, or its name on the Hugging Face hub.")],
    count: Count,
    output: Annotated[Path, typer.Option(help="Folder for them.")],
    captions: Annotated[
        str | None, typer.Option(help="For text-to-image: FILE or FILE#COLUMN, .parquet, .csv or .txt.")
    ] = None,
    scheduler: Scheduler = SchedulerChoice.ddim,
    inference_steps: InferenceSteps = 50,
    guidance: Annotated[
        float | None, typer.Option(help="How far captions are followed.  [default: the model's own]")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images made at a time.")] = 8,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the first image, those after it have the next ones; of captions.")
    ] = 0,
    device: Device = "auto",
    precision: Annotated[SamplePrecision, typer.Option(help="fp16 halves memory on a GPU.")] = SamplePrecision.fp32,
) -> None:
    """Make images with a diffusion model, each named by its seed; goes on where the same command stopped."""
    from bench import console, provenance
    from bench.generate import captions as captioning
    from bench.generate import extra, pipeline
    from bench.generate import sample as sampling
    from bench.memory import keep_freed_memory

    keep_freed_memory()
    extra.diffusers()
    where = provenance.resolve_device(device)
    settings = sampling.Settings(
        count=count,
        scheduler=scheduler.value,
        steps=inference_steps,
        guidance=guidance,
        batch_size=batch_size,
        seed=seed,
        device=where,
        precision=extra.resolve_precision(precision.value, where),
    )
    try:
        told = captioning.chosen(captions, count, seed) if captions is not None else ()
        loaded = pipeline.loaded(model, scheduler.value, where, settings.precision)
        with _watching("images", count, 1) as watch:
            outcome = sampling.sample(loaded, told, settings, output, lambda done, total: watch(done, ""))
    except KeyboardInterrupt:
        raise Interrupted("interrupted; whole images are kept, and the same command goes on") from None
    console.out.print(f"{output} holds {outcome.count:,} images, {outcome.made:,} of them made now", soft_wrap=True)
    if outcome.withheld:
        console.out.print(
            f"{outcome.withheld:,} of them are black: the model's safety checker withheld them (column withheld of "
            f"{output / sampling.MANIFEST})",
            soft_wrap=True,
        )


@contextmanager
def _watching(noun: str, total: int, images_each: int) -> Iterator[Callable[[int, str], None]]:
    """A progress display on stderr with images per second; it is told the number done, and what else to show."""
    import time

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from bench.console import progress_out

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[told]}", markup=False),
        TimeRemainingColumn(),
    )
    first, began = 0, 0.0
    with Progress(*columns, console=progress_out, disable=not progress_out.is_terminal) as progress:
        task = progress.add_task(noun, total=total, visible=False, told="")

        def show(done: int, more: str) -> None:
            nonlocal first, began
            if not began:  # the first call tells where an earlier run stopped, and how long starting took
                first, began = done, time.perf_counter()
            speed = (done - first) * images_each / max(time.perf_counter() - began, 1e-9)
            told = f"{speed:.1f} images/s" if done > first else ""
            progress.update(task, completed=done, visible=True, told=f"{more} {told}".strip())

        yield show
