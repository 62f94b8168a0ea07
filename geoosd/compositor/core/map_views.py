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
from geoosd.compositor.core.plan import FramePlan, no_splats, stars
from geoosd.compositor.core.wording import placed, words
from geoosd.wire.messages import Theme


def activation(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """What is active now, over what is remembered."""
    view = view_of(taken, look)
    plan = frame.map_plan(taken, palette.lut(theme), view)
    return Drawing(plan, words(taken.newest, view, theme) if look.labels else ())


def memory(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """How often every token came, over the days; nothing of what is active now."""
    view = view_of(taken, look)
    table = palette.lut(theme)
    known = seen(*taken.remembered, view, taken.tints(len(theme.tints)))
    most = float(known.weight.max(initial=1.0))
    level = np.log2(1 + known.weight) / math.log2(1 + most)
    light = stars(known.x, known.y, 0.12 + 0.75 * level**1.4, known.tint, view)
    # A token that came often is a larger star, as far as its cells leave room.
    light = replace(light, radius=max(light.radius * 0.75, min(0.42 * view.scale, 6 * view.unit)))
    plan = FramePlan(
        view, table, light, no_splats(), (), ground(taken.districts, taken.in_use, view)
    )
    labels: list[Label] = []
    if look.labels:
        texts = {key_of_token(each.token): each.token.current_token for each in taken.newest}
        strongest = [int(key) for key in known.keys[::-1].tolist() if int(key) in texts]
        labels = placed([(key, texts[key], 1.0) for key in strongest[:80]], view, theme)
    return Drawing(plan, labels)
