"""Options that several commands share, and what they bring about."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.data.loaded_dataset import Policy


class WeightsChoice(StrEnum):
    """Trained parameters, or seeded random ones for tests of the harness."""

    pretrained = "pretrained"
    random = "random"


class AlphaChoice(StrEnum):
    """What a transparent image is laid on; drop: its colours as they are."""

    white = "white"
    black = "black"
    drop = "drop"


class ColourChoice(StrEnum):
    """Whether colour profiles are used: managed converts to sRGB."""

    ignored = "ignored"
    managed = "managed"


#: Threads that decode images, unless others are asked for.
WORKERS = min(4, os.cpu_count() or 1)

Device = Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per forward pass.")]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode images.")]
EngineChoice = Annotated[str, typer.Option(help="What describes images: local, ray or ray:HOST:PORT.")]
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="Folder of weights brought by hand, under their published names.")
]
Alpha = Annotated[AlphaChoice, typer.Option(help="What transparent images are laid on; drop: hidden colours show.")]
Colour = Annotated[ColourChoice, typer.Option(help="managed: convert images by their colour profile to sRGB.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first image that can't be read or described.")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out queries and positives that can't be read as well.")
]
KeepBlank = Annotated[bool, typer.Option("--keep-blank", help="Compare images without content as well.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run TorchScript weights of which no hash was published.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file that registers backbones or datasets; repeatable."),
]
Calibrations = Annotated[
    Path | None, typer.Option("--calibration", help="Table of `calibrate`: what rates come to, what to expect.")
]


def policy_of(strict: bool, skip_unreadable: bool) -> "Policy":
    """What happens where an image can't be read. Raises UsageError where both options are given."""
    from bench.data.loaded_dataset import Policy

    if strict and skip_unreadable:
        raise UsageError("--strict stops at an image that --skip-unreadable leaves out: give one of them")
    return Policy(strict, skip_unreadable)


def load_plugins(files: list[Path] | None) -> None:
    """Import the files that register backbones, datasets or generators."""
    from bench.plugins import load_file

    for file in files or []:
        load_file(file)
