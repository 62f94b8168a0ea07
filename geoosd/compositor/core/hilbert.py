"""The Hilbert curve: index ↔ cell, for one token and for whole arrays, orders 1 to 31.

D. Hilbert, "Über die stetige Abbildung einer Linie auf ein Flächenstück", Math. Ann. 38 (1891),
in the classical orientation: x to the right, y down, index 0 at (0, 0), and an odd order ends at
(2**order - 1, 0). A cell's index is found from the top level down by a machine of four states
(swap the axes or not, mirror both or not); :func:`_step` is one level of it. Four levels at a time
are tabulated, which is what makes the arrays fast. ``web/core/hilbert.js`` is its twin.

**Growing.** The curve of order n is the first quarter of the curve of order n + 1, but transposed;
two orders further up the transpositions cancel. So a map that grows by two orders at a time keeps
every index at its cell: outer curves have even orders only (:func:`even_order`).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

MAX_ORDER: Final = 31
"""Indices stay below 2**62: exact in a signed 64-bit integer."""

UInts: TypeAlias = npt.NDArray[np.uint64]

_LEVELS: Final = 4
_SWAP: Final = 1
_MIRROR: Final = 2
_STATE_SHIFT: Final = 8


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
    """Four levels at once, by state << 8 | bits: next state << 8 | result.

    The first goes from x << 4 | y to index digits, the second back.
    """
    to_index = [0] * 1024
    to_cell = [0] * 1024
    for begin in range(4):
        for bits in range(256):
            state, index = begin, 0
            for level in (3, 2, 1, 0):
                right, down = bits >> (4 + level) & 1, bits >> level & 1
                state, quadrant = _step(state, right, down)
                index = index << 2 | quadrant
            to_index[begin << _STATE_SHIFT | bits] = state << _STATE_SHIFT | index
            to_cell[begin << _STATE_SHIFT | index] = state << _STATE_SHIFT | bits
    return to_index, to_cell


_TO_INDEX, _TO_CELL = _tables()
_TO_INDEX_ARRAY: Final = np.array(_TO_INDEX, np.uint64)
_TO_CELL_ARRAY: Final = np.array(_TO_CELL, np.uint64)


def _begin(order: int) -> tuple[int, int]:
    """State and number of table steps: empty levels above *order* only swap the axes each."""
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"cannot use order {order}: it is not in 1 to {MAX_ORDER}")
    steps = -(-order // _LEVELS)
    return (steps * _LEVELS - order & 1) << _STATE_SHIFT, steps


def cell_at(index: int, order: int) -> tuple[int, int]:
    """Column and row of the cell with *index* in [0, 4**order). Raises ValueError outside."""
    state, steps = _begin(order)
    if not 0 <= index < 1 << 2 * order:
        raise ValueError(f"cannot place index {index}: order {order} has {1 << 2 * order} cells")
    x = y = 0
    for shift in range((steps - 1) * 8, -1, -8):
        entry = _TO_CELL[state | (index >> shift & 255)]
        x = x << 4 | (entry >> 4 & 15)
        y = y << 4 | (entry & 15)
        state = entry & 0x300
    return x, y


def index_of(x: int, y: int, order: int) -> int:
    """Index of the cell in column *x* and row *y*, each in [0, 2**order). Raises ValueError."""
    state, steps = _begin(order)
    if not (0 <= x < 1 << order and 0 <= y < 1 << order):
        raise ValueError(f"cannot index cell ({x}, {y}): order {order} has sides of {1 << order}")
    index = 0
    for shift in range((steps - 1) * 4, -1, -4):
        entry = _TO_INDEX[state | (x >> shift & 15) << 4 | (y >> shift & 15)]
        index = index << 8 | (entry & 255)
        state = entry & 0x300
    return index


def cells_at(indices: npt.NDArray[Any], order: int) -> tuple[UInts, UInts]:
    """:func:`cell_at` of an integer array; two uint64 arrays of its shape. Bounds are not checked:
    higher bits than ``2 * order`` are ignored."""
    first, steps = _begin(order)
    index = indices.astype(np.uint64) & np.uint64((1 << 2 * order) - 1)
    state = np.full(index.shape, first, np.uint64)
    x, y = np.zeros_like(index), np.zeros_like(index)
    for shift in range((steps - 1) * 8, -1, -8):
        digits = index >> np.uint64(shift) & np.uint64(255)
        entry = np.take(_TO_CELL_ARRAY, (state | digits).astype(np.intp), mode="clip")
        x = x << np.uint64(4) | (entry >> np.uint64(4) & np.uint64(15))
        y = y << np.uint64(4) | (entry & np.uint64(15))
        state = entry & np.uint64(0x300)
    return x, y


def indices_of(x: npt.NDArray[Any], y: npt.NDArray[Any], order: int) -> UInts:
    """:func:`index_of` of integer arrays of one shape; bounds are not checked as above."""
    first, steps = _begin(order)
    side = np.uint64((1 << order) - 1)
    columns, rows = x.astype(np.uint64) & side, y.astype(np.uint64) & side
    state = np.full(columns.shape, first, np.uint64)
    index = np.zeros_like(columns)
    for shift in range((steps - 1) * 4, -1, -4):
        right = (columns >> np.uint64(shift) & np.uint64(15)) << np.uint64(4)
        down = rows >> np.uint64(shift) & np.uint64(15)
        entry = np.take(_TO_INDEX_ARRAY, (state | right | down).astype(np.intp), mode="clip")
        index = index << np.uint64(8) | (entry & np.uint64(255))
        state = entry & np.uint64(0x300)
    return index


def even_order(count: int) -> int:
    """The smallest even order whose curve has at least *count* cells; at least 2."""
    order = 2
    while 1 << 2 * order < count:
        order += 2
    return order
