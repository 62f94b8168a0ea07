"""Messages on their way to the compositor: numbered, kept until acknowledged, bounded.

The rules (docs/interfaces.md, Ingest): ``ProducerHello {next}`` opens, every message carries its
number ``n``, ``Ack {through}`` lets go of all up to that number, and after a reconnect whatever is
not acknowledged is sent again. Numbers grow but may skip.

When more than *capacity* messages wait, the outbox first folds sessions that have ended (their
start and end stay, their tokens go), then drops the oldest messages that may be dropped, then ended
sessions as a whole, and announces the loss by exactly one :class:`Gap`. The adapter is
:mod:`..adapters.ingest`.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from geoosd.wire.framing import encode_frame
from geoosd.wire.messages import DROPPABLE, Gap, Payload, SessionEnded, encode

_SLACK: Final = 8
"""An overflow makes room for an eighth of the capacity, so that it is rare and its cost is
shared."""


class _Entry(NamedTuple):
    n: int
    frame: bytes
    session: str | None
    droppable: bool
    ends: bool


class Statistics(NamedTuple):
    """``depth`` messages wait, ``dropped`` were given up in all, ``acknowledged`` arrived."""

    depth: int
    capacity: int
    unsent: int
    dropped: int
    gaps: int
    acknowledged: int
    next: int


class Outbox:
    """The queue. *first* is the number of its first message.

    A producer that starts anew must begin above every number it used before, or its messages pass
    for repeats: take it from the clock.
    """

    def __init__(self, capacity: int, first: int = 1) -> None:
        self._capacity = max(1, capacity)
        self._next = first
        self._unacked: deque[_Entry] = deque()
        self._unsent: deque[_Entry] = deque()
        self._gap: tuple[int, int] | None = None
        self._dropped = 0
        self._gaps = 0
        self._acknowledged = 0

    def __len__(self) -> int:
        return len(self._unacked) + len(self._unsent)

    @property
    def next(self) -> int:
        """The number to say hello with: of the oldest message that is not acknowledged."""
        for queue in (self._unacked, self._unsent):
            if queue:
                return queue[0].n
        return self._next

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        return bool(self._unsent)

    @property
    def has_room(self) -> bool:
        """Whether half of it is free: then what can wait need not."""
        return len(self) * 2 <= self._capacity

    def push(self, payload: Payload, timestamp: float) -> None:
        """Number *payload*, encode it once and queue it. *timestamp*: seconds since the epoch."""
        self._append(payload, timestamp)
        if len(self) > self._capacity:
            self._overflow(timestamp)

    def resize(self, capacity: int) -> None:
        """Use another capacity from the next message on."""
        self._capacity = max(1, capacity)

    def take(self, limit: int = 1 << 16) -> bytes:
        """Frames to send now, at least one if any and then up to *limit* bytes; b"" if none."""
        frames: list[bytes] = []
        size = 0
        unsent, unacked = self._unsent, self._unacked
        while unsent and (not frames or size + len(unsent[0].frame) <= limit):
            entry = unsent.popleft()
            unacked.append(entry)
            frames.append(entry.frame)
            size += len(entry.frame)
        return b"".join(frames)

    def acknowledge(self, through: int) -> None:
        """Everything sent up to number *through* has arrived."""
        unacked = self._unacked
        while unacked and unacked[0].n <= through:
            unacked.popleft()
            self._acknowledged += 1

    def rewind(self) -> None:
        """The connection was lost: send again what is not acknowledged."""
        self._unsent.extendleft(reversed(self._unacked))
        self._unacked.clear()

    def statistics(self) -> Statistics:
        """A copy of the counters."""
        return Statistics(
            depth=len(self),
            capacity=self._capacity,
            unsent=len(self._unsent),
            dropped=self._dropped,
            gaps=self._gaps,
            acknowledged=self._acknowledged,
            next=self._next,
        )

    def _append(self, payload: Payload, timestamp: float) -> None:
        n = self._next
        self._next = n + 1
        self._unsent.append(
            _Entry(
                n,
                encode_frame(encode(payload, timestamp, n=n)),
                getattr(payload, "session", None),
                isinstance(payload, DROPPABLE),
                type(payload) is SessionEnded,
            )
        )

    # -- overflow ----------------------------------------------------------------------------------

    def _overflow(self, timestamp: float) -> None:
        room = self._capacity - max(1, self._capacity // _SLACK)
        before = len(self)
        waiting = (*self._unacked, *self._unsent)
        ended = {entry.session for entry in waiting if entry.ends}
        if ended:
            self._drop(before, ended)
        if (excess := len(self) - room) > 0:
            self._drop(excess)
        if len(self) > self._capacity:
            # Nothing is left but starts and ends: let whole sessions go that nobody can watch now.
            self._drop(len(self) - room, ended, whole=True)
        if (dropped := before - len(self)) > 0:
            self._announce(dropped, timestamp)

    def _drop(
        self, at_most: int, sessions: set[str | None] | None = None, *, whole: bool = False
    ) -> None:
        """Drop the oldest droppable messages, or *whole* ones; of *sessions* only if given."""
        left = at_most

        def kept(entry: _Entry) -> bool:
            nonlocal left
            goes = (whole or entry.droppable) and (sessions is None or entry.session in sessions)
            if not left or not goes:
                return True
            left -= 1
            return False

        self._unacked = deque(filter(kept, self._unacked))
        self._unsent = deque(filter(kept, self._unsent))

    def _announce(self, dropped: int, timestamp: float) -> None:
        """One Gap with the whole count: an announcement that is not sent yet is taken back."""
        self._dropped += dropped
        total = dropped
        if self._gap is not None:
            number, announced = self._gap
            if any(entry.n == number for entry in self._unsent):
                self._unsent = deque(entry for entry in self._unsent if entry.n != number)
                total += announced
                self._gaps -= 1
        self._gap = (self._next, total)
        self._gaps += 1
        self._append(Gap(None, None, total, "the bridge's outbox overflowed"), timestamp)
