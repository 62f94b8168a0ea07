"""The NumPy renderer: a frame plan to pixels, in integers.

``pixel = lut[tint, min((F >> 6) + G, 4095)]``: F is energy at full resolution with small splats; G
comes of two coarse fields with wide ones, a quarter and a sixteenth of the resolution, enlarged
linearly, so there is no blur pass; tone, theme and tint live in the table. Discs are painted by
:mod:`..core.brush`. Everything is integer arithmetic, so another backend that follows it gives the
same pixels. Only live tiles are composed. Blocks; call it in a worker thread.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core.brush import ONE, Energy, disc, paint
from geoosd.compositor.core.frame import FramePlan, Points, Stroke
from geoosd.compositor.core.palette import LEVELS
from geoosd.compositor.core.tiles import TILE, LiveTiles

STAR: Final = 2.6
HALO: Final = 0.46
FAR_HALO: Final = 0.11
MEMORY: Final = 0.62
TRAIL: Final = 0.30
GROUND: Final = 0.13
GLOW_LIMIT: Final = np.uint64(ONE * 9 // 10)
KEPT_PIXELS: Final = 2 << 20
_TO_LEVELS: Final = 6
"""65536 units of energy are 1024 levels."""
_FAR_MOST: Final = np.uint32(1 << 28)
"""Keeps seven times the far glow, and its sum with the near one, within 32 bits."""

Image: TypeAlias = npt.NDArray[np.uint8]
Levels: TypeAlias = npt.NDArray[np.uint16]


def render(plan: FramePlan) -> Image:
    """Draw one picture; an array of shape (height, width, 4), R G B A."""
    return Renderer().draw(plan)


class Renderer:
    """Draws one picture after the other. While view, ground and theme stay what they are, only the
    tiles are touched that something else reaches, or reached in the last picture."""

    def __init__(self) -> None:
        self._canvas: _Canvas | None = None

    def draw(self, plan: FramePlan) -> Image:
        """An array of shape (height, width, 4), R G B A; the next picture may overwrite it."""
        canvas, self._canvas = self._canvas, None
        if canvas is None or not canvas.suits(plan):
            canvas = _Canvas(plan)
        else:
            canvas.restore()
        _draw(canvas, plan)
        # Large ones are not kept: memory is for what is drawn often.
        if plan.view.width * plan.view.height <= KEPT_PIXELS:
            self._canvas = canvas
        return canvas.pixels()


def _draw(canvas: _Canvas, plan: FramePlan) -> None:
    """All that lies on the ground."""
    unit = max(0.5, min(canvas.view.width, canvas.view.height) / 1024)
    canvas.splat(plan.memory, MEMORY, radius=0.75 * unit)
    for trail in plan.trails:
        canvas.stroke(trail, TRAIL)
    crowd = _crowding(plan.stars, unit)
    canvas.splat(plan.stars, STAR, radius=max(0.7, 1.7 * unit * crowd))
    canvas.glow(plan.stars, radius=10.4 * unit * crowd, far_radius=36.0 * unit * crowd)
    canvas.tint(plan.stars, reach=round(10 * unit * crowd))
    canvas.compose()


def _crowding(points: Points, unit: float) -> float:
    """How much smaller than usual stars are drawn so that a crowd stays legible: 0.4 to 1."""
    if len(points.x) < 2:
        return 1.0
    area = float(np.ptp(points.x)) * float(np.ptp(points.y))
    return min(1.0, max(0.4, math.sqrt(area / len(points.x)) / (32 * unit)))


class _Canvas:
    """The energy fields, the tints and the pixels of one view, padded to whole tiles.

    The coarse fields have a margin, of one and of two cells, so that every tile has neighbours to
    interpolate with. The ground is drawn at once; ``tiles`` are those that something else reaches.
    """

    def __init__(self, plan: FramePlan) -> None:
        self.view, self.lut, self.ground = plan.view, plan.lut, plan.ground
        self.tiles = LiveTiles(self.view.width, self.view.height)
        rows, columns = (count * TILE for count in self.tiles.mask.shape)
        self.near: Energy = np.zeros((rows, columns), np.uint32)
        self.halo: Energy = np.zeros((rows // 4 + 2, columns // 4 + 2), np.uint32)
        self.far: Energy = np.zeros((rows // 16 + 4, columns // 16 + 4), np.uint32)
        self.tinted = False
        self.tints: Levels = np.zeros((rows // 4, columns // 4), np.uint16)
        self.picture = np.full((rows, columns), self.lut[0], np.uint32)
        for ground in self.ground:
            self.stroke(ground, GROUND)
        self.compose()
        self.bare: tuple[Energy, npt.NDArray[np.uint32]] | None = None
        if rows * columns <= KEPT_PIXELS:
            self.bare = self.near.copy(), self.picture.copy()
        self.tiles.mask[:] = False

    def suits(self, plan: FramePlan) -> bool:
        """Whether *plan* has this view, theme and ground."""
        return (
            self.bare is not None
            and self.view == plan.view
            and np.array_equal(self.lut, plan.lut)
            and len(self.ground) == len(plan.ground)
            and all(_same(*pair) for pair in zip(self.ground, plan.ground, strict=True))
        )

    def restore(self) -> None:
        """Leave nothing but the ground."""
        if self.bare is None or not self.tiles.mask.any():
            return
        near, picture = self.bare
        for row, first, end in self.tiles.runs():
            here = np.s_[row * TILE : (row + 1) * TILE, first * TILE : end * TILE]
            self.near[here] = near[here]
            self.picture[here] = picture[here]
        self.halo[:] = 0
        self.far[:] = 0
        self.tints[:] = 0
        self.tiles.mask[:] = False

    def splat(self, points: Points, strength: float, *, radius: float) -> None:
        """Add a small Gaussian disc for each point."""
        brush = disc(radius)
        paint(self.near, points.x, points.y, points.level * strength, brush)
        self.tiles.touch(points.x, points.y, brush.reach)

    def glow(self, points: Points, *, radius: float, far_radius: float) -> None:
        """Add two wide discs for each point; radii in pixels."""
        halo, far = disc(radius / 4), disc(far_radius / 16)
        paint(self.halo, points.x / 4 + 1, points.y / 4 + 1, points.level * HALO, halo)
        paint(self.far, points.x / 16 + 2, points.y / 16 + 2, points.level * FAR_HALO, far)
        reach = max(4 * (halo.reach + 1), 16 * (far.reach + 1))
        self.tiles.touch(points.x, points.y, reach)

    def stroke(self, stroke: Stroke, strength: float) -> None:
        """Add thin lines; a pixel takes what passes within one pixel of it, by distance."""
        x, y, level, along = _walk(stroke, self.view.width, self.view.height)
        energy = level * strength * ONE
        left, top = np.floor(x - 0.5), np.floor(y - 0.5)
        part_x, part_y = x - 0.5 - left, y - 0.5 - top
        for step_x, share_x in ((0, 1 - part_x), (1, part_x)):
            for step_y, share_y in ((0, 1 - part_y), (1, part_y)):
                _add(self.near, left + step_x, top + step_y, energy * share_x * share_y)
        # One point in sixteen of each segment stands for those up to 16 pixels further on.
        some = along % 16 == 0
        self.tiles.touch(x[some], y[some], 17)

    def tint(self, points: Points, *, reach: int) -> None:
        """Have the surroundings of each point show its tint; where two meet, the stronger's."""
        rows, columns = self.tints.shape
        x, y = (points.x // 4).astype(np.intp), (points.y // 4).astype(np.intp)
        self.tinted = bool(points.tint.any())
        if not self.tinted:
            return
        value = points.tint.astype(np.uint16) << 12
        for step_y in range(-reach, reach + 1):
            for step_x in range(-reach, reach + 1):
                column, row = x + step_x, y + step_y
                inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
                self.tints[row[inside], column[inside]] = value[inside]

    def compose(self) -> None:
        """Look every pixel of the live tiles up."""
        for row, first, end in self.tiles.runs():
            here = np.s_[row * TILE : (row + 1) * TILE, first * TILE : end * TILE]
            near = self.near[here] >> np.uint32(_TO_LEVELS)
            np.minimum(near, np.uint32(LEVELS - 1), out=near)
            level = near.astype(np.uint16)
            if (glow := self._glow(row, first, end)) is not None:
                level += glow
            np.minimum(level, np.uint16(LEVELS - 1), out=level)
            if self.tinted:
                there = np.s_[row * 16 : (row + 1) * 16, first * 16 : end * 16]
                level |= np.repeat(np.repeat(self.tints[there], 4, axis=0), 4, axis=1)
            self.picture[here] = np.take(self.lut, level, mode="clip")

    def pixels(self) -> Image:
        """The picture without its padding."""
        view = self.view
        pixels = np.ascontiguousarray(self.picture[: view.height, : view.width])
        return pixels.view(np.uint8).reshape(view.height, view.width, 4)

    def _glow(self, row: int, first: int, end: int) -> Levels | None:
        """Levels of the glow in a run of tiles; None where there is none."""
        halo = self.halo[row * 16 : row * 16 + 18, first * 16 : end * 16 + 2]
        far = self.far[row * 4 : row * 4 + 8, first * 4 : end * 4 + 4]
        if not (far.any() or halo.any()):
            return None
        # A margin of one cell remains of the four that the enlarged margin of one has become.
        energy = halo + _enlarged(np.minimum(far, _FAR_MOST))[3:-3, 3:-3]
        return _enlarged((_softened(energy) >> np.uint32(_TO_LEVELS)).astype(np.uint16))


def _same(one: Stroke, other: Stroke) -> bool:
    return (
        np.array_equal(one.x, other.x)
        and np.array_equal(one.y, other.y)
        and np.array_equal(one.level, other.level)
    )


def _softened(field: Energy) -> Energy:
    """Glow that approaches :data:`GLOW_LIMIT` where much of it meets, so that stars show still."""
    wide = field.astype(np.uint64)
    return (wide * GLOW_LIMIT // (wide + GLOW_LIMIT)).astype(np.uint32)


def _enlarged(field: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A block without its margin of one cell, four times as large, linear between the cells.

    In eighths: a pixel's centre lies one or three eighths of a cell off the cell's own.
    """
    for _ in (0, 1):  # the rows, then, transposed, the columns
        before, cell, after = field[:-2], field[1:-1], field[2:]
        large = np.empty((len(cell), 4, field.shape[1]), field.dtype)
        for place, (share, other) in enumerate(((3, before), (1, before), (1, after), (3, after))):
            np.multiply(cell, 8 - share, out=large[:, place])
            large[:, place] += other * share
        large >>= 3
        field = large.reshape(-1, field.shape[1]).T
    return field


def _add(
    field: Energy, column: npt.NDArray[Any], row: npt.NDArray[Any], energy: npt.NDArray[Any]
) -> None:
    """Add *energy*, rounded to integers, where (column, row) lies inside the field."""
    rows, columns = field.shape
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    flat = row[inside].astype(np.intp) * columns + column[inside].astype(np.intp)
    np.add.at(field.reshape(-1), flat, (energy[inside] + 0.5).astype(np.uint32))


def _walk(
    stroke: Stroke, width: int, height: int
) -> tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.intp],
]:
    """Points about one pixel apart along a stroke, inside the picture: x, y, the level there, and
    which point of its segment it is."""
    x, y = stroke.x, stroke.y
    seen = (
        (np.maximum(x[:-1], x[1:]) > -2)
        & (np.minimum(x[:-1], x[1:]) < width + 2)
        & (np.maximum(y[:-1], y[1:]) > -2)
        & (np.minimum(y[:-1], y[1:]) < height + 2)
    )
    segments = np.flatnonzero(seen)
    length = np.hypot(np.diff(x)[segments], np.diff(y)[segments])
    counts = np.maximum(np.ceil(length), 1).astype(np.intp)
    # Each segment's points carry its length, so that short ones do not pile up.
    which = np.repeat(segments, counts)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    along = offset / np.repeat(counts, counts)
    density = np.repeat(np.minimum(length / counts, 1.0), counts)
    ends_x, ends_y, ends_level = np.diff(x), np.diff(y), np.diff(stroke.level)
    level = (stroke.level[which] + along * ends_level[which]) * density
    return (
        x[which] + along * ends_x[which],
        y[which] + along * ends_y[which],
        level,
        offset,
    )
