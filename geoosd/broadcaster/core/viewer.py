"""One viewer: all that is known of it, in one place that can be exported (:mod:`.handover`).

A viewer costs a cursor into a shared ring, at most the rest of one split frame, and its own control
bytes. Wire order is always: the rest of a split frame, control bytes, ring.
"""

from __future__ import annotations

from typing import Final

from geoosd.broadcaster.core.lane import Lane
from geoosd.broadcaster.core.pictures import Still
from geoosd.broadcaster.core.ring import Batch
from geoosd.broadcaster.core.subscription import Subscription

MAX_CONTROL_BYTES: Final = 4 << 20
"""Control bytes that may wait for one viewer: a few snapshots. Beyond it the viewer is stalled."""

Handed = Batch | Still | bytes | memoryview
"""What :meth:`Hub.next_bytes` handed out: part of the ring, a picture, control bytes, or a frame's
rest.
"""


class Viewer:
    """State of one viewer; :class:`geoosd.broadcaster.core.hub.Hub` alone changes it.

    ``lane`` None: not let in yet, or closing. ``cursor`` counts only while the viewer is behind: in
    step with its lane it stands where the lane does (:attr:`place`); so does ``after``, the number
    up to which it was given everything. ``owed`` is the position up to which it was promised
    everything when it resumed: that backlog is no lag. ``seen`` is the number of its last picture,
    ``rate`` the messages a second between the last two marks. ``reserved``: kept for canaries.
    ``early`` are answers to what it said before its Hello, which come after that.
    """

    __slots__ = (
        "address",
        "after",
        "closing",
        "control",
        "control_bytes",
        "control_given",
        "cursor",
        "dropped",
        "early",
        "gaps",
        "handed",
        "id",
        "lane",
        "marked_at",
        "marked_sent",
        "owed",
        "rate",
        "reserved",
        "rest",
        "seen",
        "sent_before",
        "since",
        "start",
        "subscription",
    )

    def __init__(self, id_: str, address: str, since: float, subscription: Subscription) -> None:
        self.id = id_
        self.address = address
        self.since = since
        self.subscription = subscription
        self.reserved = False
        self.lane: Lane[Viewer] | None = None
        self.cursor = 0
        self.after = 0
        self.owed = 0
        self.seen = 0
        self.rest: memoryview | None = None
        self.control: list[bytes] = []  # short; an empty deque takes 700 bytes
        self.control_bytes = 0
        self.control_given = 0
        self.early: list[bytes] = []
        self.handed: Handed | None = None
        self.closing = False
        self.dropped = 0
        self.gaps = 0
        self.start = 0
        self.sent_before = 0
        self.marked_at: float | None = None
        self.marked_sent = 0
        self.rate = 0.0

    @property
    def place(self) -> tuple[int, int]:
        """The position in its ring, and the number up to which it was given everything."""
        lane = self.lane
        if lane is not None and self in lane.live:
            return lane.position, lane.after
        if lane is not None and self in lane.due and lane.batch is not None:
            return lane.batch.start, lane.batch.after
        return self.cursor, self.after

    @property
    def position(self) -> int:
        """Where it stands in its ring; 0 while it is in none."""
        return self.place[0] if self.lane is not None else 0

    @property
    def lag(self) -> int:
        """Messages that wait for it."""
        return self.lane.ring.end - self.position if self.lane is not None else 0

    @property
    def sent(self) -> int:
        """Messages of the ring that it was given; control messages of a gap are among them."""
        return self.sent_before + self.position - self.start - self.dropped

    def mark(self, now: float) -> None:
        """Measure ``rate`` since the last mark; *now* is of one monotonic clock."""
        sent = self.sent
        if self.marked_at is not None and now > self.marked_at:
            self.rate = max(0.0, (sent - self.marked_sent) / (now - self.marked_at))
        self.marked_at, self.marked_sent = now, sent
