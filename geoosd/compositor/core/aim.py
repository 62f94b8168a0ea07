"""Where a picture of the map looks: the view that fits the cells in use, panned and zoomed."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core.cartography import Keys, map_coordinates
from geoosd.compositor.core.look import Box, Look
from geoosd.compositor.core.moment import Moment
from geoosd.compositor.core.places import ORDER
from geoosd.compositor.core.plan import Floats
from geoosd.compositor.core.view import View, fit

_MARGIN: Final = 0.07
"""Of a picture, beyond the outermost cells in use."""


def view_of(taken: Moment, look: Look, size: tuple[int, int] | None = None) -> View:
    """Which cells *look* shows in *size* pixels, or in all of its own."""
    fitted = fit(*map_coordinates(taken.in_use), *(size or (look.width, look.height)))
    center = look.center
    if center is None and look.zoom > 1:
        keys, weights = taken.lit if len(taken.lit[0]) else taken.remembered
        in_use = taken.in_use
        if taken.newest:
            mine = {taken.newest[-1].token.district or 0}
            keys, weights = cells_of((keys, weights), mine)
            in_use, _ = cells_of((in_use, np.zeros(len(in_use))), mine)
        if len(keys) and len(in_use):
            view = fitted.zoomed(look.zoom)
            across, down = view.width / view.scale, view.height / view.scale
            (columns, rows), (all_columns, all_rows) = (
                map_coordinates(keys), map_coordinates(in_use),
            )  # fmt: skip
            column, among = _densest(columns, weights, across)
            row, _ = _densest(rows[among], weights[among], down)
            center = _held(column, all_columns, across), _held(row, all_rows, down)
    return fitted.zoomed(look.zoom, center)


def _held(center: float, cells: Floats, extent: float) -> float:
    """*center*, moved so that *extent* cells around it show little of what lies beyond *cells*."""
    margin = _MARGIN * extent
    low, high = float(cells.min()) - margin, float(cells.max()) + 1 + margin
    if high - low < extent:
        return (low + high) / 2
    return min(max(center + 0.5, low + extent / 2), high - extent / 2)


def within(part: View, room: Box, look: Look) -> View:
    """The view of the whole picture in which *room* shows what *part* shows."""
    return View(
        part.center_x - (room.left + room.width / 2 - look.width / 2) / part.scale,
        part.center_y - (room.top + room.height / 2 - look.height / 2) / part.scale,
        part.scale,
        look.width,
        look.height,
    )


def cells_of(cells: tuple[Keys, Floats], mine: set[int]) -> tuple[Keys, Floats]:
    """Of *cells*, those in the districts *mine*."""
    keys, weights = cells
    chosen = np.isin(keys >> np.uint64(2 * ORDER), list(mine))
    return keys[chosen], weights[chosen]


def _densest(values: Floats, weights: Floats, extent: float) -> tuple[float, npt.NDArray[np.intp]]:
    """Of all cells that fit into *extent* those that are most in weight: their middle, and which
    they are."""
    order = np.argsort(values)
    values, share = values[order], np.append(0.0, np.cumsum(weights[order]))
    ends = np.searchsorted(values, values + extent * (1 - 2 * _MARGIN), side="right")
    first = int(np.argmax(share[ends] - share[:-1]))
    chosen = order[first : ends[first]]
    return float(values[first] + values[ends[first] - 1]) / 2, chosen
