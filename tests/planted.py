"""Copies that were planted among generated images, and what of them an audit finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Left, top, right and bottom, as fractions of an image.
Box = tuple[float, float, float, float]
#: Float64 [N, 2], across and down.
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Plant:
    """A generated image. original: id of the training image that it copies, None for none.

    pasted, origin: boxes around what was copied, in the generated and in the training image; None where not known.
    """

    kind: str
    original: str | None
    pasted: Box | None = None
    origin: Box | None = None


def fractions(box: tuple[float, ...], size: tuple[int, int]) -> Box:
    """A box of pixels of an image of that width and height."""
    return box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]


def first_matches(audit: Path, truth: Mapping[str, Plant]) -> pd.DataFrame:
    """The nearest training image of each generated one, as matches.csv tells it, beside what was planted there.

    Columns kind, is_copy, is_found (that training image was copied), pasted and origin (Box or None).
    """
    table = pd.read_csv(audit / "matches.csv")
    table = table[table["rank"] == 1].reset_index(drop=True)
    plants = [truth[name] for name in table["generated_id"]]
    table["kind"] = [plant.kind for plant in plants]
    table["is_copy"] = [plant.original is not None for plant in plants]
    table["is_found"] = table["training_id"] == [plant.original for plant in plants]
    table["pasted"], table["origin"] = [plant.pasted for plant in plants], [plant.origin for plant in plants]
    return table


def hits(matches: pd.DataFrame, side: str, boxes: str) -> tuple[float, float]:
    """The share of regions whose middle lies in the box of their image; and, by chance, of those of all other rows.

    side: whose regions, generated or training. boxes: the column of the boxes.
    """
    middles, _ = _regions(matches, side)
    low, high = _corners(matches[boxes])
    return _own_and_others((low[:, None] <= middles) & (middles <= high[:, None]))


def meetings(matches: pd.DataFrame) -> tuple[float, float]:
    """The share of pairs of regions that show the same spot of what was copied, to a region's size; and by chance.

    By chance: of regions in generated images and those in the training images of all other rows.
    """
    generated, _ = _regions(matches, "generated")
    training, size = _regions(matches, "training")
    (pasted, pasted_end), (origin, origin_end) = _corners(matches["pasted"]), _corners(matches["origin"])
    spots = origin + (generated - pasted) / (pasted_end - pasted) * (origin_end - origin)
    return _own_and_others(np.abs(spots[:, None] - training) <= 1.01 * size[:, None])


def _regions(matches: pd.DataFrame, side: str) -> tuple[Points, Points]:
    """Middles and sizes, across and down, of the regions that gave the scores."""
    edges = matches[[f"{side}_{edge}" for edge in ("left", "top", "right", "bottom")]].to_numpy(np.float64)
    return (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]


def _corners(boxes: "pd.Series[Box]") -> tuple[Points, Points]:
    edges = np.array(boxes.tolist(), np.float64)
    return edges[:, :2], edges[:, 2:]


def _own_and_others(met: NDArray[np.bool_]) -> tuple[float, float]:
    """Shares of what holds across and down [N, N, 2]: of the pairs of a row with itself, and with all others."""
    both, own = met.all(axis=2), np.eye(len(met), dtype=bool)
    return float(both[own].mean()), float(both[~own].mean())
