"""The feed: numbered messages from the compositor into the hub (docs/interfaces.md, "Feed").

The first connection asks for everything that the compositor holds, a later one for what follows the
last number seen; a compositor that has restarted answers with a new epoch. Everything on the feed
is decoded once, for its type and model, and passed on as the bytes that came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from geoosd.broadcaster.adapters.fanout import Fanout
from geoosd.broadcaster.core import frames
from geoosd.broadcaster.core.hub import Hub, Scene
from geoosd.errors import MessageError
from geoosd.runtime.link import Link
from geoosd.runtime.logs import Log
from geoosd.runtime.metrics import RateMeter
from geoosd.wire import messages
from geoosd.wire.framing import (
    KIND_JSON,
    MAX_FEED_FRAME,
    FrameDecoder,
    encode_feed_frame,
    split_feed_frame,
)
from geoosd.wire.messages import (
    After,
    Canary,
    Demand,
    Error,
    FeedRequest,
    Gap,
    Hello,
    Message,
    Snapshot,
    SnapshotRequest,
)
from geoosd.wire.pictures import decode_picture

SNAPSHOT_SECONDS = 2.0
_RECEIVE_BYTES = 65536
_SKEW = 0.5
"""Seconds by which a canary may be older than our Hello."""
_CACHE_SECONDS = 0.016
"""One tick: viewers who join together share a snapshot."""

Restarted = Callable[[Hello], None]


def _look_away(_picture: bytes, _view: int) -> None:
    """What becomes of pictures that nobody wants."""


class Feed:
    """Keeps the link to the compositor and the hub's rings filled.

    ``filled`` is set once the ring holds what the compositor held when we came. *restarted* is
    called with the Hello of each new epoch, before any message of it, *show* with each picture.
    """

    def __init__(
        self,
        path: Path,
        fanout: Fanout,
        *,
        restarted: Restarted,
        show: Callable[[bytes, int], None] = _look_away,
        now: Callable[[], float],
        log: Log,
    ) -> None:
        self.link = Link("feed", path, self._session, log=log)
        self.filled = trio.Event()
        self.messages = 0
        self.refused = 0
        self.pictures = 0
        self.canaries = 0
        self.canary: float | None = None
        self.rate = RateMeter()
        self._fanout = fanout
        self._hub: Hub = fanout.hub
        self._restarted = restarted
        self._show = show
        self._demand = Demand()
        self._demand_changed = trio.Event()
        self._now = now
        self._log = log
        self._stream: trio.SocketStream | None = None
        self._sending = trio.Lock()
        self._fill_through = 0
        self._greeted = False
        self._came = 0.0
        self._waiting: trio.Event | None = None
        self._scene: tuple[float, Scene] | None = None

    async def run(self) -> None:
        """Read the feed for ever, and say upstream what is wanted of it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.link.run)
            while True:
                await self._demand_changed.wait()
                self._demand_changed = trio.Event()
                await self._send(self._demand)

    def want_pictures(self, frames: bool, views: Sequence[str] = ()) -> None:
        """Have the compositor send pictures, of these views as well, or none."""
        demand = Demand(frames=frames, views=sorted(views) or None)
        if demand != self._demand:
            self._demand = demand
            self._demand_changed.set()

    async def snapshot(self) -> Scene | None:
        """The scene as of now; None when the compositor does not answer in time."""
        if (scene := self._cached()) is not None:
            return scene
        if not self._greeted:
            return None
        with trio.move_on_after(SNAPSHOT_SECONDS):
            waiting = self._waiting
            if waiting is None:
                waiting = self._waiting = trio.Event()
                if not await self._send(SnapshotRequest()):
                    self._stop_waiting()
                    return None
            await waiting.wait()
            return self._scene[1] if self._scene is not None else None
        self._stop_waiting()
        self._log.warning("no snapshot from the compositor in time", seconds=SNAPSHOT_SECONDS)
        return None

    def _cached(self) -> Scene | None:
        if self._scene is None:
            return None
        taken, scene = self._scene
        fresh = trio.current_time() - taken <= _CACHE_SECONDS and scene.epoch == self._hub.epoch
        return scene if fresh else None

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.set()
            self._waiting = None

    async def _send(self, payload: messages.Payload) -> bool:
        """False when there is no connection to send it on."""
        frame = encode_feed_frame(KIND_JSON, messages.encode(payload, self._now()))
        async with self._sending:
            stream = self._stream  # it may have ended while another was sending
            if stream is None:
                return False
            try:
                await stream.send_all(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        return True

    async def _session(self, stream: trio.SocketStream) -> None:
        """One connection: ask, then take what comes."""
        self._stream = stream
        hub = self._hub
        request = FeedRequest(After(hub.epoch, hub.seq) if hub.epoch else "oldest")
        decoder = FrameDecoder(MAX_FEED_FRAME)
        try:
            await self._send(request)
            if self._demand != Demand():
                await self._send(self._demand)
            while chunk := await stream.receive_some(_RECEIVE_BYTES):
                before, others_before = self.messages, self.pictures + self.canaries
                for frame in decoder.receive(chunk):
                    self._take(frame)
                if self.messages != before:
                    self.rate.add(self.messages - before, trio.current_time())
                if (self.messages, self.pictures + self.canaries) != (before, others_before):
                    self._fanout.published()
        finally:
            self._stream = None
            self._greeted = False
            self._scene = None
            self._stop_waiting()

    def _take(self, frame: bytes) -> None:
        """One frame of the feed; a bad one is counted and logged, the feed goes on."""
        try:
            kind, data = split_feed_frame(frame)
            if kind != KIND_JSON:
                view = decode_picture(data).view
                self.pictures += 1
                self._show(data, view)
                return
            message = messages.decode(data, self._now())
        except MessageError as error:
            self.refused += 1
            self._log.warning("bad message on the feed", error=str(error))
            return
        self._take_message(message, data)

    def _take_message(self, message: Message, data: bytes) -> None:
        payload = message.payload
        match payload:
            case Hello():
                self._take_hello(payload)
            case Snapshot():
                scene = Scene(self._hub.epoch, payload.at_seq, frames.text_frame(data))
                self._scene = (trio.current_time(), scene)
                self._stop_waiting()
            case Error():
                self._log.warning("the compositor refused", error=payload.message)
                self._stop_waiting()
            case Canary():
                self._pass_on(payload, message)
            case _ if message.seq is not None or isinstance(payload, Gap):
                self.messages += self._hub.publish(message, data)
            case _:
                self.refused += 1
        if self._greeted and self._hub.seq >= self._fill_through:
            self.filled.set()

    def _pass_on(self, canary: Canary, message: Message) -> None:
        """Write the time on a canary; one that passed the compositor before we came is history."""
        if self.filled.is_set() and canary.hops.get("compositor", 0.0) >= self._came - _SKEW:
            canary.hops["broadcaster"] = self.canary = self._now()
            self._hub.publish(message, messages.encode(canary, message.timestamp))
            self.canaries += 1

    def _take_hello(self, hello: Hello) -> None:
        self._greeted = True
        self._came = self._now()
        self._fill_through = hello.seq
        if hello.epoch != self._hub.epoch:
            self._scene = None
            self._restarted(hello)
        else:
            self._hub.theme = hello.theme or self._hub.theme
