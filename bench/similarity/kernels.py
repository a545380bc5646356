"""Products of query panels with database rows, compiled: the loops that every search shares.

A tile is LANES queries wide and ROWS database rows high. Its sums live in vector registers: each element is one chain
of fused multiply-adds in float32 in the order of the dimensions, whatever tile, block or thread computes it. So equal
rows have equal scores wherever they stand. Of several chunks the registers keep the largest product.

The numeric types of the arguments are those named in `sweep`; nothing here checks them.
"""

# numba's decorators carry no types
# mypy: disable-error-code="untyped-decorator"

import math
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

_FEATURES = binding.get_host_cpu_features()
#: float32 in a vector register
WIDTH = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx2") else 4
VECTORS = 2
LANES = VECTORS * WIDTH
#: Database rows of a tile: its sums and the largest product beside them then fill the registers.
ROWS = 6
_UNROLL = 4
#: Dimensions of a panel that stay in the L1 cache.
_PACKED = 128
#: Bytes of a cache line.
_LINE = 64

_INT = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)


@intrinsic
def _tile(
    typingctx: Any, x: Any, x_at: Any, stride: Any, b: Any, b_at: Any, step: Any, n: Any, d: Any,
    limits: Any, limits_at: Any, state: Any, state_at: Any,
) -> Any:  # fmt: skip
    """Raises `state` [ROWS, LANES] to the products of n chunks; True where one of it is over its query's limit.

    Chunk c is x[x_at + row * stride + c * d :][:d] of each row, and b[b_at + c * step * LANES :] as [d, LANES].
    """
    i = types.int64
    signature = types.boolean(x, i, i, b, i, i, i, i, limits, i, state, i)

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        def pointer(array: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, given[array]).data
            return builder.gep(data, [given[array + 1]])

        x_from, b_from, limits_from, state_from = (pointer(array) for array in (0, 3, 8, 10))
        stride, step, n, d = given[2], given[5], given[6], given[7]
        emit = _Emitter(builder)
        rows = [builder.gep(x_from, [builder.mul(stride, emit.constant(r))]) for r in range(ROWS)]
        size = ROWS * VECTORS
        whole = builder.mul(builder.sdiv(d, emit.constant(_UNROLL)), emit.constant(_UNROLL))

        def steps(count: int, x_index: Any, b_index: Any, sums: list[Any]) -> list[Any]:
            for u in range(count):
                at = builder.add(x_index, emit.constant(u))
                lanes = builder.mul(builder.add(b_index, emit.constant(u)), emit.constant(LANES))
                columns = [emit.load(b_from, builder.add(lanes, emit.constant(g * WIDTH))) for g in range(VECTORS)]
                for r, row in enumerate(rows):
                    scalar = emit.broadcast(builder.load(builder.gep(row, [at])))
                    for g, column in enumerate(columns):
                        sums[r * VECTORS + g] = emit.fma(scalar, column, sums[r * VECTORS + g])
            return sums

        kept = [emit.load(state_from, emit.constant(v * WIDTH)) for v in range(size)]
        with emit.loop(emit.constant(0), n, 1, kept) as (c, best):
            sums = [ir.Constant(_VECTOR, [0.0] * WIDTH)] * size
            for first, last, by in ((emit.constant(0), whole, _UNROLL), (whole, d, 1)):
                with emit.loop(first, last, by, sums) as (k, carried):
                    x_index, b_index = (builder.add(builder.mul(c, size), k) for size in (d, step))
                    emit.again(steps(by, x_index, b_index, carried))
                sums = emit.results
            emit.again([emit.maximum(old, new) for old, new in zip(best, sums, strict=True)])
        over = None
        for v, value in enumerate(emit.results):
            emit.store(value, state_from, emit.constant(v * WIDTH))
            limit = emit.load(limits_from, emit.constant(v % VECTORS * WIDTH))
            larger = builder.fcmp_ordered(">", value, limit)
            over = larger if over is None else builder.or_(over, larger)
        bits = builder.bitcast(over, ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))

    return signature, codegen


class _Emitter:
    """What a tile's instructions are made of."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.results: list[Any] = []
        form = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, form, f"llvm.fma.v{WIDTH}f32")

    def constant(self, value: int) -> Any:
        return ir.Constant(_INT, value)

    def load(self, pointer: Any, offset: Any) -> Any:
        loaded = self.builder.load(self.builder.bitcast(self.builder.gep(pointer, [offset]), _VECTOR.as_pointer()))
        loaded.align = 4
        return loaded

    def store(self, value: Any, pointer: Any, offset: Any) -> None:
        target = self.builder.bitcast(self.builder.gep(pointer, [offset]), _VECTOR.as_pointer())
        self.builder.store(value, target).align = 4

    def broadcast(self, scalar: Any) -> Any:
        undefined, first = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return self.builder.shuffle_vector(self.builder.insert_element(undefined, scalar, first), undefined, mask)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self._fma, [a, b, c])

    def maximum(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def loop(self, first: Any, last: Any, by: int, carried: list[Any]) -> "_Loop":
        return _Loop(self, first, last, by, carried)

    def again(self, values: list[Any]) -> None:
        """What the loop that is open carries into its next round."""
        self.results = values


class _Loop:
    """`for k in range(first, last, by)` with carried vectors, which may run not at all."""

    def __init__(self, emit: _Emitter, first: Any, last: Any, by: int, carried: list[Any]) -> None:
        self._emit, self._first, self._last, self._by, self._given = emit, first, last, by, carried

    def __enter__(self) -> tuple[Any, list[Any]]:
        builder = self._emit.builder
        before = builder.block
        self._head, self._body, self._after = (builder.append_basic_block(n) for n in ("head", "body", "after"))
        builder.branch(self._head)
        builder.position_at_end(self._head)
        self._phis = [builder.phi(value.type) for value in (self._first, *self._given)]
        for phi, value in zip(self._phis, (self._first, *self._given), strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", self._phis[0], self._last), self._body, self._after)
        builder.position_at_end(self._body)
        return self._phis[0], list(self._phis[1:])

    def __exit__(self, *raised: object) -> None:
        builder = self._emit.builder
        following = builder.add(self._phis[0], self._emit.constant(self._by))
        for phi, value in zip(self._phis, (following, *self._emit.results), strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(self._head)
        builder.position_at_end(self._after)
        self._emit.results = list(self._phis[1:])


def zeros(*shape: int) -> NDArray[np.float32]:
    """Where no vector register's load or store touches two cache lines, which takes a fifth of a tile's time."""
    size = math.prod(shape)
    room = np.zeros(size + _LINE // 4, np.float32)
    first = -room.ctypes.data % _LINE // 4
    return room[first : first + size].reshape(shape)


@njit(nogil=True, cache=True)
def sweep(
    x: NDArray[np.float32], n_rows: int, panels: NDArray[np.float32], first: int, last: int, b_at: int, step: int,
    n: int, d: int, limits: NDArray[np.float32], state: NDArray[np.float32], over: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Raises `state` to the products of n chunks, and tells which groups of ROWS have one over its query's limit.

    x: [R, W], rows of which the first n_rows count, their chunks side by side. panels [P, D, LANES], from which
    first..last are taken: their chunks begin at dimension b_at, `step` dimensions apart. limits: [P, LANES].
    state [G, R, LANES] and over [G, R / ROWS] are of the panels taken.
    """
    rows, stride = x.shape
    size = panels.shape[1]
    for panel in range(first, last):
        for group in range((n_rows + ROWS - 1) // ROWS):
            at = group * ROWS
            over[panel - first, group] = _tile(
                x, at * stride, stride, panels, (panel * size + b_at) * LANES, step, n, d,
                limits, panel * LANES, state, ((panel - first) * rows + at) * LANES,
            )  # fmt: skip


@njit(nogil=True, cache=True)
def fill(state: NDArray[np.float32], n_rows: int, out: NDArray[np.float32]) -> None:
    """The state [G, R, LANES] of panels into out [N, n_rows], whose queries are theirs."""
    for query in range(len(out)):
        for row in range(n_rows):
            out[query, row] = state[query // LANES, row, query % LANES]


@njit(nogil=True, cache=True)
def keep_best(
    state: NDArray[np.float32], over: NDArray[np.bool_], first: int, last: int, n_rows: int, first_index: int,
    limits: NDArray[np.float32], scores: NDArray[np.float32], indices: NDArray[np.int64],
) -> None:  # fmt: skip
    """The first n_rows, whose indices follow all seen before, against the k best of each query of panels first..last.

    scores, indices [N, k]: heaps with the worst in front, -inf where there is none yet; limits: the worst of each.
    """
    for panel in range(first, last):
        for group in range((n_rows + ROWS - 1) // ROWS):
            if over[panel - first, group]:
                for row in range(group * ROWS, min(group * ROWS + ROWS, n_rows)):
                    for lane in range(LANES):
                        # a later row that ties with the worst has the higher index and loses
                        if state[panel - first, row, lane] > limits[panel, lane]:
                            query = panel * LANES + lane
                            score = state[panel - first, row, lane]
                            _put(scores[query], indices[query], 0, score, first_index + row)
                            limits[panel, lane] = scores[query, 0]


@njit(nogil=True, cache=True)
def _put(scores: NDArray[np.float32], indices: NDArray[np.int64], place: int, score: float, index: int) -> None:
    """A better pair takes the place of one in a heap whose front is the worst."""
    k = len(scores)
    while 2 * place + 1 < k:
        child = 2 * place + 1
        if child + 1 < k and _worse(scores[child + 1], indices[child + 1], scores[child], indices[child]):
            child += 1
        if not _worse(scores[child], indices[child], score, index):
            break
        scores[place], indices[place] = scores[child], indices[child]
        place = child
    scores[place], indices[place] = score, index


@njit(nogil=True, cache=True)
def _worse(score: float, index: int, other: float, other_index: int) -> bool:
    return score < other or (score == other and index > other_index)


@njit(nogil=True, cache=True)
def keep_over(
    state: NDArray[np.float32], over: NDArray[np.bool_], first: int, last: int, n_rows: int,
    limits: NDArray[np.float32], scores: NDArray[np.float32], pairs: NDArray[np.int64],
) -> int:  # fmt: skip
    """Pairs over the limits: how many, and as many as there is room for with their score, (query, row) in `pairs`."""
    n = 0
    for panel in range(first, last):
        for group in range((n_rows + ROWS - 1) // ROWS):
            if over[panel - first, group]:
                for row in range(group * ROWS, min(group * ROWS + ROWS, n_rows)):
                    for lane in range(LANES):
                        if state[panel - first, row, lane] > limits[panel, lane]:
                            if n < len(scores):
                                scores[n] = state[panel - first, row, lane]
                                pairs[n, 0], pairs[n, 1] = panel * LANES + lane, row
                            n += 1
    return n


@njit(nogil=True, cache=True)
def count(
    state: NDArray[np.float32], n_queries: int, n_rows: int, edges: NDArray[np.float64], counts: NDArray[np.int64]
) -> None:
    """Adds to counts [B] the pairs between equidistant edges [B + 1]; the outermost bins take what is beyond them."""
    last = len(counts) - 1
    per_unit = len(counts) / (edges[-1] - edges[0])
    for panel in range((n_queries + LANES - 1) // LANES):
        for row in range(n_rows):
            for lane in range(min(LANES, n_queries - panel * LANES)):
                score = np.float64(state[panel, row, lane])
                place = min(max(int((score - edges[0]) * per_unit), 0), last)
                # the product above may be off by one where a score is next to an edge
                if place < last and score >= edges[place + 1]:
                    place += 1
                elif place > 0 and score < edges[place]:
                    place -= 1
                counts[place] += 1


# the order of a sum's terms is the compiler's, and the same for all rows of a length
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def squared_norms(vectors: NDArray[np.floating], out: NDArray[np.float64]) -> None:
    """Of each of vectors [n, d], summed in float64."""
    for row in range(vectors.shape[0]):
        total = 0.0
        for i in range(vectors.shape[1]):
            total += np.float64(vectors[row, i]) * np.float64(vectors[row, i])
        out[row] = total


@njit(nogil=True, cache=True)
def scale(
    vectors: NDArray[np.floating], factors: NDArray[np.float64], first: int, width: int, out: NDArray[np.float32]
) -> None:
    """The columns first..first + width of vectors [n, E] times the factors [n, P] of their E / P dimensions each.

    In float64, rounded to float32, into the first columns of out [n or more, width or more].
    """
    of_factor = vectors.shape[1] // factors.shape[1]
    at_once = min(of_factor, width)
    for row in range(vectors.shape[0]):
        for begin in range(first, first + width, at_once):
            factor = factors[row, begin // of_factor]
            # views, since an index that may be negative keeps a loop out of vector registers
            given, made = vectors[row, begin : begin + at_once], out[row, begin - first : begin - first + at_once]
            for i in range(at_once):
                made[i] = given[i] * factor


@njit(nogil=True, cache=True)
def pack(vectors: NDArray[np.floating], factors: NDArray[np.float64], panel: NDArray[np.float32]) -> None:
    """As `scale`, all columns of vectors [n, E] into the first lanes of a panel [E, LANES]; the others stay."""
    of_factor = vectors.shape[1] // factors.shape[1]
    for part in range(factors.shape[1]):
        end = (part + 1) * of_factor
        for begin in range(part * of_factor, end, _PACKED):  # a long panel is written once, not for every row again
            for row in range(len(vectors)):
                factor = factors[row, part]
                for i in range(begin, min(begin + _PACKED, end)):
                    panel[i, row] = vectors[row, i] * factor
