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
    """For ever: a stream of so many tokens a frame, after it has run for a while.

    Tokens fall on a fixed set of places, some of them often, as words do; the newest 8,192 are lit.
    """
    view, table = View(0.0, 0.0, 1.0, width, height), grey(1)
    random = np.random.default_rng(11)
    rank = np.minimum(random.zipf(1.3, 1 << 17) - 1, 49_999)
    places = random.uniform(0.05, 0.95, (2, 50_000)) * np.array([[width], [height]])
    said = places[:, rank]
    lit = min(MAX_SPLATS, int(tokens * _FADE_FRAMES * 7))
    tint = np.zeros(lit, np.uint8)
    age = np.arange(lit)[::-1] // max(1, tokens)
    level = np.exp(-age / _FADE_FRAMES)
    at = 0
    while True:
        window = said[:, (np.arange(lit) + at) % said.shape[1]]
        newest = window[:, -40:]
        trail = Stroke(newest[0], newest[1], np.linspace(0, 1, newest.shape[1]))
        yield FramePlan(
            view,
            table,
            stars(window[0], window[1], level, tint, view),
            dust(window[0], window[1], level, tint, view),
            trails=[trail] if lit else [],
        )
        at += tokens
