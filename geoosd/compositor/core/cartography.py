"""From cells to pixels: where they lie on the whole map, its ground, trails, and detail by scale.

Level of detail is a max-mip: when cells are smaller than a pixel, squares of 2 × 2, 4 × 4 … cells
stand for their strongest one, so that a picture of a million cells neither saturates nor loses the
one that is lit. On the Hilbert curve such a square is a run of indices, ``key >> 2 * level``; so a
level is one sort of what is alive, whatever the size of the map.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import hilbert
from geoosd.compositor.core.field import key_of_token
from geoosd.compositor.core.places import ORDER, SIDE, origin_of
from geoosd.compositor.core.plan import MAX_SPLATS, Floats, Stroke, Tints
from geoosd.compositor.core.view import View
from geoosd.wire.messages import District, TokenVisualizationUpdate

TRAILS: Final = 8
"""Streams whose trails are drawn: the last to have been written."""
MAX_TRAIL: Final = 40
"""Steps of a trail that are drawn, of each choice of a session."""
_COARSE: Final = 6
"""The order of the ghost of the curve, unless its steps would be too small or, zoomed in, large."""
_NARROW: Final = 9.0
"""Ghost curves whose steps are shorter than this many pixels would be a grey haze."""
_WIDE: Final = 24.0
_REACH: Final = 64
"""Pixels around the picture from where light may reach into it."""

Keys: TypeAlias = npt.NDArray[np.uint64]


class Seen(NamedTuple):
    """Cells in or near the picture: pixels of their centres, a weight, a tint, and the key; and how
    many pixels a cell, or the square that stands for some, is wide."""

    x: Floats
    y: Floats
    weight: Floats
    tint: Tints
    keys: Keys
    side: float
    spread: float
    """The same where squares stand for several cells, else 0."""


def map_coordinates(keys: Keys) -> tuple[Floats, Floats]:
    """Column and row on the whole map, in cells, of cell keys (:func:`.field.key_of`)."""
    x, y = hilbert.cells_at(keys & np.uint64((1 << 2 * ORDER) - 1), ORDER)
    columns, rows = x.astype(np.float64), y.astype(np.float64)
    district = keys >> np.uint64(2 * ORDER)
    for index in np.unique(district).tolist():
        origin_x, origin_y = origin_of(index)
        columns[district == index] += origin_x
        rows[district == index] += origin_y
    return columns, rows


def mip(keys: Keys, weights: Floats, level: int) -> tuple[Keys, Floats]:
    """The first key and the greatest weight of each square of 2**level cells a side, by key."""
    if len(keys) == 0:
        return keys, weights
    order = np.argsort(keys)
    squares, weights = keys[order] >> np.uint64(2 * level), weights[order]
    first = np.flatnonzero(np.concatenate(([True], squares[1:] != squares[:-1])))
    return squares[first] << np.uint64(2 * level), np.maximum.reduceat(weights, first)


def seen(
    keys: Keys, weights: Floats, view: View, tints: dict[int, int], limit: int = MAX_SPLATS
) -> Seen:
    """The cells in or near the picture, weakest first, in no more detail than can be seen.

    At most *limit*, by taking coarser squares, and at the coarsest the strongest of them.
    """
    level = _level(view)
    while True:
        some, strength = mip(keys, weights, level) if level else (keys, weights)
        columns, rows = map_coordinates(some)
        if level:
            # The first cell of a square may be any of its corners.
            side = float(1 << level)
            columns = np.floor(columns / side) * side + (side - 1) / 2
            rows = np.floor(rows / side) * side + (side - 1) / 2
        x, y = view.to_pixels(columns + 0.5, rows + 0.5)
        inside = (x > -_REACH) & (y > -_REACH)
        inside &= (x < view.width + _REACH) & (y < view.height + _REACH)
        if inside.sum() <= limit or level == ORDER:
            break
        level += 1
    chosen = np.flatnonzero(inside)
    # Of equals the one with the lower key is the stronger, as Field.cells orders them.
    chosen = chosen[np.lexsort((some[chosen], -strength[chosen]))][:limit][::-1]
    tint = np.zeros(len(chosen), np.uint8)
    district = some[chosen] >> np.uint64(2 * ORDER)
    for index in np.unique(district).tolist():
        tint[district == index] = tints.get(index, 0)
    side = view.scale * 2**level
    spread = side if level else 0.0
    return Seen(x[chosen], y[chosen], strength[chosen], tint, some[chosen], side, spread)


def _level(view: View) -> int:
    """The finest level whose squares are as wide as the thinnest thing that is drawn."""
    narrow = view.unit / view.scale
    return min(ORDER, max(0, math.ceil(math.log2(narrow)))) if narrow > 1 else 0


def trail(tokens: list[TokenVisualizationUpdate], view: View, left: float = 1.0) -> Stroke:
    """A line through successive tokens that bends to one side, fainter with age; *left* of it,
    0 to 1, has not faded.

    Each step is a quadratic Bézier curve, so that a way and its way back stay apart. In a picture
    of many pixels it is brighter, since lines are a pixel wide.
    """
    keys = np.array([key_of_token(token) for token in tokens[-MAX_TRAIL - 1 :]], np.uint64)
    columns, rows = map_coordinates(keys)
    x, y = view.to_pixels(columns + 0.5, rows + 0.5)
    pieces = 24
    along = np.arange(pieces) / pieces
    bent: list[Floats] = []
    for ends, across in ((x, np.diff(y)), (y, -np.diff(x))):
        start, stop = ends[:-1, None], ends[1:, None]
        middle = (start + stop) / 2 + 0.16 * across[:, None]
        curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * stop
        bent.append(np.append(curve.ravel(), ends[-1]))
    age = np.linspace(0.0, 1.0, len(bent[0]))
    return Stroke(bent[0], bent[1], 1.5 * left * max(1.0, view.unit) * age**1.8)


def ground(districts: list[District], keys: Keys, view: View) -> list[Stroke]:
    """The frame of each district that *keys* are in, and the ghost of its Hilbert curve."""
    strokes: list[Stroke] = []
    used = set(np.unique(keys >> np.uint64(2 * ORDER)).tolist())
    for district in districts:
        if district.index not in used:
            continue
        left, top = origin_of(district.index)
        corners_x = np.array([0, 1, 1, 0, 0]) * float(SIDE) + left
        corners_y = np.array([0, 0, 1, 1, 0]) * float(SIDE) + top
        strokes.append(_stroke(corners_x, corners_y, view, 1.0))
        strokes += _ghost(left, top, view)
    return strokes


def _ghost(left: int, top: int, view: View) -> list[Stroke]:
    """The curve of a district, in steps wide enough to be seen as lines; what the picture shows."""
    order = _COARSE
    while order > 0 and (SIDE >> order) * view.scale < _NARROW:
        order -= 1
    while order >= _COARSE and order < ORDER and (SIDE >> order) * view.scale >= 2 * _WIDE:
        order += 1
    if order == 0:
        return []
    step = SIDE >> order
    index = _steps_seen(left, top, step, order, view)
    x, y = hilbert.cells_at(index, order)
    columns, rows = ((part.astype(np.float64) + 0.5) * step for part in (x, y))
    breaks = np.flatnonzero(np.diff(index.astype(np.int64)) != 1) + 1
    return [
        _stroke(run_x + left, run_y + top, view, 0.7)
        for run_x, run_y in zip(np.split(columns, breaks), np.split(rows, breaks), strict=True)
        if len(run_x) > 1
    ]


def _steps_seen(left: int, top: int, step: int, order: int, view: View) -> npt.NDArray[np.uint64]:
    """The indices of a district's squares of *step* cells that are in the picture, in order."""
    if order <= _COARSE:
        return np.arange(1 << 2 * order, dtype=np.uint64)
    ranges: list[npt.NDArray[np.int64]] = []
    for center, size, origin in (
        (view.center_x, view.width, left),
        (view.center_y, view.height, top),
    ):
        half = size / 2 / view.scale
        first = math.floor((center - half - origin) / step) - 1
        last = math.ceil((center + half - origin) / step) + 1
        ranges.append(np.arange(max(0, first), min(1 << order, last + 1)))
    x, y = (part.ravel() for part in np.meshgrid(*ranges))
    return np.sort(hilbert.indices_of(x, y, order).astype(np.uint64))


def _stroke(columns: Floats, rows: Floats, view: View, level: float) -> Stroke:
    x, y = view.to_pixels(columns, rows)
    return Stroke(x, y, np.full(len(x), level))
