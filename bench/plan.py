"""The plan of a run: cells in the order they are computed, shrunk by filters named after what they drop."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bench.similarity import Similarity


@dataclass(frozen=True)
class Definition:
    """A cell: one backbone on one dataset with one similarity."""

    backbone: str
    dataset: str
    similarity: Similarity

    def __str__(self) -> str:
        return f"{self.backbone} / {self.dataset} / {self.similarity}"


Plan = list[Definition]


def full(backbones: Iterable[str], datasets: Collection[str], similarities: Collection[Similarity]) -> Plan:
    """Every combination: a backbone's cells together, of those a dataset's, so that work is shared."""
    return [Definition(b, d, s) for b in backbones for d in datasets for s in similarities]


def without_done(plan: Plan, done: Collection[Definition]) -> Plan:
    """Drops the cells whose record is already there."""
    return [cell for cell in plan if cell not in done]
