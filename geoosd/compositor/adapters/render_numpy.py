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
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import glow
from geoosd.compositor.core.brush import Energy, Stamps, paint
from geoosd.compositor.core.glow import Levels
from geoosd.compositor.core.overlay import lay
from geoosd.compositor.core.palette import LEVELS
from geoosd.compositor.core.plan import SCALE_ONE, FramePlan, Image, Timings
from geoosd.compositor.core.raster import Raster, ground, ranked, raster, same_ground
from geoosd.compositor.core.tiles import TILE, Indices, Mask

_BLOCK: Final = 64
"""Tiles whose glow is made in one go."""
_FREED: Final = 8 << 20
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
        # Having freed a large block, glibc keeps freed ones up to twice as large for the process
        # (mallopt(3), M_MMAP_THRESHOLD). Else each picture would ask the kernel for its memory
        # anew, a page at a time, for a third of its time.
        np.empty(_FREED, np.uint8)

    def draw(self, plan: FramePlan) -> Image:
        """An array of shape (height, width, 4), R G B A; the next picture may overwrite it."""
        began = perf_counter()
        canvas = self._canvas(plan)
        work = raster(plan)
        canvas.draw(plan, work)
        self._keep(canvas)
        self.live_tiles = int(canvas.reached.sum())
        self.timings = Timings(cpu=perf_counter() - began)
        return canvas.pixels()

    def _canvas(self, plan: FramePlan) -> _Canvas:
        """The kept canvas that suits *plan*, else a new one in place of the last of its size."""
        canvas = next((canvas for canvas in self._canvases if canvas.suits(plan)), None)
        # Given away until it is whole again; and before memory for another is taken.
        self._canvases = [
            other for other in self._canvases if other is not canvas and not other.same_size(plan)
        ]
        return canvas or _Canvas(plan)

    def _keep(self, canvas: _Canvas) -> None:
        others = (other for other in self._canvases if max(other.area, canvas.area) <= KEPT_PIXELS)
        self._canvases = [canvas, *islice(others, 1)]

    def close(self) -> None:
        """Give the memory back."""
        self._canvases = []


class _Canvas:
    """The energy fields, the tints and the pixels of one view, padded to whole tiles.

    ``reached`` are the tiles that something but the ground reached in the last picture. Between
    pictures ``stars`` is dark and ``still`` is ``ground``: composing leaves them so.
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
        self.band = _Band.room(columns)
        self.picture = np.full((rows, columns), self.lut[0], np.uint32)
        where, energy = lines.inside(rows, columns)
        for field in (self.ground, self.still):
            np.add.at(field.reshape(-1), where, energy)
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
        for field in (self.near, self.far, self.ranks):
            field[:] = 0
        paint(self.still, work.dust)
        where, energy = work.trails.inside(*self.still.shape)
        np.add.at(self.still.reshape(-1), where, energy)
        # Light at full scale needs no field of its own.
        paint(self.still if plan.star_scale == SCALE_ONE else self.stars, work.stars)
        paint(self.near, work.near)
        paint(self.far, work.far)
        if work.tint_reach is not None:
            _rank(self.ranks, work.stars, plan, work.tint_reach)
        for rows, columns in tiles.blocks(_BLOCK):
            self._compose(plan, rows, columns, tinted=work.tint_reach is not None)
        for overlay in plan.overlays:
            lay(self.pixels(), overlay)

    def pixels(self) -> Image:
        """The picture without its padding."""
        rows, columns = self.picture.shape
        everything = self.picture.view(np.uint8).reshape(rows, columns, 4)
        return everything[: self.view.height, : self.view.width]

    def _compose(self, plan: FramePlan, rows: slice, columns: slice, *, tinted: bool) -> None:
        """Look every pixel of a block of tiles up."""
        near, far = self.near[_cells(rows, columns, 16, 2)], self.far[_cells(rows, columns, 4, 4)]
        across = glow.across(near, far, plan.glow_scale)
        level, entry, light, most = self.band.of(columns.stop - columns.start)
        for row in range(rows.start, rows.stop):
            here = _cells(slice(row, row + 1), columns, TILE)
            self._take(plan, here, level)
            if across is not None:
                first = (row - rows.start) * 16
                level += glow.taller(across[first : first + 18], light)
            np.minimum(level, most, out=level)
            if tinted:
                tint = self.ranks[_cells(slice(row, row + 1), columns, 16)] & np.uint32(15)
                cells = level.reshape(16, 4, -1, 4)
                cells |= (tint << np.uint32(12))[:, None, :, None]
            np.copyto(entry, level)
            # Without tints nothing is left to wrap, and of take's modes that one is the quickest.
            mode: Literal["clip", "wrap"] = "clip" if tinted else "wrap"
            np.take(self.lut, entry, out=self.picture[here], mode=mode)

    def _take(self, plan: FramePlan, here: tuple[slice, slice], level: Energy) -> None:
        """Put the levels of some pixels into *level*; what remains is the ground."""
        energy = self.still[here]
        if plan.star_scale != SCALE_ONE:
            energy = energy + glow.scaled(self.stars[here], plan.star_scale)
            self.stars[here] = 0
        np.right_shift(energy, np.uint32(glow.TO_LEVELS), out=level)
        self.still[here] = self.ground[here]


def _cells(rows: slice, columns: slice, size: int, margin: int = 0) -> tuple[slice, slice]:
    """The part of a field that is a block of tiles, each *size* cells wide; *margin* in all."""
    return (
        slice(rows.start * size, rows.stop * size + margin),
        slice(columns.start * size, columns.stop * size + margin),
    )


class _Band(NamedTuple):
    """What a run of tiles is composed in, so that no picture has to ask for memory."""

    level: Energy
    entry: Indices
    light: Levels
    most: Energy

    @classmethod
    def room(cls, columns: int) -> _Band:
        """For runs of up to *columns* pixels. ``most`` is the highest level: an array, since
        taking a minimum with a number is five times as slow."""
        size = TILE * columns
        return cls(
            np.zeros(size, np.uint32),
            np.zeros(size, np.intp),
            np.zeros(size, np.uint16),
            np.full(size, LEVELS - 1, np.uint32),
        )

    def of(self, tiles: int) -> _Band:
        """The parts of it for a run of so many tiles, of shape (64, 64 × tiles)."""
        size = TILE * TILE * tiles
        return _Band(
            self.level[:size].reshape(TILE, -1),
            self.entry[:size].reshape(TILE, -1),
            self.light[:size].reshape(TILE, -1),
            self.most[:size].reshape(TILE, -1),
        )


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
