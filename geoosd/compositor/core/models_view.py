"""The view of models side by side: a map for each, drawn into one picture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import frame, palette
from geoosd.compositor.core.aim import cells_of, within
from geoosd.compositor.core.cartography import MAX_TRAIL, ground, map_coordinates, seen, trail
from geoosd.compositor.core.look import Box, Drawing, Label, Look
from geoosd.compositor.core.moment import Moment
from geoosd.compositor.core.places import ORDER, SIDE
from geoosd.compositor.core.plan import (
    MAX_SPLATS,
    Floats,
    FramePlan,
    Splats,
    Stroke,
    dust,
    no_splats,
    stars,
)
from geoosd.compositor.core.view import View, fit
from geoosd.compositor.core.wording import words
from geoosd.wire.messages import Theme

MAX_MODELS: Final = 9


def models(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """Each model's map beside the others', those written last first."""
    names = _models(taken)
    whole = View(SIDE / 2, SIDE / 2, look.width / SIDE, look.width, look.height)
    unit = whole.unit
    tints = taken.tints(len(theme.tints))
    boxes = _boxes(len(names), look, 14 * unit)
    parts: list[FramePlan] = []
    labels: list[Label] = []
    for name, box in zip(names, boxes, strict=True):
        mine = {each.index for each in taken.districts if each.model == name}
        part = _part(taken, mine, box, tints, look)
        parts.append(part)
        color = palette.rgb(theme.tints[tints[min(mine)]])
        left, top = box.left + 14 * unit, box.top + 20 * unit
        pace, muted = _told_of(taken, mine), palette.rgb(theme.muted)
        labels.append(Label(left, top, name or "unnamed", 19 * unit, color))
        labels.append(Label(left, top + 22 * unit, pace, 14 * unit, muted))
        if look.labels:
            own = [each for each in taken.newest if each.token.district in mine]
            free = top + 34 * unit
            room = Box(box.left, free, box.width - 60 * unit, box.bottom - free)
            labels += [each for each in words(own, part.view, theme) if room.holds(each.x, each.y)]
    plan = FramePlan(
        whole,
        palette.lut(theme),
        _together([part.stars for part in parts]),
        _together([part.dust for part in parts]),
        [line for part in parts for line in part.trails],
        [*(line for part in parts for line in part.ground), *map(_outline, boxes)],
    )
    return Drawing(plan, labels)


def _boxes(count: int, look: Look, gap: float) -> list[Box]:
    """Equal boxes in rows and columns that fill the picture."""
    if not count:
        return []
    columns = min(count, math.ceil(math.sqrt(count * look.width / look.height)))
    rows = math.ceil(count / columns)
    across, down = (look.width - gap) / columns, (look.height - gap) / rows
    return [
        Box(gap + column * across, gap + row * down, across - gap, down - gap)
        for row in range(rows)
        for column in range(columns)
    ][:count]


def _models(taken: Moment) -> list[str | None]:
    """Models by their last token, the newest first; those only remembered after them."""
    used = set(np.unique(taken.in_use >> np.uint64(2 * ORDER)).tolist())
    models = {each.index: each.model for each in taken.districts if each.index in used}
    order: dict[str | None, None] = {}
    for thought in reversed(taken.newest):
        if thought.token.district in models:
            order[models[thought.token.district]] = None
    for model in models.values():
        order.setdefault(model, None)
    return list(order)[:MAX_MODELS]


def _part(taken: Moment, mine: set[int], box: Box, tints: dict[int, int], look: Look) -> FramePlan:
    """The map of some districts, drawn into *box* of a larger picture."""
    district = np.uint64(2 * ORDER)
    in_use = taken.in_use[np.isin(taken.in_use >> district, list(mine))]
    room = fit(*map_coordinates(in_use), round(box.width), round(box.height))
    view = within(room.zoomed(look.zoom), box, look)
    clip = _Clip(box)
    lit = seen(*cells_of(taken.lit, mine), view, tints)
    known = seen(*cells_of(taken.remembered, mine), view, tints)
    some, few = clip.inside(lit.x, lit.y), clip.inside(known.x, known.y)
    runs = [
        run
        for run in frame.successions(taken)
        if all(token.district in mine for token in run[-MAX_TRAIL:])
    ]
    return FramePlan(
        view,
        np.zeros(0, np.uint32),
        stars(lit.x[some], lit.y[some], np.minimum(lit.weight[some], 1.0), lit.tint[some], view),
        dust(
            known.x[few],
            known.y[few],
            frame.depth(known.weight[few]),
            known.tint[few],
            view,
            known.spread,
        ),
        [
            clip.stroke(trail(run, view, left))
            for run in runs
            if (left := frame.remains(run, taken))
        ],
        [clip.stroke(line) for line in ground(taken.districts, in_use, view)],
    )


class _Clip:
    """What lies in a box."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def inside(self, x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
        box = self._box
        return (x > box.left) & (x < box.right) & (y > box.top) & (y < box.bottom)

    def stroke(self, line: Stroke) -> Stroke:
        """*line*, dark outside of the box."""
        return replace(line, level=line.level * self.inside(line.x, line.y))


def _outline(box: Box) -> Stroke:
    x = np.array([box.left, box.right, box.right, box.left, box.left])
    y = np.array([box.top, box.top, box.bottom, box.bottom, box.top])
    return Stroke(x, y, np.full(5, 0.8))


def _together(parts: list[Splats]) -> Splats:
    """Splats of several maps as one; the discs are as large as in the most crowded one."""
    if not parts:
        return no_splats()
    most = MAX_SPLATS // len(parts)
    return Splats(
        np.concatenate([part.x[-most:] for part in parts]),
        np.concatenate([part.y[-most:] for part in parts]),
        np.concatenate([part.amount[-most:] for part in parts]),
        np.concatenate([part.tint[-most:] for part in parts]),
        min(part.radius for part in parts),
        min(part.halo for part in parts),
        min(part.far for part in parts),
    )


def _told_of(taken: Moment, mine: set[int]) -> str:
    """Pace of the newest tokens of some districts, and how probable they were to their model."""
    own = [each for each in taken.newest if each.token.district in mine]
    if not own:
        return "nothing new"
    seconds = own[-1].at - own[0].at
    said = f"{(len(own) - 1) / seconds:.1f} tokens/s" if seconds > 0 else f"{len(own)} tokens"
    known = [each.token.activation for each in own if each.token.activation is not None]
    if known:
        said += f" · mean probability {sum(known) / len(known):.2f}"
    return said
