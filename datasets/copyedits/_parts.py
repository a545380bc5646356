"""What the edits share: images by name, parameters, and how they are drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from datasets.demo._rng import Rng

Parameters = Mapping[str, float | str]
Edited = tuple[Image.Image, Parameters]


@dataclass(frozen=True)
class Original:
    """An image that copies are made of, or taken into one: RGB, opened anew at each call."""

    name: str
    open: Callable[[], Image.Image]


def real(rng: Rng, low: float, high: float) -> float:
    """A real number of three decimals, so that a table can tell the very value that was used."""
    return round(rng.real(low, high), 3)
