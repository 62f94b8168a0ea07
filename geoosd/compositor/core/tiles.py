"""Live tiles: squares of the picture that something reaches; only these are composed.

Time follows what is alive: with no live tile there is no work beyond the background.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

TILE: Final = 64
"""Pixels along one side; blocks of this height also halve the time of composing."""

Mask: TypeAlias = npt.NDArray[np.bool_]


class LiveTiles:
    """The tiles of a *width* × *height* picture; the last ones may reach beyond its edge."""

    def __init__(self, width: int, height: int) -> None:
        self.mask: Mask = np.zeros((-(-height // TILE), -(-width // TILE)), np.bool_)

    def touch(self, x: npt.NDArray[Any], y: npt.NDArray[Any], reach: int) -> None:
        """Mark the tiles within *reach* pixels of the points (x, y), which may lie outside."""
        if len(x) == 0:
            return
        rows, columns = self.mask.shape
        for step_y in range(-reach, reach + TILE, TILE):
            row = (y + min(step_y, reach)) // TILE
            for step_x in range(-reach, reach + TILE, TILE):
                column = (x + min(step_x, reach)) // TILE
                inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
                self.mask[row[inside].astype(np.intp), column[inside].astype(np.intp)] = True

    def count(self) -> int:
        """How many tiles are live."""
        return int(self.mask.sum())

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Tile row, first tile column and the one behind the last, for each run of live tiles."""
        for row in np.flatnonzero(self.mask.any(axis=1)).tolist():
            edges = np.diff(self.mask[row].astype(np.int8), prepend=0, append=0)
            begins, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
            for first, end in zip(begins.tolist(), ends.tolist(), strict=True):
                yield row, first, end
