"""A view of the map: which cells a picture shows, and how large (docs/interfaces.md, Places).

Map coordinates are cells, x to the right and y down; picture coordinates are pixels. Views fit
themselves to the cells in use, so that a vocabulary that fills a corner of its district still
fills the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Coordinates: TypeAlias = npt.NDArray[np.float64]

MIN_EXTENT: Final = 64.0
"""Fewest cells across a fitted view: a single token does not fill the picture."""
_MARGIN: Final = 0.09


@dataclass(frozen=True)
class View:
    """``center_x`` and ``center_y`` in cells, ``scale`` in pixels per cell, size in pixels."""

    center_x: float
    center_y: float
    scale: float
    width: int
    height: int

    @property
    def unit(self) -> float:
        """How large things are drawn: 1 in a picture of 1024 × 1024 pixels."""
        return max(0.5, min(self.width, self.height) / 1024)

    def zoomed(self, zoom: float, center: tuple[float, float] | None = None) -> View:
        """*zoom* times as large, around *center* (column, row) or where it is."""
        x, y = center or (self.center_x, self.center_y)
        return View(x, y, self.scale * zoom, self.width, self.height)

    def to_pixels(self, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
        """Where points of the map lie in the picture."""
        return (
            (x - self.center_x) * self.scale + self.width / 2,
            (y - self.center_y) * self.scale + self.height / 2,
        )


def fit(x: Coordinates, y: Coordinates, width: int, height: int) -> View:
    """The view of *width* × *height* pixels that shows all cells (x, y) with a margin.

    With no cell at all it shows the first district whole.
    """
    if len(x) == 0:
        x = y = np.array([0.0, 1023.0])
    left, right = float(x.min()), float(x.max()) + 1
    top, bottom = float(y.min()), float(y.max()) + 1
    room = 1 - 2 * _MARGIN
    across = max(right - left, MIN_EXTENT)
    down = max(bottom - top, MIN_EXTENT)
    scale = min(width * room / across, height * room / down)
    return View((left + right) / 2, (top + bottom) / 2, scale, width, height)
