"""What is to be timed: the cells of a selection, how each is timed, and the request that a fresh process gets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from bench.errors import UsageError
from bench.interfaces import Backbone, Precision
from bench.records import Config, WeightsKind

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Cell:
    """One backbone on one device in one precision at one batch size, which is never made smaller."""

    backbone: str
    device: str
    precision: Precision
    batch_size: int

    def __str__(self) -> str:
        return f"{self.backbone} / {self.device} / {self.precision} / {self.batch_size}"


@dataclass(frozen=True)
class Settings:
    """How cells are timed. rounds, warmup: of each measurement, at least one. workers: threads that decode images."""

    rounds: int
    warmup: int
    workers: int
    weights: WeightsKind
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """All that a process needs to time a cell.

    selection, plugins: what the backbone of the cell's name is chosen from. weights_file: None where it has none.
    photographs: the JPEG files to decode.
    """

    cell: Cell
    settings: Settings
    selection: str
    plugins: list[str]
    weights_file: str | None
    photographs: list[str]


def plan(
    backbones: Sequence[str], device: str, precisions: Sequence[Precision], batch_sizes: Sequence[int]
) -> list[Cell]:
    """Every combination; what is compared is timed one after the other."""
    return [Cell(b, device, p, n) for n in batch_sizes for p in precisions for b in backbones]


def parse_batch_sizes(text: str) -> list[int]:
    """'1,32' as numbers, each once. Raises UsageError for what is no number of images."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--batch-sizes is positive numbers with commas between them, such as 1,32, not '{text}'")
    return list(dict.fromkeys(map(int, parts)))


def parse_precisions(text: str) -> list[Precision]:
    """'fp32,bf16' as precisions, each once. Raises UsageError for an unknown one."""
    parts = list(dict.fromkeys(part.strip() for part in text.split(",")))
    known: list[Precision] = [precision for part in parts for precision in PRECISIONS if part == precision]
    if len(known) < len(parts):
        raise UsageError(f"--precisions is some of {', '.join(PRECISIONS)} with commas between them, not '{text}'")
    return known


def require_no_precision(backbones: Iterable[Backbone]) -> None:
    """Raises UsageError where a name tells a precision, which --precisions does."""
    if told := next((backbone for backbone in backbones if backbone.precision != "fp32"), None):
        raise UsageError(f"{told.name} names a precision: leave it out, and give --precisions {told.precision}")


def in_precision(backbone: Backbone, precision: Precision) -> Backbone:
    """The backbone in a precision; its name and other options stay. Raises UsageError where it has no such option."""
    if precision != "fp32":
        backbone.configured({"precision": precision})  # refuses
    return replace(backbone, precision=precision)


def config_of(cell: Cell, settings: Settings) -> Config:
    """A cell as the configuration of a run that has no dataset, which is how backbones are loaded."""
    return Config(
        backbones=(cell.backbone,),
        datasets=(),
        similarities=(),
        weights=settings.weights,
        seed=settings.seed,
        device=cell.device,
        batch_size=cell.batch_size,
    )
