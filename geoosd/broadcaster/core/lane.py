"""A lane: the viewers with one filter and one tick, who all get the same bytes at the same time.

A flush is: :meth:`Lane.take` a batch, hand it to every viewer in ``due``, and say for each what
became of it; after the last batch, look after those of :meth:`Lane.take_strays`. Between two
viewers anything may happen (one leaves, falls behind, joins): who is in ``due`` has not had the
batch, who is in ``live`` has had everything up to ``position``.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from geoosd.broadcaster.core.ring import Batch, Ring
from geoosd.wire.messages import Tick

V = TypeVar("V")

BATCH_BYTES: Final = 64 << 10
"""About as much as one send() is given; frames are never split on purpose."""


class Lane(Generic[V]):
    """``live`` viewers are in step, ``due`` ones await the current ``batch``.

    ``ahead`` are those who had a Snapshot that is newer than ``position``: they wait until the lane
    has come by. ``after`` is the number up to which who stands at ``position`` has everything.
    ``pictures`` names the view that they get pictures of, of which number ``shown`` was the last.
    The dictionaries serve as ordered sets.
    """

    __slots__ = (
        "after",
        "ahead",
        "batch",
        "due",
        "live",
        "pictures",
        "position",
        "ring",
        "shown",
        "strays",
        "tick",
    )

    def __init__(self, ring: Ring, tick: Tick, *, pictures: str | None = None) -> None:
        self.ring = ring
        self.tick = tick
        self.pictures = pictures
        self.shown = 0
        self.position = ring.end
        self.after = ring.through
        self.live: dict[V, None] = {}
        self.due: dict[V, None] = {}
        self.ahead: dict[V, None] = {}
        self.strays: dict[V, None] = {}
        self.batch: Batch | None = None

    @property
    def target(self) -> int:
        """How far a viewer that is behind may go before it is in step."""
        return self.position if self.live or self.due else self.ring.end

    @property
    def has_overflowed(self) -> bool:
        """Whether the ring has lost what the lane has not sent: more than it holds in one tick."""
        return bool(self.live or self.due) and self.position < self.ring.first

    def take(self) -> Batch | None:
        """The next batch, now due to all who were live; None when there is nothing to send.

        Everybody must be out of ``due``, and an overflow mended, before it is called again.
        """
        self.strays |= self.ahead
        self.ahead.clear()
        if not self.live:
            self.go_to_end()
            return None
        if self.position == self.ring.end:
            return None
        batch = self.ring.batch(self.position, self.ring.end, BATCH_BYTES)
        self.batch = batch
        self.due, self.live = self.live, self.due
        self.position = batch.stop
        self.after = batch.through[-1]
        return batch

    def took_all(self, viewer: V) -> None:
        """*viewer*, who was due, has the whole batch and is in step again."""
        del self.due[viewer]
        self.live[viewer] = None

    def go_to_end(self) -> None:
        """Stand at the newest; nobody may be in step."""
        self.position = self.ring.end
        self.after = self.ring.through

    def take_strays(self) -> list[V]:
        """Those whom the driver must look after: they are behind, and nothing else wakes them."""
        strays = list(self.strays)
        self.strays.clear()
        return strays

    def remove(self, viewer: V) -> None:
        """*viewer* leaves, from wherever it is."""
        for place in (self.live, self.due, self.ahead, self.strays):
            place.pop(viewer, None)
