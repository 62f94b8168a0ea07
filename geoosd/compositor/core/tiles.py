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
Indices: TypeAlias = npt.NDArray[np.intp]


class LiveTiles:
    """The tiles of a *width* × *height* picture; the last ones may reach beyond its edge."""

    def __init__(self, width: int, height: int) -> None:
        self.mask: Mask = np.zeros((-(-height // TILE), -(-width // TILE)), np.bool_)

    def touch(self, x: npt.NDArray[Any], y: npt.NDArray[Any], reach: int) -> None:
        """Mark the tiles within *reach* pixels of the points (x, y), which may lie outside."""
        if len(x) == 0:
            return
        rows, columns = self.mask.shape
        first_row, end_row = _range(y, reach, rows)
        first, end = _range(x, reach, columns)
        # Corners of rectangles of tiles: their running sums, both ways, count what covers a tile.
        wide = columns + 1

        def corners(row: Indices, column: Indices) -> Indices:
            return np.bincount(row * wide + column, minlength=(rows + 1) * wide)

        counts = corners(first_row, first) + corners(end_row, end)
        counts -= corners(first_row, end) + corners(end_row, first)
        covered = counts.reshape(rows + 1, wide).cumsum(axis=0).cumsum(axis=1)
        self.mask |= covered[:-1, :-1] > 0

    def count(self) -> int:
        """How many tiles are live."""
        return int(self.mask.sum())

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Tile row, first tile column and the one behind the last, for each run of live tiles."""
        rows, columns = self.mask.shape
        padded = np.zeros((rows, columns + 2), np.int8)
        padded[:, 1:-1] = self.mask
        edges = np.diff(padded, axis=1)
        row, first = np.nonzero(edges > 0)
        _, end = np.nonzero(edges < 0)
        yield from zip(row.tolist(), first.tolist(), end.tolist(), strict=True)

    def blocks(self, most: int) -> Iterator[tuple[slice, slice]]:
        """Rectangles that make up the live tiles, as rows and columns of tiles: runs below each
        other, while they are at most *most* tiles together."""
        growing: dict[tuple[int, int], tuple[int, int]] = {}
        for row, first, end in self.runs():
            top, bottom = growing.get((first, end), (row, row))
            if bottom != row or (row + 1 - top) * (end - first) > most:
                if bottom != top:
                    yield slice(top, bottom), slice(first, end)
                top = row
            growing[first, end] = top, row + 1
        for (first, end), (top, bottom) in growing.items():
            yield slice(top, bottom), slice(first, end)


def _range(at: npt.NDArray[Any], reach: int, count: int) -> tuple[Indices, Indices]:
    """The first tile within *reach* of each point, and the one behind the last."""
    first, end = np.floor((at - reach) / TILE), np.floor((at + (reach + TILE)) / TILE)
    return _clipped(first, count), _clipped(end, count)


def _clipped(tile: npt.NDArray[np.float64], count: int) -> Indices:
    return np.minimum(np.maximum(tile, 0), count).astype(np.intp)
