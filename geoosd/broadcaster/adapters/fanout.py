"""Fan-out: the same bytes to many sockets, one ``send()`` per viewer and tick.

:class:`FanoutStream` is the transport under trio-websocket, which keeps handshake, ping, pong and
close; :class:`Fanout` flushes the lanes of the hub (:mod:`geoosd.broadcaster.core.hub`) straight
into the sockets. No task, channel or checkpoint per message and viewer: a raw send() is 5-8 µs, a
checkpoint alone 11.

Invariants: the order on the wire is rest of a split frame, control bytes, ring; a frame once begun
is finished (cancellation leaves no half frame); nothing follows a Close frame; whoever is in step
with its lane has nothing else waiting.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from geoosd.broadcaster.core import frames
from geoosd.broadcaster.core.allowance import Allowance, Pace
from geoosd.broadcaster.core.hub import Hub
from geoosd.broadcaster.core.lane import Lane
from geoosd.broadcaster.core.ring import Batch
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire.messages import Tick

_RECEIVE_BYTES = 4096
_NOTSENT_LOWAT = 32768
"""tcp(7) TCP_NOTSENT_LOWAT: stale bytes in the kernel after a stall fell from 3950 to 180 KB."""
_KEEPALIVE_SECONDS = 60
_SENDS_BEFORE_YIELD = 256
_INCOMING = Pace(rate=4096, burst=65536)
"""Bytes a second that are read of a viewer: it has little to say, and what it says costs us."""
_SWEEP_SECONDS = 5.0
PING_SECONDS = 20.0
"""A viewer that says nothing for this long is asked whether it is there (RFC 6455 §5.5.2)."""
SILENT_SECONDS = 60.0
"""A viewer that says nothing for this long, not even a Pong, is gone."""
_GONE = (OSError, trio.ClosedResourceError)
CLOSE_SECONDS = 2.0
"""How long a viewer may take to answer our Close frame."""


def tune(sock: socket.socket) -> None:
    """Options of a viewer's socket: no Nagle, little stale data, a dead peer found by keepalive."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT)


class FanoutStream(trio.abc.Stream):
    """One viewer's socket.

    trio-websocket calls the methods of :class:`trio.abc.Stream`; each of its ``send_all`` is the
    handshake or exactly one frame. *head* is what was read of the connection before. Tasks run in
    *nursery*, which lives as long as the connection.
    """

    def __init__(
        self,
        sock: socket.socket,
        viewer: Viewer,
        fanout: Fanout,
        nursery: trio.Nursery,
        head: bytes,
    ) -> None:
        tune(sock)
        self.viewer = viewer
        self.closed = False
        self._sock = sock
        self._send = sock.send
        self._fanout = fanout
        self._hub = fanout.hub
        self._nursery = nursery
        self._head = head
        self._shaken = False
        self.verdict: Callable[[], int | None] = _none
        self._draining = False
        self._ending = False
        self._given = trio.Event()
        self._left: trio.Event | None = None
        self._heard = trio.current_time()
        self._incoming = Allowance(_INCOMING)

    @property
    def sender(self) -> Callable[[Any], int]:
        """The socket's non-blocking send, for the flush loop."""
        return self._send

    @property
    def is_shaken(self) -> bool:
        """Whether the handshake is done."""
        return self._shaken

    def handshake_is_done(self, verdict: Callable[[], int | None]) -> None:
        """From now on every ``send_all`` is a frame; *verdict* is the close code for a connection
        that has failed, None for one that is gone.
        """
        self._shaken = True
        self.verdict = verdict

    # -- called by trio-websocket ------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes from the viewer; empty at the end."""
        await trio.lowlevel.checkpoint()
        if self._head:
            head, self._head = self._head, b""
            return head
        while not self.closed:
            try:
                data = self._sock.recv(max_bytes or _RECEIVE_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from None
            else:
                await self._take_time(len(data))
                return data
        raise trio.ClosedResourceError

    async def _take_time(self, size: int) -> None:
        """Note a sign of life; who says too much is read more slowly."""
        self._heard = trio.current_time()
        if wait := self._incoming.spend(size, self._heard):
            await trio.sleep(wait)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue one frame and wait until it is on its way; after a Close frame: do nothing."""
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise trio.ClosedResourceError
        if self.viewer.closing:
            return
        number = self._hub.queue(self.viewer, bytes(data))
        if self._shaken and frames.is_close(data):
            self._hub.end(self.viewer)
        self.catch_up()
        while self.viewer.control_given < number and not self.closed:
            self._given = trio.Event()
            await self._given.wait()
        if self.closed:
            raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        """trio-websocket has one sender at a time; there is nothing to wait for."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close when the viewer has, or soon: a close() with bytes unread would be a reset, which
        may overtake our Close frame.

        trio-websocket comes here for a frame that breaks the protocol without a Close frame that
        says so (RFC 6455 §7.1.7); then it is sent here.
        """
        await trio.lowlevel.checkpoint()
        if self._left is not None:
            await self._left.wait()
            return
        self._left = trio.Event()
        try:
            await self._say_goodbye()
        finally:
            self.abort()
            self._left.set()

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(CLOSE_SECONDS), contextlib.suppress(*_GONE):
            if self._shaken and not self.viewer.closing and (code := self.verdict()) is not None:
                self._hub.close(self.viewer, code, "")
                self.catch_up()
            while (self.viewer.control or self.viewer.rest is not None) and not self.closed:
                self._given = trio.Event()
                await self._given.wait()
            self._sock.shutdown(socket.SHUT_WR)
            while not self.closed and await self._receive_and_forget():
                pass

    async def _receive_and_forget(self) -> bool:
        await trio.lowlevel.wait_readable(self._sock)
        with contextlib.suppress(BlockingIOError):
            return bool(self._sock.recv(_RECEIVE_BYTES))
        return True

    # -- called by the fan-out ---------------------------------------------------------------------

    def catch_up(self) -> None:
        """Send what waits for this viewer; in a task of its own as soon as the socket is full."""
        if self.viewer.closing and not self._ending:
            self._ending = True
            self._start(self._abort_late)
        if self.closed or self._draining or self._pump():
            return
        self._draining = True
        self._start(self._drain)

    def ask_for_life(self, now: float) -> None:
        """Ping a viewer that has been silent for a while, and drop it when it stays so."""
        silent = now - self._heard
        if silent >= SILENT_SECONDS:
            self._fanout.evict(self, "no answer to pings")
        elif silent >= PING_SECONDS and not self.viewer.closing:
            self._hub.queue(self.viewer, frames.PING)
            self.catch_up()

    def _start(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            self._nursery.start_soon(task)
        except RuntimeError:
            # The connection is ending and takes no more tasks.
            self.abort()

    def abort(self) -> None:
        """Close the socket; idempotent."""
        if self.closed:
            return
        self.closed = True
        self._given.set()
        self._fanout.remove(self)
        trio.lowlevel.notify_closing(self._sock)
        with contextlib.suppress(OSError):
            # FIN before close: unread bytes of the viewer would turn close() into a reset.
            self._sock.shutdown(socket.SHUT_WR)
        self._sock.close()

    async def _abort_late(self) -> None:
        """The viewer had its Close frame: give it a moment to answer (RFC 6455 §7.1.1)."""
        await trio.sleep(CLOSE_SECONDS)
        self.abort()

    def _pump(self) -> bool:
        """Send until nothing waits (True) or the socket is full (False)."""
        viewer, hub = self.viewer, self._hub
        while not self.closed:
            data = hub.next_bytes(viewer, self._fanout.now())
            if data is None:
                break
            try:
                sent = self._send(data)
            except BlockingIOError:
                return False
            except OSError:
                self.abort()
                break
            self._fanout.count(sent)
            hub.took(viewer, sent)
            self._given.set()
            if sent < len(data):
                return False
        return True

    async def _drain(self) -> None:
        """Catch up as fast as the viewer reads; evict one that makes no progress."""
        try:
            while not self.closed:
                with trio.move_on_after(self._fanout.max_stall_seconds) as stall:
                    await trio.lowlevel.wait_writable(self._sock)
                if stall.cancelled_caught:
                    self._fanout.evict(self, "stalled")
                    return
                if self._pump():
                    return
        except trio.ClosedResourceError:
            return  # closed while we waited
        finally:
            self._draining = False


def _none() -> None:
    """The verdict on a connection that has not failed."""


def _ignore(_lag: float) -> None:
    """What becomes of observations that nobody wants."""


class Fanout:
    """All viewers' sockets, and a flush loop per tick.

    ``observe_lag`` is told every viewer's lag, in messages, at every sweep. *now* is the wall
    clock, for the timestamps of what the hub says itself.
    """

    def __init__(self, hub: Hub, *, max_stall_seconds: float, now: Callable[[], float]) -> None:
        self.hub = hub
        self.max_stall_seconds = max_stall_seconds
        self.now = now
        self.sends = 0
        self.bytes = 0
        self.observe_lag: Callable[[float], None] = _ignore
        self._removed = trio.Event()
        self._streams: dict[Viewer, FanoutStream] = {}
        self._senders: dict[Viewer, Callable[[Any], int]] = {}
        self._wake: dict[Tick, trio.Event] = {tick: trio.Event() for tick in (0, 16, 33, 100)}

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def streams(self) -> list[FanoutStream]:
        """All viewers' streams."""
        return list(self._streams.values())

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
        for event in self._wake.values():
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
        while True:
            await self._wake[tick].wait()
            self._wake[tick] = trio.Event()
            for group in list(self.hub.groups.values()):
                if lane := group.lanes.get(tick):
                    await self.flush(lane)
            await trio.sleep(tick / 1000)

    async def flush(self, lane: Lane[Viewer]) -> None:
        """Send everything that is new to everybody who is in step."""
        if lane.has_overflowed:
            self.hub.mend_overflow(lane)
        while (batch := lane.take()) is not None:
            await self._send_batch(lane, batch)
            if lane.has_overflowed:
                self.hub.mend_overflow(lane)
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

    def _catch_up(self, viewer: Viewer) -> None:
        if stream := self._streams.get(viewer):
            stream.catch_up()
