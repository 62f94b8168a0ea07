"""Made-up plans, the same on every machine: to try a backend, and to measure it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoosd.compositor.core.palette import LEVELS, Lut
from geoosd.compositor.core.plan import (
    MAX_SPLATS,
    SCALE_ONE,
    FramePlan,
    Stroke,
    dust,
    stars,
)
from geoosd.compositor.core.view import View

_PLACES = 50_000
_FADE_FRAMES = 240.0
"""Frames in which light falls to 1/e: eight seconds at thirty a second."""


def grey(tints: int = 2) -> Lut:
    """A table that tells every level and tint apart."""
    level = np.arange(tints * LEVELS, dtype=np.uint32)
    return level * np.uint32(2654435761) | np.uint32(255 << 24)


def trial_plan() -> FramePlan:
    """A little of everything."""
    view = View(0.0, 0.0, 1.0, 200, 130)
    random = np.random.default_rng(7)
    x, y = random.uniform(-20, 220, 40), random.uniform(-20, 150, 40)
    level, tint = random.uniform(0, 1, 40), random.integers(0, 2, 40, np.uint8)
    line = Stroke(x, y, level)
    return FramePlan(
        view,
        grey(),
        stars(x, y, level, tint, view),
        dust(y, x, level, tint, view),
        trails=[line],
        ground=[Stroke(y, x, level)],
        star_scale=SCALE_ONE * 3 // 4,
        glow_scale=SCALE_ONE // 3,
    )


def session(tokens: int, width: int, height: int) -> Iterator[FramePlan]:
    """For ever: a stream of so many tokens a frame, after it has run for a minute.

    Tokens fall on 50,000 places, on some of them often, as words do; a place is as bright as the
    tokens that fell on it, at most 1, as in a scene.
    """
    view, table = View(0.0, 0.0, 1.0, width, height), grey(1)
    random = np.random.default_rng(11)
    said = np.minimum(random.zipf(1.3, 1 << 17) - 1, _PLACES - 1)
    x, y = random.uniform(0.05, 0.95, (2, _PLACES)) * np.array([[width], [height]])
    spoken = min(len(said), int(tokens * _FADE_FRAMES * 7))
    fresh = np.exp(-(np.arange(spoken)[::-1] // max(1, tokens)) / _FADE_FRAMES)
    at = 0
    while True:
        window = said[(np.arange(spoken) + at) % len(said)]
        level = np.minimum(np.bincount(window, fresh, _PLACES), 1.0)
        strongest = np.argsort(-level, kind="stable")[:MAX_SPLATS]
        lit = strongest[level[strongest] > 1e-3][::-1]
        newest = window[-40:]
        trail = Stroke(x[newest], y[newest], np.linspace(0, 1, len(newest)))
        tint = np.zeros(len(lit), np.uint8)
        yield FramePlan(
            view,
            table,
            stars(x[lit], y[lit], level[lit], tint, view),
            dust(x[lit], y[lit], level[lit], tint, view),
            trails=[trail] if len(lit) else [],
        )
        at += tokens
