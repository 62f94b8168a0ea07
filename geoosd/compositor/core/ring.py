"""The ring of numbered feed messages (docs/interfaces.md, Feed), bounded by count and by bytes.

Every entry takes the next number, also a Gap or a Canary, which do not carry it; so numbers skip in
what a consumer sees, and only a Gap means loss. A consumer is a cursor: the number it has read to.
The adapter is :mod:`..adapters.feed`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from geoosd.wire.messages import After, FeedRequest, Gap

_OVERRUN: Final = "the reader was slower than the feed's ring"


class Batch(NamedTuple):
    """``data``: whole frames, in order; ``cursor``: the number they end with; ``gap``: what the
    reader missed before them."""

    data: bytes
    cursor: int
    gap: Gap | None


class Start(NamedTuple):
    """Where a reader begins."""

    cursor: int
    gap: Gap | None


class FeedRing:
    """The newest frames. ``dropped`` counts those that had to go, read by everybody or not."""

    def __init__(self, epoch: str, *, max_count: int, max_bytes: int) -> None:
        self.epoch = epoch
        self.capacity = max_count
        self.max_bytes = max_bytes
        self.bytes = 0
        self.newest = 0
        self.oldest = 1
        self.dropped = 0
        self._frames: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def next(self) -> int:
        """The number that the next entry will take."""
        return self.newest + 1

    def append(self, frame: bytes) -> int:
        """Keep *frame*, framed and encoded with the number :attr:`next`; its number.

        The newest entry is kept even if it alone is larger than ``max_bytes``.
        """
        self.newest += 1
        self._frames[self.newest] = frame
        self.bytes += len(frame)
        while len(self._frames) > 1 and (
            len(self._frames) > self.capacity or self.bytes > self.max_bytes
        ):
            self.bytes -= len(self._frames.pop(self.oldest))
            self.oldest += 1
            self.dropped += 1
        return self.newest

    def start(self, request: FeedRequest) -> Start:
        """The cursor that a request asks for; with a Gap when the ring no longer reaches back.

        A place in another epoch begins at the oldest: the Hello before it tells the consumer so.
        """
        wanted = request.from_
        if wanted == "newest":
            return Start(self.newest, None)
        if isinstance(wanted, After) and wanted.epoch == self.epoch:
            if wanted.after < self.oldest - 1:
                return Start(self.oldest - 1, self._gap(max(wanted.after, 0)))
            return Start(min(wanted.after, self.newest), None)
        return Start(self.oldest - 1, None)

    def read(self, cursor: int, limit: int) -> Batch:
        """The frames after *cursor*, at least one if there is any, then up to *limit* bytes."""
        gap = None
        if cursor < self.oldest - 1:
            gap = self._gap(cursor)
            cursor = self.oldest - 1
        frames: list[bytes] = []
        size = 0
        while cursor < self.newest:
            frame = self._frames[cursor + 1]
            if frames and size + len(frame) > limit:
                break
            frames.append(frame)
            size += len(frame)
            cursor += 1
        return Batch(b"".join(frames), cursor, gap)

    def _gap(self, cursor: int) -> Gap:
        return Gap(cursor + 1, self.oldest - 1, self.oldest - 1 - cursor, _OVERRUN)
