"""The ring: the newest messages as WebSocket frames, encoded once and shared by all viewers.

A *position* counts the entries of one ring since it was made; it grows by one per message and is
what a viewer's cursor and lag are made of. A *seq* is the feed's number of a message; it grows but
may skip, and is what a viewer resumes by. The ring is bounded by entries and by bytes; what falls
out is the oldest. Control entries (session starts and ends, themes, gaps) are remembered longer
than the rest, since a viewer that skips must still get them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from operator import attrgetter
from typing import NamedTuple

from geoosd.wire.messages import Channel


class Entry(NamedTuple):
    """One message. ``seq`` of one that is not ``numbered`` is that of the place it stands in: the
    next message has it too.
    """

    seq: int
    frame: bytes
    control: bool = False
    channel: Channel | None = None
    model: str | None = None
    numbered: bool = True

    @property
    def through(self) -> int:
        """The number up to which whoever has had this message has had everything."""
        return self.seq if self.numbered else self.seq - 1


class Batch(NamedTuple):
    """Several frames as one buffer.

    ``start`` is the position of the first, ``ends[i]`` the offset behind frame *i*, ``through[i]``
    the number up to which who has that frame has everything, ``after`` the same before the first.
    """

    data: bytes
    start: int
    ends: list[int]
    through: list[int]
    after: int

    @property
    def stop(self) -> int:
        """The position behind the last frame."""
        return self.start + len(self.ends)

    def split(self, sent: int) -> tuple[int, int]:
        """After *sent* bytes: how many frames have begun, and the offset where those end."""
        begun = bisect_left(self.ends, sent) + 1 if sent else 0
        return begun, self.ends[begun - 1] if begun else 0


_SEQ = attrgetter("seq")


class Ring:
    """Bounded by *max_frames* entries and *max_bytes* of frames; *max_controls* outlive them.

    ``first`` and ``end`` are the positions of the oldest entry and of the next one to come.
    ``lost_through`` is the highest seq that is, or may be, no longer here.
    """

    __slots__ = (
        "_before_first",
        "_bytes",
        "_controls",
        "_controls_lost",
        "_entries",
        "_head",
        "_max_bytes",
        "_max_controls",
        "_max_frames",
        "first",
        "lost_through",
    )

    def __init__(
        self,
        max_frames: int = 8192,
        max_bytes: int = 32 << 20,
        *,
        max_controls: int = 1024,
        lost_through: int = 0,
    ) -> None:
        self.first = 0
        self.lost_through = lost_through
        self._before_first = lost_through  # Entry.through of what has fallen out last
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._max_controls = max_controls
        self._entries: list[Entry] = []
        self._head = 0  # entries before it have fallen out; cut off in one go now and then
        self._bytes = 0
        self._controls: deque[tuple[int, bytes]] = deque()
        self._controls_lost = -1  # position of the newest control that is remembered no more

    def __len__(self) -> int:
        return len(self._entries) - self._head

    @property
    def end(self) -> int:
        """The position of the next entry."""
        return self.first + len(self)

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return self._bytes

    @property
    def through(self) -> int:
        """The number up to which whoever stands at the end has had everything."""
        return self.through_before(self.end)

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        return self._entries[self._head :]

    def append(self, entry: Entry) -> None:
        """Add the newest entry; its seq must not be below that of the newest so far."""
        newest = self._entries[-1].seq if len(self) else self.lost_through
        if entry.seq < newest:
            raise ValueError(f"seq {entry.seq} after {newest}")
        if entry.control:
            self._controls.append((self.end, entry.frame))
            if len(self._controls) > self._max_controls:
                self._controls_lost = self._controls.popleft()[0]
        self._entries.append(entry)
        self._bytes += len(entry.frame)
        while len(self) > 1 and (len(self) > self._max_frames or self._bytes > self._max_bytes):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        entry = self._entries[self._head]
        self._bytes -= len(entry.frame)
        self.lost_through, self._before_first = entry.seq, entry.through
        self.first += 1
        self._head += 1
        if self._head * 2 > len(self._entries):
            # Half of the list is dead: cutting it off costs O(1) per entry in the long run.
            del self._entries[: self._head]
            self._head = 0

    def position_after(self, seq: int) -> int | None:
        """The position of the first entry numbered above *seq*; None when one of those is lost."""
        if seq < self.lost_through:
            return None
        index = bisect_right(self._entries, seq, lo=self._head, key=_SEQ)
        return self.first + index - self._head

    def through_before(self, position: int) -> int:
        """The number up to which whoever stands at *position* has had everything (``first`` ≤
        position ≤ ``end``).
        """
        index = self._head + position - self.first - 1
        return self._entries[index].through if index >= self._head else self._before_first

    def below(self, position: int, newest: int) -> int:
        """The number up to which there is nothing at *position* or behind it; *newest* at the end,
        0 where *position* has fallen out.
        """
        if position < self.first:
            return 0
        index = self._head + position - self.first
        return self._entries[index].seq - 1 if index < len(self._entries) else newest

    def batch(self, start: int, stop: int, max_bytes: int) -> Batch:
        """The frames at positions *start* ≤ p < *stop*, up to about *max_bytes*.

        ``first`` ≤ start < stop ≤ ``end``. At least one frame; the one that reaches *max_bytes* is
        the last.
        """
        index = self._head + start - self.first
        after = self.through_before(start)
        frames: list[bytes] = []
        ends: list[int] = []
        through: list[int] = []
        size = 0
        for i in range(index, index + stop - start):
            entry = self._entries[i]
            frames.append(entry.frame)
            size += len(entry.frame)
            ends.append(size)
            through.append(entry.through)
            if size >= max_bytes:
                break
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        return Batch(data, start, ends, through, after)

    def controls(self, start: int, stop: int) -> list[bytes] | None:
        """The control frames at positions *start* ≤ p < *stop*; None when one is lost."""
        if start <= self._controls_lost:
            return None
        return [frame for position, frame in self._controls if start <= position < stop]
