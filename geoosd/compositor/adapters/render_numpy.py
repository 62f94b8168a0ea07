"""The NumPy renderer: a frame plan to pixels, in integers.

``pixel = lut[tint, min(F·sF + G·sG, 4095)]``: F is energy in 1/65536 units at full resolution with
small splats, G at a quarter of it with wide ones, so there is no blur pass; tone, theme and tint
live in the table. Sums of integers do not depend on their order, so another backend that follows
the same arithmetic gives the same pixels. Only live tiles are composed. Blocks; call it in a
worker thread.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core.frame import FramePlan, Points, Stroke
from geoosd.compositor.core.palette import LEVELS, LEVELS_PER_UNIT
from geoosd.compositor.core.tiles import TILE, LiveTiles

ONE: Final = 65536
"""A unit of energy in the integer fields."""

STAR: Final = 2.6
HALO: Final = 0.46
FAR_HALO: Final = 0.11
MEMORY: Final = 0.62
TRAIL: Final = 0.30
GROUND: Final = 0.13
GLOW_LIMIT: Final = np.uint64(ONE * 9 // 10)

Energy: TypeAlias = npt.NDArray[np.uint32]
Image: TypeAlias = npt.NDArray[np.uint8]


def render(plan: FramePlan) -> Image:
    """Draw; an array of shape (height, width, 4), R G B A."""
    view = plan.view
    canvas = _Canvas(view.width, view.height)
    unit = max(0.5, min(view.width, view.height) / 1024)
    for ground in plan.ground:
        canvas.stroke(ground, GROUND)
    canvas.splat(plan.memory, MEMORY, radius=0.75 * unit)
    for trail in plan.trails:
        canvas.stroke(trail, TRAIL)
    crowd = _crowding(plan.stars, unit)
    canvas.splat(plan.stars, STAR, radius=max(0.7, 1.7 * unit * crowd))
    canvas.glow(plan.stars, HALO, radius=2.6 * unit * crowd)
    canvas.glow(plan.stars, FAR_HALO, radius=9.0 * unit * crowd)
    canvas.tint(plan.stars, reach=round(10 * unit * crowd))
    return canvas.compose(plan.lut)


def _crowding(points: Points, unit: float) -> float:
    """How much smaller than usual stars are drawn so that a crowd stays legible: 0.4 to 1."""
    if len(points.x) < 2:
        return 1.0
    area = float(np.ptp(points.x)) * float(np.ptp(points.y))
    return min(1.0, max(0.4, math.sqrt(area / len(points.x)) / (32 * unit)))


class _Canvas:
    """The two energy fields and the tints of one picture, padded to whole tiles."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.tiles = LiveTiles(width, height)
        rows, columns = (count * TILE for count in self.tiles.mask.shape)
        self.near: Energy = np.zeros((rows, columns), np.uint32)
        self.far: Energy = np.zeros((rows // 4, columns // 4), np.uint32)
        self.tints: npt.NDArray[np.uint16] = np.zeros((rows // 4, columns // 4), np.uint16)

    def splat(self, points: Points, strength: float, *, radius: float) -> None:
        """Add a small Gaussian disc for each point."""
        reach = _add_discs(self.near, points.x, points.y, points.level * strength, radius)
        self.tiles.touch(points.x, points.y, reach)

    def glow(self, points: Points, strength: float, *, radius: float) -> None:
        """Add a wide disc for each point at quarter resolution; *radius* in quarter pixels."""
        level = points.level * strength
        reach = _add_discs(self.far, points.x / 4, points.y / 4, level, radius)
        self.tiles.touch(points.x, points.y, 4 * (reach + 1))

    def stroke(self, stroke: Stroke, strength: float) -> None:
        """Add thin lines; a pixel takes what passes within one pixel of it, by distance."""
        x, y, level = _walk(stroke, self.width, self.height)
        energy = level * strength * ONE
        left, top = np.floor(x - 0.5), np.floor(y - 0.5)
        part_x, part_y = x - 0.5 - left, y - 0.5 - top
        for step_x, share_x in ((0, 1 - part_x), (1, part_x)):
            for step_y, share_y in ((0, 1 - part_y), (1, part_y)):
                _add(self.near, left + step_x, top + step_y, energy * share_x * share_y)
        self.tiles.touch(x, y, 1)

    def tint(self, points: Points, *, reach: int) -> None:
        """Have the surroundings of each point show its tint; where two meet, the stronger's."""
        rows, columns = self.tints.shape
        x, y = (points.x // 4).astype(np.intp), (points.y // 4).astype(np.intp)
        if not points.tint.any():
            return
        value = points.tint.astype(np.uint16) << 12
        for step_y in range(-reach, reach + 1):
            for step_x in range(-reach, reach + 1):
                column, row = x + step_x, y + step_y
                inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
                self.tints[row[inside], column[inside]] = value[inside]

    def compose(self, lut: npt.NDArray[np.uint32]) -> Image:
        """Look every pixel of the live tiles up; all others are background."""
        picture = np.full(self.near.shape, lut[0], np.uint32)
        scale = np.float32(LEVELS_PER_UNIT / ONE)
        quarter = TILE // 4
        for row, first, end in self.tiles.runs():
            here = np.s_[row * TILE : (row + 1) * TILE, first * TILE : end * TILE]
            there = np.s_[row * quarter : (row + 1) * quarter, first * quarter : end * quarter]
            level = self.near[here].astype(np.float32)
            level += _enlarged(_softened(self.far[there]))
            level *= scale
            np.minimum(level, np.float32(LEVELS - 1), out=level)
            index = level.astype(np.uint16)
            index |= np.repeat(np.repeat(self.tints[there], 4, axis=0), 4, axis=1)
            picture[here] = np.take(lut, index, mode="clip")
        pixels = np.ascontiguousarray(picture[: self.height, : self.width])
        return pixels.view(np.uint8).reshape(self.height, self.width, 4)


def _softened(field: Energy) -> Energy:
    """Glow that approaches :data:`GLOW_LIMIT` where much of it meets, so that stars show still."""
    wide = field.astype(np.uint64)
    return (wide * GLOW_LIMIT // (wide + GLOW_LIMIT)).astype(np.uint32)


def _enlarged(field: Energy) -> npt.NDArray[np.float32]:
    """A quarter-resolution block four times as large, linear between its cells."""
    padded: npt.NDArray[np.float32] = np.pad(field.astype(np.float32), 1, mode="edge")
    for axis in (0, 1):
        size = field.shape[axis]
        # Pixel centres lie at (i + 0.5) / 4 of the coarse grid, whose own centres are at + 0.5.
        at = (np.arange(4 * size, dtype=np.float32) + 0.5) / 4 + 0.5
        low = at.astype(np.intp)
        part = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        near, next_ = np.take(padded, low, axis), np.take(padded, low + 1, axis)
        padded = near + (next_ - near) * part
    return padded


def _add_discs(
    field: Energy,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    level: npt.NDArray[np.float64],
    radius: float,
) -> int:
    """Add a Gaussian of standard deviation *radius* around each point; how far that reaches."""
    reach = max(1, int(np.ceil(3 * radius)))
    energy = level * ONE
    column, row = np.floor(x), np.floor(y)
    # Sub-pixel centres: without them a slow zoom would jump from pixel to pixel.
    off_x, off_y = x - column - 0.5, y - row - 0.5
    steps = range(-reach, reach + 1)
    across = {step: np.exp(-((step - off_x) ** 2) / (2 * radius**2)) for step in steps}
    down = {step: np.exp(-((step - off_y) ** 2) / (2 * radius**2)) for step in steps}
    for step_y in steps:
        weighted = energy * down[step_y]
        for step_x in steps:
            if step_x * step_x + step_y * step_y <= (reach + 0.5) ** 2:
                _add(field, column + step_x, row + step_y, weighted * across[step_x])
    return reach


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
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points about one pixel apart along a stroke, and the level at each, inside the picture."""
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
    return x[which] + along * ends_x[which], y[which] + along * ends_y[which], level
