"""Vectors of any source as checked, normalised float32 rows, a block at a time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError, UsageError
from bench.similarity.spec import Similarity

if TYPE_CHECKING:
    from torch import Tensor


class Rows(Protocol):
    """Descriptors [M, D], or local ones [M, T, d], that may be larger than memory; a numpy array and a map are."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[np.generic]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.floating]: ...


Vectors: TypeAlias = "Rows | Tensor"

#: Dimensions of a panel that are multiplied with a whole block of rows before the next: they stay in the L2 cache.
SLICE = 2048
#: Norms whose squares float64 holds in full, and the longest of which no two have a product that float32 does not hold.
SHORTEST, LONGEST, LONGEST_AS_IT_IS = 1e-140, 1e140, 1e18


@dataclass(frozen=True)
class Shape:
    """How descriptors are cut: query chunks, database chunks, dimensions of each."""

    query_chunks: int
    database_chunks: int
    dimension: int

    def slices(self, similarity: Similarity) -> list["Slice"]:
        """What of the descriptors meets, one after the other."""
        q, x, d = self.query_chunks, self.database_chunks, self.dimension
        if similarity.cross:
            return [Slice(0, 0 if chunk else x * d, chunk * d, 0, x) for chunk in range(q)]
        at_once = max(1, SLICE // d)
        counts = [(c * d, min(at_once, q - c)) for c in range(0, q, at_once)]
        return [Slice(first, n * d, first, d, n) for first, n in counts]


class Slice(NamedTuple):
    """n chunks of the database, the dimensions first..first + width, or those of the slice before where width is 0.

    In the queries their counterparts begin at dimension `start`, `step` dimensions apart.
    """

    first: int
    width: int
    start: int
    step: int
    n: int


def shape_of(queries: Vectors, database: Vectors, similarity: Similarity) -> Shape:
    """How the descriptors are cut.

    Raises DescriptorError for what is empty, of another rank or dimension, or not of a floating type, and UsageError
    where the chunks do not divide the dimension or the tokens have no such grid.
    """
    x, q = (_chunks(v, role, similarity) for v, role in ((database, "database"), (queries, "queries")))
    if q[1] != x[1] or (q[0] != x[0] and not similarity.cross):
        told = [f"{d}" if n == 1 or similarity.chunks else f"{n} x {d}" for n, d in (q, x)]
        if similarity.chunks or not similarity.tokens:
            told = [str(n * d) for n, d in (q, x)]
        raise DescriptorError(f"queries have {told[0]} dimensions and the database {told[1]}: compare like with like")
    return Shape(q[0], x[0], q[1])


def _chunks(vectors: Vectors, role: str, similarity: Similarity) -> tuple[int, int]:
    """The number of chunks that a descriptor is cut into, and their dimension."""
    shape = tuple(vectors.shape)
    rank, form = (3, "[number, tokens, dimension]") if similarity.tokens else (2, "[number, dimension]")
    if len(shape) != rank or 0 in shape:
        rule = ", not empty" if 0 in shape else ""
        raise DescriptorError(f"the shape of the {role} is {shape}, but {similarity} compares {form}{rule}")
    if not _floating(vectors):
        raise DescriptorError(f"the type of the {role} is {vectors.dtype}: give floating-point descriptors")
    if similarity.tokens:
        return (shape[1] if similarity.grid is None else len(_cells(shape[1], similarity.grid))), shape[2]
    similarity.require_divides(shape[1])
    n = similarity.chunks or 1
    return n, shape[1] // n


def normalised(vectors: Vectors, similarity: Similarity, role: str = "database", first: int = 0) -> NDArray[np.float32]:
    """Vectors as float32, normalised as the similarity wants it, pooled if it has a grid.

    Where all products of two such arrays are wanted, `norm=none` compares them as they are.
    Raises DescriptorError, naming the row, from `first` on, where one is not finite, is longer or shorter than the
    limits above, or is zero but should have a direction.
    """
    from bench.similarity import kernels

    block = floats(vectors, 0, len(vectors))
    if similarity.grid is not None and block.shape[1] != similarity.grid[0] * similarity.grid[1]:
        block = _pooled(block, _cells(block.shape[1], similarity.grid))
    out = np.empty(block.shape, np.float32)
    rows = block.reshape(len(block), -1)
    kernels.scale(rows, _factors(block, similarity, role, first), 0, rows.shape[1], out.reshape(rows.shape))
    return out


def measured(
    vectors: NDArray[np.floating], similarity: Similarity, role: str, first: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A block of `floats` as float32 rows [n, E], and the factors [n, P] of E / P dimensions each that normalise them.

    Raises as `normalised` does.
    """
    if similarity.grid is not None or vectors.dtype == np.float64:
        rows = normalised(vectors, similarity, role, first)
        return rows.reshape(len(rows), -1), np.ones((len(rows), 1))
    return vectors.reshape(len(vectors), -1), _factors(vectors, similarity, role, first)


def _factors(vectors: NDArray[np.floating], similarity: Similarity, role: str, first: int) -> NDArray[np.float64]:
    from bench.similarity import kernels

    n_parts = 1
    if similarity.norm == "chunk":
        n_parts = vectors.shape[1] if similarity.tokens else similarity.chunks or 1
    squares = np.empty((len(vectors), n_parts))
    kernels.squared_norms(vectors.reshape(squares.size, -1), squares.reshape(-1))
    bad = _not_comparable(vectors, squares, similarity)
    if bad.any():
        row = int(np.argmax(bad))
        raise DescriptorError(f"row {first + row} of the {role} is {_reason(vectors[row], similarity)}")
    # a zero chunk of another row (ReLU features have them) stays zero: it is alike to nothing
    return np.ones_like(squares) if similarity.norm == "none" else 1 / np.sqrt(np.where(squares > 0, squares, 1))


def _not_comparable(
    vectors: NDArray[np.floating], squares: NDArray[np.float64], similarity: Similarity
) -> NDArray[np.bool_]:
    """Which rows [n] can't be, by the squared norms [n, P] of their parts."""
    of_rows = squares.sum(axis=1)
    longest = LONGEST_AS_IT_IS if similarity.norm == "none" else LONGEST
    bad: NDArray[np.bool_] = ~(of_rows <= longest**2)
    if similarity.norm == "none":
        return bad
    bad |= of_rows == 0
    if vectors.dtype == np.float64 and (short := squares < SHORTEST**2).any():
        bad |= (short & vectors.reshape(*squares.shape, -1).any(axis=2)).any(axis=1)
    return bad


def _reason(row: NDArray[np.floating], similarity: Similarity) -> str:
    """Why a row can't be compared."""
    if not np.isfinite(row).all():
        return "not finite: it has no similarity to anything"
    if not row.any():
        return "zero: it has no similarity to anything"
    largest = float(np.abs(row).max())
    norm = largest * float(np.linalg.norm(row / largest))  # whose squares would not fit
    if similarity.norm == "none":
        what = f"too long for inner products in float32 (its norm is {norm:.3g}, at most {LONGEST_AS_IT_IS:g})"
    elif norm > LONGEST:
        what = f"too long to be normalised (its norm is {norm:.3g}, at most {LONGEST:g})"
    else:
        what = f"too short to be normalised (the norm of it or of a chunk is under {SHORTEST:g})"
    return f"{what}: scale it"


def on_accelerator(vectors: Vectors) -> TypeGuard["Tensor"]:
    """Whether it is a tensor that torch keeps elsewhere than in the host's memory."""
    return not isinstance(vectors.dtype, np.dtype) and vectors.device.type != "cpu"


def _floating(vectors: Vectors) -> bool:
    if isinstance(vectors.dtype, np.dtype):
        return np.issubdtype(vectors.dtype, np.floating)
    return bool(vectors.dtype.is_floating_point)


def floats(vectors: Vectors, first: int, last: int) -> NDArray[np.floating]:
    """The rows first..last as contiguous float32 or float64."""
    block = vectors[first:last]
    if not isinstance(block, np.ndarray):
        tensor = block.detach().cpu()
        block = (tensor if tensor.element_size() == 8 else tensor.float()).numpy()
    return np.ascontiguousarray(block, np.float64 if block.dtype.itemsize >= 8 else np.float32)


def in_place(vectors: Vectors) -> bool:
    """Whether `floats` takes the rows from where they are, without a copy."""
    if isinstance(vectors, np.ndarray):
        return vectors.dtype == np.float32 and vectors.flags.c_contiguous
    return str(vectors.dtype) == "torch.float32" and not on_accelerator(vectors)


def _pooled(block: NDArray[np.floating], cells: NDArray[np.bool_]) -> NDArray[np.floating]:
    """The means [n, H * W, d] of the tokens [n, T, d] of each cell, exactly 0 where these cancel out."""
    counts = cells.sum(axis=1)[:, None]
    share = np.exp2(-np.ceil(np.log2(counts)))  # a power of 2, which rounds nothing and keeps sums in range
    sums = (cells * share).astype(block.dtype) @ block
    return np.ascontiguousarray(sums / (counts * share).astype(block.dtype))


def _cells(n_tokens: int, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Which tokens, of a square of them, are in each cell of a grid [H * W, T]."""
    if n_tokens == grid[0] * grid[1]:
        return np.eye(n_tokens, dtype=bool)
    side = round(n_tokens**0.5)
    if side * side != n_tokens or max(grid) > side:
        raise UsageError(
            f"{n_tokens} tokens have no grid that can be averaged to {grid[0]}x{grid[1]}: "
            "choose a smaller one, or none where the tokens are no square"
        )
    down, across = (np.array([_span(place, cells, side) for place in range(cells)]) for cells in (grid[0], grid[1]))
    return np.kron(down, across)


def _span(place: int, cells: int, side: int) -> NDArray[np.bool_]:
    """Which of `side` positions are in a cell: as `adaptive_avg_pool2d` of torch has it."""
    inside = np.zeros(side, bool)
    inside[place * side // cells : -(-(place + 1) * side // cells)] = True
    return inside
