"""One viewer's socket, as the transport under trio-websocket, which keeps handshake, ping, pong and
close. What is sent, and in which order, the hub says; :mod:`.fanout` says when.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from geoosd.broadcaster.core import frames
from geoosd.broadcaster.core.allowance import Allowance, Pace
from geoosd.broadcaster.core.viewer import Viewer

if TYPE_CHECKING:
    from geoosd.broadcaster.adapters.fanout import Fanout

_RECEIVE_BYTES = 4096
_NOTSENT_LOWAT = 32768
"""tcp(7) TCP_NOTSENT_LOWAT: stale bytes in the kernel after a stall fell from 3950 to 180 KB."""
_KEEPALIVE_SECONDS = 60
_INCOMING = Pace(rate=4096, burst=65536)
"""Bytes a second that are read of a viewer: it has little to say, and what it says costs us."""
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
    if sock.family == socket.AF_UNIX:
        return  # the canary's
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

    __slots__ = (
        "_changed",
        "_draining",
        "_ending",
        "_fanout",
        "_head",
        "_heard",
        "_hub",
        "_incoming",
        "_left",
        "_nursery",
        "_reading",
        "_send",
        "_shaken",
        "_sock",
        "closed",
        "verdict",
        "viewer",
    )

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
        self._reading = False
        self._changed: trio.Event | None = None
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
        """Bytes from the viewer; empty at the end. Whoever has begun :meth:`aclose` reads alone."""
        await trio.lowlevel.checkpoint()
        if self._head:
            head, self._head = self._head, b""
            return head
        while not self.closed and self._left is None:
            try:
                data = self._sock.recv(max_bytes or _RECEIVE_BYTES)
            except BlockingIOError:
                await self._wait_readable()
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from None
            else:
                await self._take_time(len(data))
                return data
        raise trio.ClosedResourceError

    async def _wait_readable(self) -> None:
        self._reading = True
        try:
            await trio.lowlevel.wait_readable(self._sock)
        finally:
            self._reading = False
            self._tell_changed()

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
        is_end = self._shaken and frames.is_close(data)
        number = (self._hub.end if is_end else self._hub.queue)(self.viewer, bytes(data))
        self.catch_up()
        while self.viewer.control_given < number and not self.closed:
            await self._wait_changed()
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
                await self._wait_changed()
            self._sock.shutdown(socket.SHUT_WR)
            while not self.closed and await self._receive_and_forget():
                pass

    async def _receive_and_forget(self) -> bool:
        """False at the end. trio-websocket may be reading still: two cannot wait for one socket."""
        if self._reading:
            await self._wait_changed()
            return True
        await self._wait_readable()
        with contextlib.suppress(BlockingIOError):
            return bool(self._sock.recv(_RECEIVE_BYTES))
        return True

    async def _wait_changed(self) -> None:
        """Wait until something was sent, nobody reads any more, or the socket is closed."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _tell_changed(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

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
        self._tell_changed()
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
            self._tell_changed()
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
