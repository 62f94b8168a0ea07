"""The frame plan of the map (:mod:`.plan`): ground, dust, trails and stars, made in one go.

The layers, from the ground up: the frames of the districts and the ghost of their curve, memory as
faint stars, trails between successive tokens, and the activation. :mod:`.cartography` says where
everything lies; :mod:`.views` lists what else may be drawn.
"""

from __future__ import annotations

import numpy as np

from geoosd.compositor.core.cartography import (
    MAX_TRAIL,
    TRAILS,
    ground,
    map_coordinates,
    seen,
    trail,
)
from geoosd.compositor.core.field import key_of_token
from geoosd.compositor.core.moment import Moment, moment
from geoosd.compositor.core.palette import LEVELS, Lut
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.plan import Floats, FramePlan, Stroke, dust, stars
from geoosd.compositor.core.scene import Scene
from geoosd.compositor.core.view import View, fit
from geoosd.wire.messages import TokenVisualizationUpdate


def plan(scene: Scene, places: Places, table: Lut, size: tuple[int, int], now: float) -> FramePlan:
    """The map of *scene* in pixels *size* (width, height), fitted to the cells in use."""
    taken = moment(scene, places, now)
    return map_plan(taken, table, fit(*map_coordinates(taken.in_use), *size))


def map_plan(taken: Moment, table: Lut, view: View) -> FramePlan:
    """The map as *view* shows it."""
    tints = taken.tints(max(1, len(table) // LEVELS))
    lit = seen(*taken.lit, view, tints)
    known = seen(*taken.remembered, view, tints)
    return FramePlan(
        view,
        table,
        stars(lit.x, lit.y, np.minimum(lit.weight, 1.0), lit.tint, view),
        dust(known.x, known.y, depth(known.weight), known.tint, view, known.spread),
        trails(taken, view),
        ground(taken.districts, taken.in_use, view),
    )


def depth(counts: Floats) -> Floats:
    """Memory counts; its logarithm says "how often" over the decades it may span: 0.3 to 1."""
    return np.minimum(0.3 + np.log2(1 + counts) / 14, 1.0)


def trails(taken: Moment, view: View) -> list[Stroke]:
    """The ways of the streams written last; they fade with the tokens that they join."""
    return [trail(run, view, left) for run in successions(taken) if (left := remains(run, taken))]


def remains(run: list[TokenVisualizationUpdate], taken: Moment) -> float:
    """How much of a trail has not faded, 0 to 1: as of the brightest token that it joins."""
    most = max(taken.glow.get(key_of_token(token), 0.0) for token in run[-MAX_TRAIL:])
    return min(1.0, most) if most >= taken.activation.floor else 0.0


def successions(taken: Moment) -> list[list[TokenVisualizationUpdate]]:
    """The newest tokens of each choice of each session, in the order of the text."""
    runs: dict[tuple[str | None, int | None], list[TokenVisualizationUpdate]] = {}
    for _, _, token in taken.newest:
        key = token.session, token.choice
        # The stream written last comes last.
        run = runs[key] = runs.pop(key, [])
        run.append(token)
    return [run for run in list(runs.values())[-TRAILS:] if len(run) > 1]
