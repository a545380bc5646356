"""Brings what runs would download, so that they need no network."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench.errors import BenchError
from bench.interfaces import Backbone
from bench.weights import Obtained, WeightsStore

#: Told the name of what is being downloaded, the bytes that are there, and how many there will be.
Watch = Callable[[str, int, int | None], object]


@dataclass(frozen=True)
class Fetched:
    """What became of one backbone's weights. problem: why it failed."""

    name: str
    outcome: Literal["here", "fetched", "nothing to fetch", "failed"]
    obtained: Obtained | None = None
    problem: str = ""


def backbones(chosen: Iterable[Backbone], store: WeightsStore, watch: Watch) -> Sequence[Fetched]:
    """Obtain the weights of every backbone, each failure alone."""
    wanted = list(chosen)
    store.probe(backbone.weights for backbone in wanted)
    return [_backbone(backbone, store, watch) for backbone in wanted]


def _backbone(backbone: Backbone, store: WeightsStore, watch: Watch) -> Fetched:
    here = store.find(backbone.weights) is not None
    try:
        obtained = store.obtain(backbone.weights, partial(watch, backbone.name))
    except (BenchError, OSError) as error:
        return Fetched(backbone.name, "failed", problem=str(error))
    if obtained is None:
        return Fetched(backbone.name, "nothing to fetch")
    return Fetched(backbone.name, "here" if here else "fetched", obtained)
