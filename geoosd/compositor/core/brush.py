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

_PLACES: Final = 4
_BITS: Final = 12
"""Of the table's fractions: energies below 2**20, sixteen units, cannot overflow."""
_MOST: Final = 1 << 18
"""Entries painted in one go."""

Energy: TypeAlias = npt.NDArray[np.uint32]
Floats: TypeAlias = npt.NDArray[np.float64]


class Brush(NamedTuple):
    """``share`` of shape (16, n) in units of 2**-12, by place (down × 4 + across), of the n pixels
    at (``across``, ``down``) from the point's; none is further away than ``reach``."""

    reach: int
    across: npt.NDArray[np.int64]
    down: npt.NDArray[np.int64]
    share: Energy


@lru_cache(maxsize=64)
def disc(radius: float) -> Brush:
    """A Gaussian of standard deviation *radius* pixels, cut off at three of them."""
    reach = max(1, int(np.ceil(3 * radius)))
    steps = np.arange(-reach, reach + 1)
    down, across = (part.ravel() for part in np.meshgrid(steps, steps, indexing="ij"))
    round_ = across**2 + down**2 <= (reach + 0.5) ** 2
    across, down = across[round_], down[round_]
    places = (np.arange(_PLACES) + 0.5) / _PLACES - 0.5
    y, x = (part.reshape(-1, 1) for part in np.meshgrid(places, places, indexing="ij"))
    share = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * radius**2))
    return Brush(reach, across, down, np.rint(share * (1 << _BITS)).astype(np.uint32))


def paint(field: Energy, x: Floats, y: Floats, level: Floats, brush: Brush) -> None:
    """Add *level* units of energy, 0 to 16, around each point (x, y), in pixels of *field*.

    What falls outside is left out.
    """
    for some in _portions(len(x), brush):
        _paint(field, x[some], y[some], level[some], brush)


def _portions(count: int, brush: Brush) -> Iterator[slice]:
    step = max(1, _MOST // len(brush.across))
    for first in range(0, count, step):
        yield slice(first, first + step)


def _paint(field: Energy, x: Floats, y: Floats, level: Floats, brush: Brush) -> None:
    rows, columns = field.shape
    left, top = np.floor(x), np.floor(y)
    place = np.floor((y - top) * _PLACES) * _PLACES + np.floor((x - left) * _PLACES)
    energy = np.rint(level * ONE).astype(np.uint32)
    value = energy[:, None] * brush.share[place.astype(np.intp)] >> np.uint32(_BITS)
    column = left.astype(np.int64)[:, None] + brush.across
    row = top.astype(np.int64)[:, None] + brush.down
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    flat = row * columns + column
    if not inside.all():
        flat, value = flat[inside], value[inside]
    np.add.at(field.reshape(-1), flat.ravel(), value.ravel())
