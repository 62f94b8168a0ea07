"""The Hilbert curve: index ↔ cell, for one token and for whole arrays, orders 1 to 31.

D. Hilbert, "Über die stetige Abbildung einer Linie auf ein Flächenstück", Math. Ann. 38 (1891),
in the classical orientation: x to the right, y down, index 0 at (0, 0), and an odd order ends at
(2**order - 1, 0). A cell's index is found from the top level down by a machine of four states
(swap the axes or not, mirror both or not); :func:`_step` is one level of it. Five levels at a time
are tabulated, which is what makes the arrays fast: a district (order 10) takes two steps through
tables of 32 KiB, which fit a core's first cache. ``web/core/hilbert.js`` and
``adapters/hilbert.wgsl`` are its twins.

**Growing.** The curve of order n is the first quarter of the curve of order n + 1, but transposed;
two orders further up the transpositions cancel. So a map that grows by two orders at a time keeps
every index at its cell: outer curves have even orders only (:func:`even_order`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

MAX_ORDER: Final = 31
"""Indices stay below 2**62: exact in a signed 64-bit integer."""

UInts: TypeAlias = npt.NDArray[np.uint64]
_Ints: TypeAlias = npt.NDArray[np.int64]

_LEVELS: Final = 5
_SWAP: Final = 1
_MIRROR: Final = 2
_DIGITS: Final = (1 << 2 * _LEVELS) - 1
_ROW: Final = (1 << _LEVELS) - 1
_COLUMN: Final = _ROW << _LEVELS
_STATE: Final = 3 << 2 * _LEVELS
"""The parts of a table entry: below the state either index digits, or column above row."""

_BLOCK: Final = 8192
"""Points in one go: the arrays in between stay in a core's second cache."""


def _step(state: int, right: int, down: int) -> tuple[int, int]:
    """One level: the next state, and which of the four quadrants on the curve (0 to 3) this is."""
    mirrored = state >> 1
    a, b = right ^ mirrored, down ^ mirrored
    if state & _SWAP:
        a, b = b, a
    if b == 0:
        state ^= _SWAP | (_MIRROR if a else 0)
    return state, (3 * a) ^ b


def _tables() -> tuple[list[int], list[int]]:
    """All levels of one step, by state and digits: next state and result.

    The first goes from column and row to index digits, the second back.
    """
    to_index = [0] * (_STATE + _DIGITS + 1)
    to_cell = [0] * (_STATE + _DIGITS + 1)
    for begin in range(4):
        for bits in range(_DIGITS + 1):
            state, index = begin, 0
            for level in reversed(range(_LEVELS)):
                right, down = bits >> (_LEVELS + level) & 1, bits >> level & 1
                state, quadrant = _step(state, right, down)
                index = index << 2 | quadrant
            to_index[begin << 2 * _LEVELS | bits] = state << 2 * _LEVELS | index
            to_cell[begin << 2 * _LEVELS | index] = state << 2 * _LEVELS | bits
    return to_index, to_cell


_TO_INDEX, _TO_CELL = _tables()

# For the arrays everything is int64, NumPy's own index type, so that nothing is ever converted.
# Their cells have the column 32 bits above the row: one shift moves both on.
_TO_INDEX_ARRAY: Final = np.array(_TO_INDEX, np.int64)
_TO_CELL_ARRAY: Final = np.array(
    [(entry & _COLUMN) >> _LEVELS << 32 | entry & ~_COLUMN for entry in _TO_CELL], np.int64
)
_CELL: Final = _ROW << 32 | _ROW


def _begin(order: int) -> tuple[int, int]:
    """First state and number of table steps: empty levels above *order* only swap the axes each."""
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"cannot use order {order}: it is not in 1 to {MAX_ORDER}")
    steps = -(-order // _LEVELS)
    return (steps * _LEVELS - order & 1) << 2 * _LEVELS, steps


def cell_at(index: int, order: int) -> tuple[int, int]:
    """Column and row of the cell with *index* in [0, 4**order). Raises ValueError outside."""
    state, steps = _begin(order)
    if not 0 <= index < 1 << 2 * order:
        raise ValueError(f"cannot place index {index}: order {order} has {1 << 2 * order} cells")
    x = y = 0
    for step in reversed(range(steps)):
        entry = _TO_CELL[state | index >> 2 * _LEVELS * step & _DIGITS]
        x = x << _LEVELS | (entry & _COLUMN) >> _LEVELS
        y = y << _LEVELS | entry & _ROW
        state = entry & _STATE
    return x, y


def index_of(x: int, y: int, order: int) -> int:
    """Index of the cell in column *x* and row *y*, each in [0, 2**order). Raises ValueError."""
    state, steps = _begin(order)
    if not (0 <= x < 1 << order and 0 <= y < 1 << order):
        raise ValueError(f"cannot index cell ({x}, {y}): order {order} has sides of {1 << order}")
    index = 0
    for shift in range((steps - 1) * _LEVELS, -1, -_LEVELS):
        digits = (x >> shift & _ROW) << _LEVELS | y >> shift & _ROW
        entry = _TO_INDEX[state | digits]
        index = index << 2 * _LEVELS | entry & _DIGITS
        state = entry & _STATE
    return index


def cells_at(indices: npt.NDArray[Any], order: int) -> tuple[UInts, UInts]:
    """:func:`cell_at` of an integer array; two uint64 arrays of its shape. Bounds are not checked:
    higher bits than ``2 * order`` are ignored."""
    begin = _begin(order)
    index = _as_int64(indices)
    x, y = np.empty_like(index), np.empty_like(index)
    for part in _blocks(index.size):
        _cells(index[part], x[part], y[part], order, *begin)
    return _as_given(x, indices), _as_given(y, indices)


def indices_of(x: npt.NDArray[Any], y: npt.NDArray[Any], order: int) -> UInts:
    """:func:`index_of` of integer arrays of one shape; bounds are not checked as above."""
    begin = _begin(order)
    columns, rows = _as_int64(x), _as_int64(y)
    index = np.empty_like(columns)
    for part in _blocks(index.size):
        _indices(columns[part], rows[part], index[part], order, *begin)
    return _as_given(index, x)


def _as_int64(values: npt.NDArray[Any]) -> _Ints:
    """The low 64 bits, in one row; without a copy where the type allows it."""
    flat: npt.NDArray[Any] = values.ravel() if values.ndim != 1 else values
    return flat.view(np.int64) if flat.dtype == np.uint64 else flat.astype(np.int64, copy=False)


def _as_given(values: _Ints, like: npt.NDArray[Any]) -> UInts:
    return values.view(np.uint64).reshape(like.shape)


def _blocks(size: int) -> Iterator[slice]:
    for first in range(0, size, _BLOCK):
        yield slice(first, first + _BLOCK)


def _cells(index: _Ints, x: _Ints, y: _Ints, order: int, state: int, steps: int) -> None:
    """One block; the result goes into *x* and *y*."""
    top = 2 * _LEVELS * (steps - 1)
    digits = index >> top
    digits &= (1 << 2 * order - top) - 1
    # The first state is the same for all: its part of the table is all that is looked into.
    entry = np.take(_TO_CELL_ARRAY[state:], digits, mode="clip")
    cell = entry & _CELL
    for shift in range(top - 2 * _LEVELS, -1, -2 * _LEVELS):
        np.right_shift(index, shift, out=digits)
        digits &= _DIGITS
        entry &= _STATE
        digits |= entry
        np.take(_TO_CELL_ARRAY, digits, out=entry, mode="clip")
        cell <<= _LEVELS
        np.bitwise_and(entry, _CELL, out=digits)
        cell |= digits
    np.right_shift(cell, 32, out=x)
    np.bitwise_and(cell, 0xFFFFFFFF, out=y)


def _indices(x: _Ints, y: _Ints, index: _Ints, order: int, state: int, steps: int) -> None:
    """One block; the result goes into *index*."""
    top = _LEVELS * (steps - 1)
    first = (1 << order - top) - 1
    wide = x << _LEVELS
    digits = wide >> top
    digits &= first << _LEVELS
    entry = y >> top
    entry &= first
    digits |= entry
    np.take(_TO_INDEX_ARRAY[state:], digits, out=entry, mode="clip")
    np.bitwise_and(entry, _DIGITS, out=index)
    for shift in range(top - _LEVELS, -1, -_LEVELS):
        np.right_shift(wide, shift, out=digits)
        digits &= _COLUMN
        entry &= _STATE
        digits |= entry
        np.right_shift(y, shift, out=entry)
        entry &= _ROW
        digits |= entry
        np.take(_TO_INDEX_ARRAY, digits, out=entry, mode="clip")
        index <<= 2 * _LEVELS
        np.bitwise_and(entry, _DIGITS, out=digits)
        index |= digits


def even_order(count: int) -> int:
    """The smallest even order whose curve has at least *count* cells; at least 2."""
    order = 2
    while 1 << 2 * order < count:
        order += 2
    return order
