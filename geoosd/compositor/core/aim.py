"""Where a picture of the map looks: the view that fits the cells in use, panned and zoomed."""

from __future__ import annotations

import numpy as np

from geoosd.compositor.core.cartography import Keys, map_coordinates
from geoosd.compositor.core.look import Box, Look
from geoosd.compositor.core.moment import Moment
from geoosd.compositor.core.places import ORDER
from geoosd.compositor.core.plan import Floats
from geoosd.compositor.core.view import View, fit


def view_of(taken: Moment, look: Look, size: tuple[int, int] | None = None) -> View:
    """Which cells *look* shows in *size* pixels, or in all of its own."""
    fitted = fit(*map_coordinates(taken.in_use), *(size or (look.width, look.height)))
    center = look.center
    if center is None and look.zoom > 1:
        keys, weights = taken.lit if len(taken.lit[0]) else taken.remembered
        if taken.newest:
            keys, weights = cells_of((keys, weights), {taken.newest[-1].token.district or 0})
        if len(keys):
            columns, rows = map_coordinates(keys)
            center = _middle(columns, weights) + 0.5, _middle(rows, weights) + 0.5
    return fitted.zoomed(look.zoom, center)


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


def _middle(values: Floats, weights: Floats) -> float:
    """Half-way between the weighted 10 % and 90 % quantiles: outliers do not draw it away."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / max(float(weights.sum()), 1e-300)
    inner: Floats = values[order][(share >= 0.1) & (np.append(0.0, share[:-1]) <= 0.9)]
    return float(inner[0] + inner[-1]) / 2
