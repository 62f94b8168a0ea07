"""The NumPy backend: a frame plan to pixels, in integers (:mod:`..core.plan` has the formula).

Discs are painted by :mod:`..core.brush`, the glow is :mod:`..core.glow`'s. Everything is integer
arithmetic, so another backend that follows it gives the same pixels. While view, ground and theme
stay what they are, only the tiles are touched that something else reaches, or reached in the last
picture; so time follows what is alive, and so does memory: fields are zeros that the kernel gives a
page only when it is written to. Blocks; call it in a worker thread.
"""

from __future__ import annotations

from itertools import islice
from time import perf_counter
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import glow
from geoosd.compositor.core.brush import Energy, Stamps, paint
from geoosd.compositor.core.overlay import lay
from geoosd.compositor.core.palette import LEVELS
from geoosd.compositor.core.plan import SCALE_ONE, FramePlan, Image, Timings
from geoosd.compositor.core.raster import Raster, ground, ranked, raster, same_ground
from geoosd.compositor.core.tiles import TILE, Mask

KEPT_PIXELS: Final = 2 << 20
"""Canvases of two sizes are kept if they are no larger; of larger ones the last alone."""

Ranks: TypeAlias = npt.NDArray[np.uint32]


def render(plan: FramePlan) -> Image:
    """Draw one picture; an array of shape (height, width, 4), R G B A."""
    return NumpyBackend().draw(plan)


class NumpyBackend:
    """A :class:`..core.plan.Backend`."""

    name = "numpy"
    adapter = "CPU"

    def __init__(self) -> None:
        self.live_tiles = 0
        self.timings = Timings()
        self._canvases: list[_Canvas] = []

    def draw(self, plan: FramePlan) -> Image:
        """An array of shape (height, width, 4), R G B A; the next picture may overwrite it."""
        began = perf_counter()
        canvas = self._canvas(plan)
        work = raster(plan)
        canvas.draw(plan, work)
        self.live_tiles = int(canvas.reached.sum())
        self.timings = Timings(cpu=perf_counter() - began)
        return canvas.pixels()

    def _canvas(self, plan: FramePlan) -> _Canvas:
        """The kept canvas that suits *plan*, else a new one in place of the last of its size."""
        canvas = next((canvas for canvas in self._canvases if canvas.suits(plan)), None)
        if canvas is None:
            # Before memory for another is taken.
            self._canvases = [other for other in self._canvases if not other.same_size(plan)]
            canvas = _Canvas(plan)
        others = (other for other in self._canvases if other is not canvas)
        small = (other for other in others if max(other.area, canvas.area) <= KEPT_PIXELS)
        self._canvases = [canvas, *islice(small, 1)]
        return canvas

    def close(self) -> None:
        """Give the memory back."""
        self._canvases = []


class _Canvas:
    """The energy fields, the tints and the pixels of one view, padded to whole tiles.

    ``reached`` are the tiles that something but the ground reached in the last picture.
    """

    def __init__(self, plan: FramePlan) -> None:
        self.view, self.lut, self.lines = plan.view, plan.lut, plan.ground
        self.area = plan.view.width * plan.view.height
        lines, tiles = ground(plan)
        rows, columns = (count * TILE for count in tiles.mask.shape)
        self.stars: Energy = np.zeros((rows, columns), np.uint32)
        self.ground: Energy = np.zeros((rows, columns), np.uint32)
        self.still: Energy = np.zeros((rows, columns), np.uint32)
        self.near: Energy = np.zeros((rows // 4 + 2, columns // 4 + 2), np.uint32)
        self.far: Energy = np.zeros((rows // 16 + 4, columns // 16 + 4), np.uint32)
        self.ranks: Ranks = np.zeros((rows // 4, columns // 4), np.uint32)
        self.picture = np.full((rows, columns), self.lut[0], np.uint32)
        where, energy = lines.inside(rows, columns)
        np.add.at(self.ground.reshape(-1), where, energy)
        self.reached: Mask = tiles.mask

    def same_size(self, plan: FramePlan) -> bool:
        """Whether *plan* is a picture as large as this."""
        return (self.view.width, self.view.height) == (plan.view.width, plan.view.height)

    def suits(self, plan: FramePlan) -> bool:
        """Whether *plan* has this view, theme and ground."""
        return (
            self.view == plan.view
            and np.array_equal(self.lut, plan.lut)
            and same_ground(self.lines, plan.ground)
        )

    def draw(self, plan: FramePlan, work: Raster) -> None:
        """Draw all that lies on the ground."""
        tiles = work.tiles
        before, self.reached = self.reached, tiles.mask.copy()
        tiles.mask |= before
        if not tiles.mask.any():
            return
        # Light at full scale needs no field of its own.
        scaled = plan.star_scale != SCALE_ONE
        for row, first, end in tiles.runs():
            here = np.s_[row * TILE : (row + 1) * TILE, first * TILE : end * TILE]
            self.still[here] = self.ground[here]
            if scaled:
                self.stars[here] = 0
        for field in (self.near, self.far, self.ranks):
            field[:] = 0
        paint(self.still, work.dust)
        where, energy = work.trails.inside(*self.still.shape)
        np.add.at(self.still.reshape(-1), where, energy)
        paint(self.stars if scaled else self.still, work.stars)
        paint(self.near, work.near)
        paint(self.far, work.far)
        if work.tint_reach is not None:
            _rank(self.ranks, work.stars, plan, work.tint_reach)
        for run in tiles.runs():
            self._compose(plan, *run, tinted=work.tint_reach is not None)
        for overlay in plan.overlays:
            lay(self.pixels(), overlay)

    def pixels(self) -> Image:
        """The picture without its padding."""
        rows, columns = self.picture.shape
        everything = self.picture.view(np.uint8).reshape(rows, columns, 4)
        return everything[: self.view.height, : self.view.width]

    def _compose(self, plan: FramePlan, row: int, first: int, end: int, *, tinted: bool) -> None:
        """Look every pixel of a run of tiles up."""
        here = np.s_[row * TILE : (row + 1) * TILE, first * TILE : end * TILE]
        energy = self.still[here]
        if plan.star_scale != SCALE_ONE:
            energy = energy + glow.scaled(self.stars[here], plan.star_scale)
        level = energy >> np.uint32(glow.TO_LEVELS)
        near = self.near[row * 16 : row * 16 + 18, first * 16 : end * 16 + 2]
        far = self.far[row * 4 : row * 4 + 8, first * 4 : end * 4 + 4]
        if (light := glow.levels(near, far, plan.glow_scale)) is not None:
            level += light
        np.minimum(level, np.uint32(LEVELS - 1), out=level)
        if tinted:
            there = np.s_[row * 16 : (row + 1) * 16, first * 16 : end * 16]
            tint = (self.ranks[there] & np.uint32(15)) << np.uint32(12)
            level |= np.repeat(np.repeat(tint, 4, axis=0), 4, axis=1)
        np.take(self.lut, level, out=self.picture[here], mode="clip")


def _rank(ranks: Ranks, stars: Stamps, plan: FramePlan, reach: int) -> None:
    """Have the surroundings of each star show its tint: ``ranks`` holds rank × 16 + tint."""
    rows, columns = ranks.shape
    value = ranked(plan)
    x, y = stars.column // 4, stars.row // 4
    flat = ranks.reshape(-1)
    for step_y in range(-reach, reach + 1):
        for step_x in range(-reach, reach + 1):
            column, row = x + step_x, y + step_y
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            np.maximum.at(flat, (row * columns + column)[inside], value[inside])
