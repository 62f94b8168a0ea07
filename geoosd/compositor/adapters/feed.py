"""The feed over a Unix socket (docs/interfaces.md, Feed): the adapter of :class:`..core.feed.Feed`.

One ring (:mod:`..core.ring`) holds the encoded frames; a consumer is a cursor, one task that reads
and one that writes, so a slow one costs nobody else anything: it gets a Gap when the ring has
overrun it. What consumers demand is passed on to the producers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from geoosd.compositor.core.ring import FeedRing
from geoosd.errors import FrameTooLarge, MessageError
from geoosd.runtime.watchdog import ask_unix
from geoosd.wire.framing import (
    KIND_JSON,
    KIND_PICTURE,
    MAX_FRAME,
    FrameDecoder,
    encode_feed_frame,
    split_feed_frame,
)
from geoosd.wire.messages import (
    COUNTED,
    Demand,
    Error,
    FeedRequest,
    Hello,
    Payload,
    Snapshot,
    SnapshotRequest,
    Theme,
    decode,
    encode,
)
from geoosd.wire.pictures import VIEWS, Picture, encode_picture
from geoosd.wire.reports import Queue

RING_COUNT: Final = 65_536
RING_BYTES: Final = 16 << 20
_BATCH_BYTES: Final = 64 << 10
_MAX_CONTROL: Final = 64
"""Answers that wait for one consumer; one that asks on without reading is cut off."""


class SocketFeed:
    """The feed and its consumers.

    *snapshot* makes the scene's Snapshot as of a number. *listen* gives the socket to serve.
    """

    def __init__(
        self,
        epoch: str,
        *,
        snapshot: Callable[[int], Snapshot],
        theme: Callable[[], Theme],
        now: Callable[[], float],
        on_demand: Callable[[Demand], None],
        listen: Callable[[], trio.SocketListener],
        on_watcher: Callable[[], None] = lambda: None,
        count: int = RING_COUNT,
        size: int = RING_BYTES,
    ) -> None:
        self.ring = FeedRing(epoch, max_count=count, max_bytes=size)
        self.snapshot = snapshot
        self.theme = theme
        self.now = now
        self.demand = Demand()
        self.errors = 0
        self.counted = 0
        self.addresses: list[str] = []
        self.on_watcher = on_watcher
        self._on_demand = on_demand
        self._listen = listen
        self._consumers: dict[int, _Consumer] = {}
        self._serial = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Open the socket and serve consumers, for ever."""
        listener = self._listen()
        self.addresses = [str(listener.socket.getsockname())]
        task_status.started()
        await trio.serve_listeners(self.serve, [listener])

    async def prove(self) -> None:
        """What the watchdog tries: a consumer that comes is answered."""
        request = encode(FeedRequest("newest"), 0.0)
        await ask_unix(Path(self.addresses[0]), encode_feed_frame(KIND_JSON, request))

    @property
    def epoch(self) -> str:
        """The ring's."""
        return self.ring.epoch

    @property
    def newest(self) -> int:
        """The ring's newest number."""
        return self.ring.newest

    def publish(self, payload: Payload, timestamp: float) -> None:
        """Number and keep one message; call :meth:`wake` after the last one of a batch."""
        ring = self.ring
        seq = ring.next if type(payload) in COUNTED else None
        self.counted = self.counted if seq is None else seq
        ring.append(encode_feed_frame(KIND_JSON, encode(payload, timestamp, seq=seq)))

    def show(self, picture: Picture) -> None:
        """Give *picture* to those who watch its view; one who has not taken the last one yet gets
        this one instead."""
        frame = encode_feed_frame(KIND_PICTURE, encode_picture(picture))
        view = VIEWS[picture.view]
        for consumer in self._consumers.values():
            if view in consumer.views:
                consumer.show(view, frame)

    @property
    def views(self) -> list[str]:
        """What somebody watches, in the order of :data:`~geoosd.wire.pictures.VIEWS`."""
        wanted = {view for each in self._consumers.values() for view in each.views}
        return [view for view in VIEWS if view in wanted]

    def wake(self) -> None:
        """Have the consumers read on."""
        for consumer in self._consumers.values():
            consumer.wake()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one consumer until it leaves."""
        self._serial += 1
        number = self._serial
        consumer = self._consumers[number] = _Consumer(self, stream)
        try:
            await consumer.run()
        finally:
            del self._consumers[number]
            self.demands_changed()

    def demands_changed(self) -> None:
        """Some consumer wants something else: what all want together goes upstream."""
        wanted = [each.demand for each in self._consumers.values()]
        layers = sorted({layer for each in wanted for layer in each.attention_layers or ()})
        frames = any(each.frames for each in wanted)
        views = sorted({view for each in wanted for view in each.views or ()})
        together = Demand(frames, layers or None, views or None)
        if together != self.demand:
            self.demand = together
            self._on_demand(together)

    def queues(self) -> list[Queue]:
        """The ring, and how far each consumer lags behind it."""
        ring = self.ring
        queues = [Queue("feed ring", len(ring), ring.capacity, "drop_oldest", ring.dropped)]
        queues += [
            Queue(f"feed consumer {number}", each.lag, ring.capacity, "drop_oldest", each.missed)
            for number, each in self._consumers.items()
        ]
        return queues

    @property
    def consumers(self) -> int:
        """How many are connected."""
        return len(self._consumers)


class _Consumer:
    """One connection. Nothing is sent before its first FeedRequest but what it asked for."""

    def __init__(self, feed: SocketFeed, stream: trio.SocketStream) -> None:
        self.demand = Demand()
        self.missed = 0
        self._feed = feed
        self._stream = stream
        self._cursor: int | None = None
        self._control: list[bytes] = []
        self._pictures: dict[str, bytes] = {}
        self._awake = trio.Event()
        self._sending = trio.Lock()

    @property
    def lag(self) -> int:
        """Messages that wait in the ring for this consumer."""
        return 0 if self._cursor is None else self._feed.ring.newest - self._cursor

    def wake(self) -> None:
        self._awake.set()

    @property
    def views(self) -> set[str]:
        """The views that it watches."""
        return {*(self.demand.views or ()), *(VIEWS[:1] if self.demand.frames else ())}

    def show(self, view: str, picture: bytes) -> None:
        self._pictures[view] = picture
        self.wake()

    async def run(self) -> None:
        async with self._stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                try:
                    await self._read()
                except FrameTooLarge as error:
                    self._feed.errors += 1
                    with trio.move_on_after(1):
                        await self._send(self._answer(Error("too_large", None, str(error))))
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        decoder = FrameDecoder(MAX_FRAME)
        async for chunk in self._stream:
            for frame in decoder.receive(chunk):
                try:
                    _kind, payload = split_feed_frame(frame)
                    self._obey(decode(payload, self._feed.now()).payload)
                except MessageError as error:
                    self._feed.errors += 1
                    self._say(Error(error.code, error.field, str(error)))
                if len(self._control) > _MAX_CONTROL:
                    return
            self.wake()

    def _obey(self, payload: Payload) -> None:
        if isinstance(payload, FeedRequest):
            ring = self._feed.ring
            start = ring.start(payload)
            self._cursor = start.cursor
            # The newest number that a message carries: who waits for it would wait in vain for a
            # canary's.
            seq, theme = self._feed.counted, self._feed.theme()
            self._say(Hello(ring.epoch, seq, ring.oldest, theme=theme))
            if start.gap is not None:
                self.missed += start.gap.dropped
                self._say(start.gap)
        elif isinstance(payload, SnapshotRequest):
            self._say(self._feed.snapshot(self._feed.ring.newest))
        elif isinstance(payload, Demand):
            self.demand = payload
            self._feed.demands_changed()
            if self.views:
                self._feed.on_watcher()
        else:
            kind = type(payload).__name__
            raise MessageError(
                "invalid",
                f"cannot take message_type: {kind} does not travel in this direction",
                "message_type",
            )

    def _say(self, payload: Payload) -> None:
        self._control.append(self._answer(payload))

    def _answer(self, payload: Payload) -> bytes:
        return encode_feed_frame(KIND_JSON, encode(payload, self._feed.now()))

    async def _write(self, connection: trio.CancelScope) -> None:
        """Send what was asked for, then the ring, a batch at a time."""
        try:
            while True:
                if data := self._next():
                    await self._send(data)
                else:
                    self._awake = trio.Event()
                    await self._awake.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            connection.cancel()

    def _next(self) -> bytes:
        if self._control:
            said, self._control = b"".join(self._control), []
            return said
        if self._pictures:
            return self._pictures.pop(next(iter(self._pictures)))
        if self._cursor is None:
            return b""
        batch = self._feed.ring.read(self._cursor, _BATCH_BYTES)
        self._cursor = batch.cursor
        if batch.gap is None:
            return batch.data
        self.missed += batch.gap.dropped
        return self._answer(batch.gap) + batch.data

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)
