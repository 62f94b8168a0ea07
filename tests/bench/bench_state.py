"""What the compositor's event loop pays for its state: a token, a late joiner, a picture's copy.

Each beside what it must not grow with, or what it cannot be below: a token in a full scene beside
one in an almost empty one; a late joiner's Snapshot beside the encoding of that Snapshot alone; the
copy that is handed to the drawing thread beside the sorting that the thread then does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

from measure import Pace, Result, alternate, cpu_cost, ratio

from geoosd.compositor.core.moment import moment
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import Snapshot, TokenVisualizationUpdate, encode

NAME = "state"
_RATE = 5000.0
"""Tokens a second; twenty seconds of it light more cells than the memory keeps."""
_FULL = 100_000
_FEW = 100
_BURST = 1000


class Filled:
    """A scene into which tokens of as many different ids have come."""

    def __init__(self, ids: int) -> None:
        self.scene, self.places = Scene(60.0), Places()
        self.count = itertools.count()
        self.ids = ids
        for _ in range(ids):
            self.token()

    @property
    def now(self) -> float:
        return next(self.count) / _RATE

    def token(self) -> None:
        number = next(self.count)
        token = TokenVisualizationUpdate(
            f" word{number % 9973}",
            number,
            token_id=number * 2_654_435_761 % self.ids,
            activation=0.5,
            confidence=0.5,
            session=f"s{number % 8}",
            model="m",
        )
        self.places.place(token)
        self.scene.apply(token, 1.0, number / _RATE)

    def burst(self) -> None:
        for _ in range(_BURST):
            self.token()

    def snapshot(self) -> Snapshot:
        return self.scene.snapshot(1, self.places.districts, self.now)


def run(pace: Pace) -> Iterator[Result]:
    """Everything in CPU-milliseconds."""
    full, few = Filled(_FULL), Filled(_FEW)
    told = full.snapshot()
    turns = {
        "full": full.burst,
        "few": few.burst,
        "snapshot": full.snapshot,
        "encoding": lambda: encode(told, 0.0),
        "copy": lambda: moment(full.scene, full.places, full.now),
        "sorting": lambda: moment(full.scene, full.places, full.now).lit,
    }
    cost = {name: partial(cpu_cost, turn, pace.seconds / 8) for name, turn in turns.items()}
    measured = alternate(cost, pace.rounds)
    for name, ours, peer in (
        (f"{_BURST:,} tokens, {_FULL:,} cells in use / {_FEW}", "full", "few"),
        (f"late joiner's Snapshot, {len(full.scene.memory):,} cells / encoding it",
         "snapshot", "encoding"),
        (f"copy for a picture, {len(full.scene.activation):,} cells / sorting them",
         "copy", "sorting"),
    ):  # fmt: skip
        yield ratio(f"{NAME}: {name}", " ms", measured[ours], measured[peer], "lower")
