"""The views that are maps of everything: what is active, and what is remembered."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from geoosd.compositor.core import frame, palette
from geoosd.compositor.core.aim import view_of
from geoosd.compositor.core.cartography import ground, seen
from geoosd.compositor.core.field import key_of_token
from geoosd.compositor.core.look import Drawing, Label, Look
from geoosd.compositor.core.moment import Moment
from geoosd.compositor.core.plan import CROWD_SIDE, FramePlan, crowding, no_splats, stars
from geoosd.compositor.core.view import fit
from geoosd.compositor.core.wording import placed, words
from geoosd.wire.messages import District, Theme


def activation(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """What is active now, over what is remembered."""
    if not len(taken.in_use):
        return _nothing_yet(look, theme)
    view = view_of(taken, look)
    plan = frame.map_plan(taken, palette.lut(theme), view)
    return Drawing(plan, words(taken.newest, view, theme) if look.labels else ())


def _nothing_yet(look: Look, theme: Theme) -> Drawing:
    """An empty map: the place of the first district, and what to do."""
    view = fit(np.zeros(0), np.zeros(0), look.width, look.height)
    text = "no token has come yet: ask a model, or point a client at the bridge"
    color = palette.rgb(theme.muted)
    said = Label(
        view.width / 2, view.height - 30 * view.unit, text, 15 * view.unit, color, "mm"
    )  # fmt: skip
    first = ground([District(0, None, "ids")], np.zeros(1, np.uint64), view)
    plan = FramePlan(view, palette.lut(theme), no_splats(), no_splats(), (), first)
    return Drawing(plan, [said])


def memory(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """How often every token came, over the days; nothing of what is active now."""
    if not len(taken.in_use):
        return _nothing_yet(look, theme)
    view = view_of(taken, look)
    table = palette.lut(theme)
    known = seen(*taken.remembered, view, taken.tints(len(theme.tints)))
    most = float(known.weight.max(initial=1.0))
    level = np.log2(1 + known.weight) / math.log2(1 + most)
    # Where a district is full, its light would run together to white.
    crowd = crowding(known.x, known.y, view.unit)
    covered = min(1.0, (known.side / (CROWD_SIDE * view.unit * crowd)) ** 2)
    share = 1 / max(1.0, 3.6 * covered)
    light = stars(known.x, known.y, share * (0.12 + 0.75 * level**1.4), known.tint, view)
    # A token that came often is a larger star, as far as its cells leave room.
    light = replace(light, radius=max(light.radius * 0.75, min(0.43 * known.side, 7 * view.unit)))
    plan = FramePlan(
        view, table, light, no_splats(), (), ground(taken.districts, taken.in_use, view)
    )
    labels: list[Label] = []
    if look.labels:
        texts = {key_of_token(each.token): each.token.current_token for each in taken.newest}
        strongest = [int(key) for key in known.keys[::-1].tolist() if int(key) in texts]
        labels = placed([(key, texts[key], 1.0) for key in strongest[:80]], view, theme)
    return Drawing(plan, labels)
