"""Which descriptors of an image are kept, as a value that parses from and prints to a short string."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import DescriptorError, UsageError
from bench.interfaces import Descriptors

if TYPE_CHECKING:
    from torch import Tensor

#: Every form a kind can be written in, with what it means.
FORMS = {
    "global": "one vector an image",
    "local": "one vector for each token or cell of the feature map",
    "local/HxW": "the same after the grid of tokens is averaged to H x W, such as local/7x7",
}


@dataclass(frozen=True)
class DescriptorKind:
    """Global descriptors, or local ones. grid: height and width that the grid of local ones is averaged to."""

    local: bool = False
    grid: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> "DescriptorKind":
        """The kind that `text` names. Raises UsageError with the known forms."""
        match = re.fullmatch(r"global|local(?:/([1-9][0-9]{0,3})x([1-9][0-9]{0,3}))?", text.strip())
        if match is None:
            raise UsageError(f"there is no descriptor '{text}': write {', '.join(FORMS)}")
        return cls(match[0] != "global", (int(match[1]), int(match[2])) if match[1] else None)

    def __str__(self) -> str:
        return ("local" if self.local else "global") + (f"/{self.grid[0]}x{self.grid[1]}" if self.grid else "")

    def of(self, described: Descriptors, height: int, width: int) -> "Tensor":
        """float32 [B, D], or [B, T, d] of local ones, of images of height x width pixels.

        Raises DescriptorError where there are no local descriptors, or no grid of them as large as asked for.
        """
        if not self.local:
            return described.global_.float()
        if described.local is None:
            raise DescriptorError("the backbone has no local descriptors: take its global one, or another backbone")
        local = described.local.float()
        return local if self.grid is None else _averaged(local, grid_of(local.shape[1], height, width), self.grid)


def grid_of(tokens: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid that `tokens` make of an image of height x width pixels.

    A token stands for a square of some side, and what is left at the borders is dropped or padded. A square image has a
    square grid. Raises DescriptorError where no grid has so many tokens.
    """
    grids = [(rows, tokens // rows) for rows in range(1, tokens + 1) if tokens % rows == 0]
    fitting = [grid for grid in grids if _fits(*grid, height, width)]
    if not fitting:
        raise DescriptorError(
            f"{tokens} local descriptors of an image of {width} x {height} pixels are no grid: keep them as they are, "
            "without /HxW"
        )
    return min(fitting, key=lambda grid: abs(grid[0] * width - grid[1] * height))


def _fits(rows: int, columns: int, height: int, width: int) -> bool:
    """Whether squares of one side, rounded up or down at the borders, make rows and columns of the image."""
    if height == width:
        return rows == columns
    # side lies in (pixels / (n + 1), pixels / (n - 1)) on both axes
    least = max(height / (rows + 1), width / (columns + 1))
    most = min(pixels / (n - 1) if n > 1 else math.inf for pixels, n in ((height, rows), (width, columns)))
    return least < most


def _averaged(local: "Tensor", found: tuple[int, int], wanted: tuple[int, int]) -> "Tensor":
    from torch.nn.functional import adaptive_avg_pool2d

    if wanted[0] > found[0] or wanted[1] > found[1]:
        raise DescriptorError(
            f"the grid of local descriptors is {found[0]} x {found[1]}, which can't be averaged to {wanted[0]} x "
            f"{wanted[1]}: ask for a smaller one"
        )
    maps = local.transpose(1, 2).reshape(len(local), -1, *found)
    return adaptive_avg_pool2d(maps, wanted).flatten(2).transpose(1, 2)
