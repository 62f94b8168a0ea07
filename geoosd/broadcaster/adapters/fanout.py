"""Fan-out: the same bytes to many sockets, one ``send()`` per viewer and tick.

:class:`Fanout` flushes the lanes of the hub (:mod:`geoosd.broadcaster.core.hub`) straight
into the sockets. No task, channel or checkpoint per message and viewer: a raw send() is 5-8 µs, a
checkpoint alone 11.

Invariants: the order on the wire is rest of a split frame, control bytes, ring; a frame once begun
is finished (cancellation leaves no half frame); nothing follows a Close frame; whoever is in step
with its lane has nothing else waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from geoosd.broadcaster.adapters.stream import FanoutStream
from geoosd.broadcaster.core import frames
from geoosd.broadcaster.core.hub import Hub
from geoosd.broadcaster.core.lane import Lane
from geoosd.broadcaster.core.pictures import Still
from geoosd.broadcaster.core.ring import Batch
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire.messages import Tick

_SENDS_BEFORE_YIELD = 256
_SWEEP_SECONDS = 5.0


def _ignore(_lag: float) -> None:
    """What becomes of observations that nobody wants."""


class Fanout:
    """All viewers' sockets, and a flush loop per tick.

    ``observe_lag`` is told every viewer's lag, in messages, at every sweep, ``observe_latency`` how
    many seconds after a flush was due its last send() was done. *now* is the wall clock, for the
    timestamps of what the hub says itself.
    """

    def __init__(self, hub: Hub, *, max_stall_seconds: float, now: Callable[[], float]) -> None:
        self.hub = hub
        self.max_stall_seconds = max_stall_seconds
        self.now = now
        self.sends = 0
        self.bytes = 0
        self.observe_lag: Callable[[float], None] = _ignore
        self.observe_latency: Callable[[float], None] = _ignore
        self._removed = trio.Event()
        self._streams: dict[Viewer, FanoutStream] = {}
        self._senders: dict[Viewer, Callable[[Any], int]] = {}
        self._wake: dict[Tick, trio.Event] = {tick: trio.Event() for tick in (0, 16, 33, 100)}
        self._published: dict[Tick, float] = dict.fromkeys(self._wake, 0.0)

    def __len__(self) -> int:
        """How many watch; the viewer that is kept for canaries is nobody."""
        return len(self.hub.viewers)

    @property
    def streams(self) -> list[FanoutStream]:
        """The streams of all who watch."""
        return [self._streams[viewer] for viewer in self.hub.viewers]

    def stream_of(self, viewer: Viewer) -> FanoutStream | None:
        """The stream of *viewer*, while it is connected."""
        return self._streams.get(viewer)

    def add(self, stream: FanoutStream) -> None:
        """Count a viewer in."""
        self.hub.admit(stream.viewer)
        self._streams[stream.viewer] = stream
        self._senders[stream.viewer] = stream.sender

    def remove(self, stream: FanoutStream) -> None:
        """Count a viewer out."""
        self.hub.leave(stream.viewer)
        self._streams.pop(stream.viewer, None)
        self._senders.pop(stream.viewer, None)
        self._removed.set()
        self._removed = trio.Event()

    async def wait_removed(self) -> None:
        """Wait until a viewer is counted out."""
        await self._removed.wait()

    def close(self, stream: FanoutStream, code: int, reason: str) -> None:
        """Send a Close frame and nothing after it; soon afterwards close the socket."""
        self.hub.close(stream.viewer, code, reason)
        stream.catch_up()

    def evict(self, stream: FanoutStream, reason: str) -> None:
        """Drop a viewer that takes nothing, or is not there: a Close frame reaches it only if the
        kernel has room for that.
        """
        self.close(stream, frames.STALLED, reason)
        stream.abort()

    def count(self, sent: int) -> None:
        """Count one send()."""
        self.sends += 1
        self.bytes += sent

    def published(self) -> None:
        """Something is in the rings: wake the flush loops."""
        now = trio.current_time()
        for tick, event in self._wake.items():
            if not event.is_set():
                self._published[tick] = now
                event.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Flush for ever."""
        async with trio.open_nursery() as nursery:
            for tick in self._wake:
                nursery.start_soon(self._flush_at, tick)
            nursery.start_soon(self._sweep)
            task_status.started()

    async def _sweep(self) -> None:
        """See now and then who is still there, how fast each one reads and how far behind it is."""
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            for number, stream in enumerate(self.streams):
                now = trio.current_time()
                stream.viewer.mark(now)
                self.observe_lag(stream.viewer.lag)
                stream.ask_for_life(now)
                if number % _SENDS_BEFORE_YIELD == _SENDS_BEFORE_YIELD - 1:
                    await trio.lowlevel.checkpoint()

    async def _flush_at(self, tick: Tick) -> None:
        """Leading edge: the first message goes out at once, what follows after the tick."""
        free = trio.current_time()
        while True:
            await self._wake[tick].wait()
            self._wake[tick] = trio.Event()
            due, sends = max(self._published[tick], free), self.sends
            for group in self.hub.groups:
                if lane := group.lanes.get(tick):
                    await self.flush(lane)
            done = trio.current_time()
            if self.sends != sends:
                self.observe_latency(done - due)
            free = done + tick / 1000
            await trio.sleep_until(free)

    async def flush(self, lane: Lane[Viewer]) -> None:
        """Send everything that is new to everybody who is in step."""
        if lane.has_overflowed:
            self.hub.mend_overflow(lane)
        while (batch := lane.take()) is not None:
            await self._send_batch(lane, batch)
            if lane.has_overflowed:
                self.hub.mend_overflow(lane)
        if lane.pictures and (still := self.hub.still(lane.pictures)).number > lane.shown:
            lane.shown = still.number
            await self._send_picture(lane, still)
        for viewer in lane.take_strays():
            self._catch_up(viewer)

    async def _send_batch(self, lane: Lane[Viewer], batch: Batch) -> None:
        data, size = batch.data, len(batch.data)
        due, live, senders = lane.due, lane.live, self._senders
        left = _SENDS_BEFORE_YIELD
        for viewer in tuple(due):
            if viewer not in due:
                continue  # it left, or fell behind, while we yielded
            try:
                sent = senders[viewer](data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._streams[viewer].abort()
                continue
            self.sends += 1
            self.bytes += sent
            if sent == size:
                # Lane.took_all, spelled out: this is the innermost loop of all.
                del due[viewer]
                live[viewer] = None
            else:
                self.hub.took_part(viewer, batch, sent)
                self._catch_up(viewer)
            left -= 1
            if not left:
                left = _SENDS_BEFORE_YIELD
                await trio.lowlevel.checkpoint()

    async def _send_picture(self, lane: Lane[Viewer], still: Still) -> None:
        """The same picture to everybody who is in step; the others get the newest when they are."""
        for number, viewer in enumerate(tuple(lane.live), 1):
            if viewer in lane.live and viewer.seen != still.number:
                try:
                    sent = self._senders[viewer](still.frame)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._streams[viewer].abort()
                    continue
                self.count(sent)
                self.hub.took_picture(viewer, still, sent)
                if viewer not in lane.live:
                    self._catch_up(viewer)
            if number % _SENDS_BEFORE_YIELD == 0:
                await trio.lowlevel.checkpoint()

    def _catch_up(self, viewer: Viewer) -> None:
        if stream := self._streams.get(viewer):
            stream.catch_up()
