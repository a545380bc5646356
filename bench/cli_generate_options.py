"""Options of training a diffusion model and of making images with it, which several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class ScheduleChoice(StrEnum):
    """Of the learning rate, after the steps in which it rises."""

    constant = "constant"
    cosine = "cosine"


class SchedulerChoice(StrEnum):
    """How noise is taken out of an image."""

    ddim = "ddim"
    ddpm = "ddpm"
    own = "own"


TrainedOn = Annotated[str, typer.Option(help="A folder, a dataset, .tar or .parquet files, a list as training.csv.")]
Steps = Annotated[int, typer.Option(min=1, help="Batches to learn from.")]
Resolution = Annotated[int, typer.Option(min=8, max=1024, help="Side of the images, in pixels.")]
Channels = Annotated[
    str | None, typer.Option(help="Of each level of the network: 64,128,256.  [default: by the resolution]")
]
LearningRate = Annotated[float, typer.Option(min=0, help="After it has risen.")]
Schedule = Annotated[ScheduleChoice, typer.Option(help="Of the learning rate.")]
Warmup = Annotated[
    int | None, typer.Option(min=0, help="Steps in which it rises.  [default: a tenth of all, at most 500]")
]
Ema = Annotated[bool, typer.Option("--ema/--no-ema", help="Keep the average of the weights over the steps.")]
Flip = Annotated[bool, typer.Option("--flip", help="Mirror half of the images.")]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Steps that a kill costs at most.")]

Count = Annotated[int, typer.Option(min=1, help="Images to make.")]
Scheduler = Annotated[SchedulerChoice, typer.Option(help="own: the model's.")]
InferenceSteps = Annotated[int, typer.Option(min=1, help="Of taking out noise.")]
