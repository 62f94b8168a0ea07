"""The glow around stars: from two coarse fields of energy to levels at full resolution.

The near field has a quarter of the resolution and a margin of one cell, the far one a sixteenth and
a margin of two, so that every tile has neighbours to interpolate with. All of it is integers.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core.brush import ONE, Energy

NEAR_CELL: Final = 4
FAR_CELL: Final = 16
NEAR_MARGIN: Final = 1
FAR_MARGIN: Final = 2
LIMIT: Final = ONE * 9 // 10
TO_LEVELS: Final = 6
"""65536 units of energy are 1024 levels."""
FAR_MOST: Final = 1 << 28
"""Keeps seven times the far glow, and its sum with the near one, within 32 bits."""

Levels: TypeAlias = npt.NDArray[np.uint16]


def across(near: Energy, far: Energy, scale: int) -> Levels | None:
    """Levels of the glow in a block of tiles, of every pixel along the rows but of one row in four;
    with a margin of one row. None where there is no glow.

    *near* and *far* are the cells of the block with their margins; *scale* is of 65536.
    """
    if not (near.any() or far.any()):
        return None
    # A margin of one cell remains of the four that the enlarged margin of one has become.
    energy = near + taller(wider(np.minimum(far, np.uint32(FAR_MOST))))[3:-3, 3:-3]
    soft = softened(scaled(energy, scale)) >> np.uint32(TO_LEVELS)
    return wider(soft.astype(np.uint16))


def scaled(field: Energy, scale: int) -> Energy:
    """*field* times *scale* / 65536, rounded down: the product of 32 and 17 bits is exact."""
    if scale == ONE:
        return field
    return np.multiply(field, scale / ONE, dtype=np.float64).astype(np.uint32)


def softened(field: Energy) -> Energy:
    """Glow that approaches :data:`LIMIT` where much of it meets, so that stars show still.

    x · L // (x + L), written as L - ceil(L² / (x + L)) so that 32 bits are enough.
    """
    most = np.uint32(LIMIT)
    return most - np.uint32(1) - np.uint32(LIMIT * LIMIT - 1) // (field + most)


def wider(field: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As :func:`taller`, along the rows."""
    return np.ascontiguousarray(taller(np.ascontiguousarray(field.T)).T)


def taller(field: npt.NDArray[Any], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    """Four rows for each but the first and the last, linear between the cells; into *out* if given.

    In eighths: a pixel's centre lies one or three eighths of a cell off the cell's own.
    """
    triple, cell = field * 3, field[1:-1]
    double = cell + cell
    five = triple[1:-1] + double
    seven = five + double
    if out is None:
        out = np.empty((4 * len(cell), field.shape[1]), field.dtype)
    large = out.reshape(len(cell), 4, -1)
    np.add(five, triple[:-2], out=large[:, 0])
    np.add(seven, field[:-2], out=large[:, 1])
    np.add(seven, field[2:], out=large[:, 2])
    np.add(five, triple[2:], out=large[:, 3])
    out >>= 3
    return out
