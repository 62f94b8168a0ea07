"""Gaussian discs in integers: what a point adds to the pixels around it.

A brush is a table, made once for a radius: a disc for each of 4 × 4 places of the point within its
pixel, so that a slow zoom does not jump from pixel to pixel. Painting is one multiplication and one
shift an entry and a sum, all in uint32. Sums of integers do not depend on their order, so every
backend that follows this gets the same fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

ONE: Final = 65536
"""A unit of energy in the integer fields."""
SHARE_BITS: Final = 12
"""Of the table's fractions: energies below 2**20, sixteen units, cannot overflow."""

_PLACES: Final = 4
_MOST: Final = 1 << 16
"""Entries painted in one go: what they need stays in a cache of a megabyte; four times as many take
four times as long each."""

Energy: TypeAlias = npt.NDArray[np.uint32]
Whole: TypeAlias = npt.NDArray[np.int32]
Floats: TypeAlias = npt.NDArray[np.float64]


class Brush(NamedTuple):
    """``share`` of shape (16, n) in units of 2**-12, by place (down × 4 + across), of the n pixels
    at (``across``, ``down``) from the point's; none is further away than ``reach``."""

    reach: int
    across: Whole
    down: Whole
    share: Energy


class Stamps(NamedTuple):
    """Where a brush is put: pixel, ``place`` within the pixel (0 to 15) and energy, of each."""

    brush: Brush
    column: Whole
    row: Whole
    place: Whole
    energy: Energy

    def part(self, some: slice) -> Stamps:
        """Some of them."""
        return Stamps(
            self.brush, self.column[some], self.row[some], self.place[some], self.energy[some]
        )


@lru_cache(maxsize=64)
def disc(radius: float) -> Brush:
    """A Gaussian of standard deviation *radius* pixels, cut off at three of them."""
    reach = max(1, int(np.ceil(3 * radius)))
    steps = np.arange(-reach, reach + 1, dtype=np.int32)
    down, across = (part.ravel() for part in np.meshgrid(steps, steps, indexing="ij"))
    round_ = across**2 + down**2 <= (reach + 0.5) ** 2
    across, down = across[round_], down[round_]
    places = (np.arange(_PLACES) + 0.5) / _PLACES - 0.5
    y, x = (part.reshape(-1, 1) for part in np.meshgrid(places, places, indexing="ij"))
    share = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * radius**2))
    return Brush(reach, across, down, np.rint(share * (1 << SHARE_BITS)).astype(np.uint32))


def stamps(x: Floats, y: Floats, energy: Energy, brush: Brush) -> Stamps:
    """*energy* around each point (x, y), in pixels; at most 16 units each."""
    left, top = np.floor(x), np.floor(y)
    place = np.floor((y - top) * _PLACES) * _PLACES + np.floor((x - left) * _PLACES)
    column, row, place = (part.astype(np.int32) for part in (left, top, place))
    return Stamps(brush, column, row, place, energy)


def paint(field: Energy, stamped: Stamps) -> None:
    """Add the discs to *field*; what falls outside is left out."""
    for some in _portions(len(stamped.column), stamped.brush):
        _paint(field, stamped.part(some))


def _portions(count: int, brush: Brush) -> Iterator[slice]:
    step = max(1, _MOST // len(brush.across))
    for first in range(0, count, step):
        yield slice(first, first + step)


def _paint(field: Energy, stamped: Stamps) -> None:
    brush, rows, columns = stamped.brush, *field.shape
    value = stamped.energy[:, None] * brush.share[stamped.place]
    value >>= np.uint32(SHARE_BITS)
    flat = (stamped.row.astype(np.int64) * columns + stamped.column)[:, None] + (
        brush.down * columns + brush.across
    )
    reach = brush.reach
    within = (
        (stamped.column >= reach)
        & (stamped.column < columns - reach)
        & (stamped.row >= reach)
        & (stamped.row < rows - reach)
    )
    if not within.all():
        column = stamped.column[:, None] + brush.across
        row = stamped.row[:, None] + brush.down
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        flat, value = flat[inside], value[inside]
    np.add.at(field.reshape(-1), flat.ravel(), value.ravel())
