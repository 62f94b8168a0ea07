"""From a frame plan to the integers that a backend adds up: stamps, dots, live tiles.

What is here is done once for every backend and is cheap: it follows the number of points, not of
pixels. What follows the pixels is the backends' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import glow
from geoosd.compositor.core.brush import ONE, Energy, Stamps, disc, stamps
from geoosd.compositor.core.plan import Floats, FramePlan, Overlay, Splats, Stroke
from geoosd.compositor.core.tiles import TILE, LiveTiles

TRAIL: Final = 0.30
GROUND: Final = 0.18
HALO_SHARE: Final = np.uint64(round(0.46 / 2.6 * ONE))
FAR_SHARE: Final = np.uint64(round(0.11 / 2.6 * ONE))
"""Of a star's energy, in units of 2**-16."""

Whole: TypeAlias = npt.NDArray[np.int32]
Indices: TypeAlias = npt.NDArray[np.int64]


class Dots(NamedTuple):
    """Squares of 2 × 2 pixels by their left upper one, and the ``energy`` that each pixel takes:
    of shape (4, n), left before right and the upper two first."""

    column: Whole
    row: Whole
    energy: Energy

    def inside(self, rows: int, columns: int) -> tuple[Indices, Energy]:
        """Flat index and energy of the pixels inside a field of that shape."""
        corner = self.row.astype(np.int64) * columns + self.column
        where = corner + np.array([[0], [1], [columns], [columns + 1]])
        left, top = self.column, self.row
        whole = (left >= 0) & (left < columns - 1) & (top >= 0) & (top < rows - 1)
        if whole.all():
            return where.ravel(), self.energy.ravel()
        across = [(left >= -step) & (left < columns - step) for step in (0, 1)]
        down = [(top >= -step) & (top < rows - step) for step in (0, 1)]
        inside = np.stack([one & other for one in down for other in across])
        return where[inside], self.energy[inside]


class Ground(NamedTuple):
    """What stays as long as the view does."""

    dots: Dots
    tiles: LiveTiles


class Raster(NamedTuple):
    """What lies on the ground: ``still`` is dust and trails, ``stars`` with ``near`` and ``far``
    glow decay by the plan's scales. ``tint_reach``, in cells of the near glow, is how far around
    each star its tint holds; None if all tints are 0."""

    tiles: LiveTiles
    stars: Stamps
    near: Stamps
    far: Stamps
    dust: Stamps
    trails: Dots
    tint_reach: int | None


def ground(plan: FramePlan) -> Ground:
    """The ground of *plan*."""
    tiles = LiveTiles(plan.view.width, plan.view.height)
    return Ground(_dots(plan.ground, GROUND, tiles), tiles)


def raster(plan: FramePlan) -> Raster:
    """All but the ground of *plan*."""
    tiles = LiveTiles(plan.view.width, plan.view.height)
    stars = plan.stars
    near, far = _glow(stars)
    small = _discs(plan.stars, tiles)
    if len(stars):
        reach = max(glow.NEAR_CELL * (near.brush.reach + 1), glow.FAR_CELL * (far.brush.reach + 1))
        tiles.touch(stars.x, stars.y, reach)
    dust = _discs(plan.dust, tiles)
    trails = _dots(plan.trails, TRAIL, tiles)
    for overlay in plan.overlays:
        _touch(overlay, tiles)
    tint_reach = round(stars.halo * 0.96) if stars.tint.any() else None
    return Raster(tiles, small, near, far, dust, trails, tint_reach)


def ranked(plan: FramePlan) -> Energy:
    """Rank × 16 + tint of each star: where surroundings of stars meet, the highest holds."""
    ranks = np.arange(1, len(plan.stars) + 1, dtype=np.uint32)
    return ranks << np.uint32(4) | plan.stars.tint


def same_ground(one: Sequence[Stroke], other: Sequence[Stroke]) -> bool:
    """Whether two grounds are the same lines."""
    return len(one) == len(other) and all(
        np.array_equal(first.x, second.x)
        and np.array_equal(first.y, second.y)
        and np.array_equal(first.level, second.level)
        for first, second in zip(one, other, strict=True)
    )


def _discs(splats: Splats, tiles: LiveTiles) -> Stamps:
    brush = disc(splats.radius)
    tiles.touch(splats.x, splats.y, brush.reach)
    return stamps(splats.x, splats.y, splats.amount, brush)


def _glow(splats: Splats) -> tuple[Stamps, Stamps]:
    """Two wide discs for each point, in cells of the coarse fields with their margins."""
    wide = splats.amount.astype(np.uint64)
    both: list[Stamps] = []
    for radius, cell, margin, share in (
        (splats.halo, glow.NEAR_CELL, glow.NEAR_MARGIN, HALO_SHARE),
        (splats.far, glow.FAR_CELL, glow.FAR_MARGIN, FAR_SHARE),
    ):
        some = slice(None) if radius else slice(0)
        energy = (wide[some] * share >> np.uint64(16)).astype(np.uint32)
        x, y = splats.x[some] / cell + margin, splats.y[some] / cell + margin
        both.append(stamps(x, y, energy, disc((radius or 1.0) / cell)))
    return both[0], both[1]


def _touch(overlay: Overlay, tiles: LiveTiles) -> None:
    height, width = overlay.pixels.shape[:2]
    rows = slice(max(0, overlay.top // TILE), max(0, -(-(overlay.top + height) // TILE)))
    columns = slice(max(0, overlay.left // TILE), max(0, -(-(overlay.left + width) // TILE)))
    tiles.mask[rows, columns] = True


def _dots(strokes: Sequence[Stroke], strength: float, tiles: LiveTiles) -> Dots:
    """Thin lines: a pixel takes what passes within one pixel of it, by distance."""
    rows, columns = (count * TILE for count in tiles.mask.shape)
    walks = [_walk(stroke, columns, rows) for stroke in strokes]
    if not walks:
        nothing = np.zeros(0, np.int32)
        return Dots(nothing, nothing, np.zeros((4, 0), np.uint32))
    x, y, level, along = (np.concatenate(parts) for parts in zip(*walks, strict=True))
    # One point in sixteen of each segment stands for those up to 16 pixels further on.
    some = np.flatnonzero(along & 15 == 0)
    tiles.touch(x[some], y[some], 17)
    level *= strength * ONE
    x -= 0.5
    y -= 0.5
    left, top = np.floor(x), np.floor(y)
    column, row = left.astype(np.int32), top.astype(np.int32)
    x -= left
    y -= top
    # Of the energy: what goes down, of that what goes right; and of what stays up.
    lower = level * y
    upper = np.subtract(level, lower, out=level)
    energy = np.empty((4, len(x)), np.uint32)
    for line, share in ((0, upper), (2, lower)):
        right = share * x
        share -= right
        for part, out in ((share, energy[line]), (right, energy[line + 1])):
            part += 0.5
            out[:] = part
    return Dots(column, row, energy)


def _walk(stroke: Stroke, width: int, height: int) -> tuple[npt.NDArray[Any], ...]:
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
    counts = np.maximum(np.ceil(length), 1).astype(np.int32)
    # Each segment's points carry its length, so that short ones do not pile up.
    density = np.minimum(length / counts, 1.0)
    first = np.cumsum(counts, dtype=np.int32) - counts
    along = np.arange(counts.sum(), dtype=np.int32) - np.repeat(first, counts)

    def between(ends: Floats, weight: Floats | float = 1.0) -> Floats:
        start = np.repeat(ends[segments] * weight, counts)
        step = np.repeat(np.diff(ends)[segments] * weight / counts, counts)
        step *= along
        start += step
        return start

    return between(x), between(y), between(stroke.level, density), along
