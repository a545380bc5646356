"""Random choices that are the same on every machine and in every version of Python."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Rng:
    """Choices made of `random.Random.random` alone, the one method whose stream Python promises to keep."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random

    def real(self, low: float, high: float) -> float:
        """A real number in [low, high)."""
        return low + (high - low) * self._random()

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int((high - low + 1) * self._random())

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.integer(0, len(items) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in a random order."""
        order = sorted(range(len(items)), key=[self._random() for _ in items].__getitem__)
        return [items[position] for position in order]

    def colour(self) -> tuple[int, int, int]:
        """An RGB colour."""
        return self.integer(0, 255), self.integer(0, 255), self.integer(0, 255)
