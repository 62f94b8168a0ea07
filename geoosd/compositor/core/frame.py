"""The frame plan of the activation view (:mod:`.plan`), made from the scene in one go.

The layers, from the ground up: the frames of the districts and the ghost of their curve, memory as
faint stars, trails between successive tokens, and the activation.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import hilbert
from geoosd.compositor.core.palette import Lut
from geoosd.compositor.core.places import ORDER, SIDE, Places, origin_of
from geoosd.compositor.core.plan import MAX_SPLATS, Floats, FramePlan, Stroke, Tints, dust, stars
from geoosd.compositor.core.scene import Scene
from geoosd.compositor.core.view import View, fit
from geoosd.wire.messages import TokenVisualizationUpdate

MAX_TRAIL: Final = 40
"""Steps of a trail that are drawn, of each choice of a session."""
_GHOST_ORDER: Final = 6
_GHOST_PIXELS: Final = 9.0
"""Ghost curves whose steps are shorter than this many pixels would be a grey haze."""

Keys: TypeAlias = npt.NDArray[np.uint64]


def plan(scene: Scene, places: Places, table: Lut, size: tuple[int, int], now: float) -> FramePlan:
    """The picture of *scene* in pixels *size* (width, height), fitted to the cells in use."""
    keys, weights = scene.activation.cells(now, MAX_SPLATS)
    known, counts = scene.memory.cells(now, MAX_SPLATS)
    in_use = known if len(known) else keys
    view = fit(*map_coordinates(in_use), *size)
    tints = _tints(places, max(1, len(table) // 4096))
    # Memory counts; its logarithm says "how often" over the decades it may span.
    depth = 0.2 + np.log2(1 + counts) / 16
    return FramePlan(
        view,
        table,
        stars(*_seen(keys[::-1], np.minimum(weights[::-1], 1.0), view, tints), view),
        dust(*_seen(known[::-1], np.minimum(depth[::-1], 1.0), view, tints), view),
        [_trail(tokens, view) for tokens in _successions(scene)],
        _ground(places, in_use, view),
    )


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


def _seen(
    keys: Keys, level: Floats, view: View, tints: dict[int, int]
) -> tuple[Floats, Floats, Floats, Tints]:
    """Pixels, level and tint of the cells in or near the picture."""
    columns, rows = map_coordinates(keys)
    x, y = view.to_pixels(columns + 0.5, rows + 0.5)
    tint = np.zeros(len(keys), np.uint8)
    district = keys >> np.uint64(2 * ORDER)
    for index in np.unique(district).tolist():
        tint[district == index] = tints.get(index, 0)
    inside = (x > -64) & (y > -64) & (x < view.width + 64) & (y < view.height + 64)
    return (x[inside], y[inside], level[inside], tint[inside])


def _tints(places: Places, count: int) -> dict[int, int]:
    """The tint of each district: models in order of appearance, round and round."""
    models: dict[str | None, int] = {}
    return {
        district.index: models.setdefault(district.model, len(models)) % count
        for district in places.districts
    }


def _successions(scene: Scene) -> list[list[TokenVisualizationUpdate]]:
    """The newest tokens of each choice of each session, in the order of the text."""
    runs: dict[tuple[str | None, int | None], list[TokenVisualizationUpdate]] = {}
    for token in scene.recent:
        runs.setdefault((token.session, token.choice), []).append(token)
    newest = list(runs.values())[-8:]
    return [run[-MAX_TRAIL - 1 :] for run in newest if len(run) > 1]


def _trail(tokens: list[TokenVisualizationUpdate], view: View) -> Stroke:
    """A line through successive tokens that bends to one side, fainter with age.

    Each step is a quadratic Bézier curve, so that a way and its way back stay apart.
    """
    keys = np.array(
        [(token.district or 0) << 2 * ORDER | (token.cell or 0) for token in tokens], np.uint64
    )
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
    return Stroke(bent[0], bent[1], age**1.8)


def _ground(places: Places, keys: Keys, view: View) -> list[Stroke]:
    """The frame of each district in use, and the ghost of its Hilbert curve."""
    strokes: list[Stroke] = []
    used = set(np.unique(keys >> np.uint64(2 * ORDER)).tolist())
    for district in places.districts:
        if district.index not in used:
            continue
        left, top = origin_of(district.index)
        corners_x = np.array([0, 1, 1, 0, 0]) * float(SIDE) + left
        corners_y = np.array([0, 0, 1, 1, 0]) * float(SIDE) + top
        strokes.append(_stroke(corners_x, corners_y, view, 1.0))
        if (order := _ghost_order(view)) > 0:
            step = SIDE >> order
            x, y = hilbert.cells_at(np.arange(1 << 2 * order), order)
            strokes.append(
                _stroke(
                    (x.astype(np.float64) + 0.5) * step + left,
                    (y.astype(np.float64) + 0.5) * step + top,
                    view,
                    0.55,
                )
            )
    return strokes


def _ghost_order(view: View) -> int:
    """The finest curve, of at most order 6, whose steps are wide enough to be seen as lines."""
    order = _GHOST_ORDER
    while order > 0 and (SIDE >> order) * view.scale < _GHOST_PIXELS:
        order -= 1
    return order


def _stroke(columns: Floats, rows: Floats, view: View, level: float) -> Stroke:
    x, y = view.to_pixels(columns, rows)
    return Stroke(x, y, np.full(len(x), level))
