"""Descriptors on disk without the rows that cannot be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.unreadable import LeftOut
from bench.errors import DescriptorError
from bench.similarity import Similarity
from bench.vectors import Column, Vectors, open_vectors

#: Rows that are looked at together.
AT_ONCE = 4096


@dataclass(frozen=True)
class RowSubset:
    """Some rows of a column, in their order, as a column."""

    whole: Column
    rows: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.whole.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, asked: slice | NDArray[np.int64]) -> NDArray[Any]:
        return self.whole[self.rows[asked]]


@dataclass(frozen=True)
class Usable:
    """Descriptors [M, D], or local ones [M, T, d], that can be compared.

    vectors: all of them. rows: those that can be, rising. unusable: the others, row -> reason.
    """

    vectors: Vectors
    rows: NDArray[np.int64]
    unusable: Mapping[int, str]

    @classmethod
    def of(cls, vectors: Vectors, similarity: Similarity | None = None) -> "Usable":
        """Look at every row: it must be finite and, unless the similarity is an inner product, not zero.

        Raises:
            DescriptorError: No row can be compared, or as reading `vectors`.
        """
        zero_counts = similarity is None or similarity.norm != "none"
        unusable: dict[int, str] = {}
        for first in range(0, len(vectors), AT_ONCE):
            block = vectors[first : first + AT_ONCE]
            flat = block.reshape(len(block), -1)
            finite = np.isfinite(flat).all(axis=1)
            bad = ~finite | ~flat.any(axis=1) if zero_counts else ~finite
            for row in np.flatnonzero(bad).tolist():
                unusable[first + row] = f"row {first + row} is {'zero' if finite[row] else 'not finite'}"
        rows = np.setdiff1d(np.arange(len(vectors)), np.fromiter(unusable, np.int64, len(unusable)))
        if not len(rows):
            raise DescriptorError(f"none of {len(vectors):,} rows can be compared: {unusable[0]}")
        return cls(vectors, rows, unusable)

    @cached_property
    def descriptors(self) -> Vectors | RowSubset:
        """The rows that can be compared; all of them as they are, where all can."""
        return RowSubset(self.vectors, self.rows) if self.unusable else self.vectors

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Names of rows of all vectors: their ids, or their numbers where they have none."""
        ids = self.vectors.ids
        return [str(row) for row in rows] if ids is None else [str(name) for name in ids[rows]]

    @property
    def left_out(self) -> LeftOut:
        """The rows that can't be compared, by name."""
        rows = np.fromiter(self.unusable, np.int64, len(self.unusable))
        return LeftOut(dict(zip(self.names(rows), self.unusable.values(), strict=True)))


def reopened(spec: str, rows: NDArray[np.int64] | None) -> Vectors | RowSubset:
    """Open descriptors that were looked at before: some of their rows, None for all."""
    vectors = open_vectors(spec, verify=False)
    return vectors if rows is None else RowSubset(vectors, rows)
