"""Pictures by NumPy: CPU-milliseconds from the scene to pixels, beside a copy of the same frame.

The copy is the floor that memory bandwidth sets: it goes through so many frames that caches do not
help. ``lit`` cells were each lit by a token of their own. ``first`` is the first picture of a view,
the others are drawn again and again, as for somebody who keeps asking: plan and lit tiles are made
anew each time, the ground is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from measure import Pace, Result, Turn, alternate, at_most, cpu_cost, ratio, value

from geoosd.compositor.adapters.render_numpy import NumpyBackend
from geoosd.compositor.core import frame, palette
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import Theme, TokenVisualizationUpdate

NAME = "compositor"
_THEME = Path(__file__).parents[2] / "etc" / "themes" / "aurora.json"
_CASES = dict.fromkeys((512, 1024, 2048, 4096), (0, 1, 17, 170, 1000))
_TARGETS = {(1024, 0): 0.2, (1024, 1): 5.0}
_VOCABULARY = 262_144
_COPIED = 256 << 20
"""Bytes of frames: several times the largest caches."""


def lit(count: int) -> tuple[Scene, Places]:
    """A scene in which *count* tokens have just been said, the same on every machine."""
    scene, places = Scene(8.0), Places()
    for position in range(count):
        token = TokenVisualizationUpdate(
            "t",
            position,
            token_id=(position + 1) * 40_503 % _VOCABULARY,
            model="bench",
            session="bench",
            activation=0.7,
        )
        places.place(token)
        scene.apply(token, 0.0, 0.0)
    return scene, places


def picture(
    backend: NumpyBackend | None, scene: Scene, places: Places, table: palette.Lut, side: int
) -> object:
    """One picture, as for a snapshot, not encoded; by a new renderer if none is given."""
    return (backend or NumpyBackend()).draw(frame.plan(scene, places, table, (side, side), 0.04))


def copying(side: int) -> Callable[[], None]:
    """Copies a frame of that size, from and to other memory every time."""
    frames = [np.full((side, side, 4), 7, np.uint8) for _ in range(_COPIED // (4 * side * side))]
    pairs = itertools.cycle(itertools.pairwise(frames))

    def copy() -> None:
        source, target = next(pairs)
        np.copyto(target, source)

    return copy


def run(pace: Pace) -> Iterator[Result]:
    """Sizes and numbers of lit cells."""
    table = palette.lut(msgspec.json.decode(_THEME.read_bytes(), type=Theme))
    for side, counts in _CASES.items():
        turns: dict[str, Turn] = {"copy": partial(cpu_cost, copying(side), pace.seconds / 10)}
        for count in counts:
            work = partial(picture, NumpyBackend(), *lit(count), table, side)
            work()
            turns[str(count)] = partial(cpu_cost, work, pace.seconds / 4)
        turns["first"] = partial(
            cpu_cost, partial(picture, None, *lit(17), table, side), pace.seconds / 4
        )
        measured = alternate(turns, pace.rounds)
        group = f"{NAME}, {side} x {side}"
        first, copy = measured["first"], measured["copy"]
        yield ratio(f"{group}: 17 lit, first / copy", " ms", first, copy, "lower")
        for count in counts:
            ours = measured[str(count)]
            yield ratio(f"{group}: {count} lit / copy", " ms", ours, measured["copy"], "lower")
            if bound := _TARGETS.get((side, count)):
                yield value(f"{group}: {count} lit, CPU", " ms", ours, at_most(bound))
