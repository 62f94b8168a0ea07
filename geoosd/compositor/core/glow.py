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


def levels(near: Energy, far: Energy, scale: int) -> Levels | None:
    """Levels of the glow in a block of tiles; None where there is none.

    *near* and *far* are the cells of the block with their margins; *scale* is of 65536.
    """
    if not (near.any() or far.any()):
        return None
    # A margin of one cell remains of the four that the enlarged margin of one has become.
    energy = near + enlarged(np.minimum(far, np.uint32(FAR_MOST)))[3:-3, 3:-3]
    return enlarged((softened(scaled(energy, scale)) >> np.uint32(TO_LEVELS)).astype(np.uint16))


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


def enlarged(field: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A block without its margin of one cell, four times as large, linear between the cells.

    In eighths: a pixel's centre lies one or three eighths of a cell off the cell's own. Along the
    rows first, then down the columns: there whole rows of the large block are added at once.
    """
    wider = _taller(np.ascontiguousarray(field.T)).T
    return _taller(np.ascontiguousarray(wider))


def _taller(field: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Four rows for each but the first and the last."""
    triple, cell = field * 3, field[1:-1]
    double = cell + cell
    five = triple[1:-1] + double
    seven = five + double
    large = np.empty((len(cell), 4, field.shape[1]), field.dtype)
    np.add(five, triple[:-2], out=large[:, 0])
    np.add(seven, field[:-2], out=large[:, 1])
    np.add(seven, field[2:], out=large[:, 2])
    np.add(five, triple[2:], out=large[:, 3])
    large >>= 3
    return large.reshape(-1, field.shape[1])
