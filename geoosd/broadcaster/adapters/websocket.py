"""A viewer's WebSocket (RFC 6455) on ``/neural``: trio-websocket over a :class:`FanoutStream`.

What stock trio-websocket leaves open is closed here: what it cannot take of a handshake is refused
first (:mod:`.upgrade`); handshake and close have deadlines; we close by a Close frame of our own,
since after its own a Ping would raise (its issue #184); messages are always drained, their number
and size bounded. Whatever else goes wrong ends in this connection alone (:mod:`.port` holds the
firewall).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import count

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from geoosd.broadcaster.adapters.fanout import Fanout
from geoosd.broadcaster.adapters.http import until_expired
from geoosd.broadcaster.adapters.stream import CLOSE_SECONDS, FanoutStream
from geoosd.broadcaster.adapters.upgrade import Upgrade
from geoosd.broadcaster.core import frames, subscription
from geoosd.broadcaster.core.allowance import Allowance, Pace
from geoosd.broadcaster.core.census import Census
from geoosd.broadcaster.core.hub import Scene
from geoosd.broadcaster.core.subscription import Request
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.errors import MessageError
from geoosd.wire import messages
from geoosd.wire.messages import MAX_SUBSCRIBE_BYTES, After, Error, Tick

SUBPROTOCOL = "geoos.v1"
HANDSHAKE_SECONDS = 10.0
_MAX_QUEUED_MESSAGES = 4
_RECEIVE_BYTES = 4096
_ABNORMAL = 1006
_WISHES = Pace(rate=2, burst=20)
"""Messages a second from one viewer; each may change its filter, which costs a ring."""
_RETRY_MS, _RETRY_SPREAD_MS = 1000, 750
"""A restart takes about a second; who came sooner would only be refused."""

Snapshots = Callable[[], Awaitable[Scene | None]]


class Viewers:
    """Lets viewers in, listens to them, and shows them out."""

    def __init__(
        self,
        fanout: Fanout,
        snapshots: Snapshots,
        *,
        max_viewers: int,
        max_per_address: int = 1 << 30,
        default_tick: Tick,
    ) -> None:
        self.fanout = fanout
        self.max_viewers = max_viewers
        self.default_tick = default_tick
        self.census = Census(max_per_address)
        self.refused = 0
        self._places = 0
        self._snapshots = snapshots
        self._ids = count(1)
        self._draining = False

    async def serve(self, upgrade: Upgrade) -> None:
        """Serve one viewer until it is gone."""
        try:
            wanted = subscription.parse_query(upgrade.query, self.default_tick)
        except MessageError as error:
            await self._turn_away(upgrade, frames.REFUSED, str(error))
            return
        if self._draining:
            await self._turn_away(upgrade, frames.RESTART, "restarting; retry in 1000 ms")
        elif self._places >= self.max_viewers:
            text = "too many viewers; try again later"
            await self._turn_away(upgrade, frames.TOO_MANY_VIEWERS, text)
        elif not self.census.enter(upgrade.client):
            text = "too many viewers from one address; close some"
            await self._turn_away(upgrade, frames.TOO_MANY_VIEWERS, text)
        else:
            self._places += 1
            try:
                await self._seat(upgrade, wanted)
            finally:
                self._places -= 1
                self.census.leave(upgrade.client)

    async def serve_canary(self, upgrade: Upgrade) -> None:
        """Serve the viewer that is kept for canaries: it takes nobody's place."""
        wanted = subscription.parse_query(upgrade.query, self.default_tick)
        await self._seat(upgrade, wanted, reserved=True)

    async def _turn_away(self, upgrade: Upgrade, code: int, reason: str) -> None:
        """Shake hands and close in one breath: nothing is kept for who is not let in."""
        self.refused += 1
        offered = _offers_ours(upgrade.subprotocols.split(","))
        subprotocol = SUBPROTOCOL if offered else None
        answer = frames.refusal(upgrade.key, subprotocol, code, reason)
        sock = trio.socket.from_stdlib_socket(upgrade.sock)
        with trio.move_on_after(CLOSE_SECONDS), contextlib.suppress(OSError):
            await sock.send(answer)
            sock.shutdown(socket.SHUT_WR)
            while await sock.recv(_RECEIVE_BYTES):
                pass

    async def _seat(self, upgrade: Upgrade, wanted: Request, *, reserved: bool = False) -> None:
        id_ = "canary" if reserved else f"v{next(self._ids)}"
        viewer = Viewer(id_, upgrade.address, self.fanout.now(), wanted.subscription)
        viewer.reserved = reserved
        async with trio.open_nursery() as nursery:
            stream = FanoutStream(upgrade.sock, viewer, self.fanout, nursery, upgrade.head)
            try:
                with trio.move_on_after(HANDSHAKE_SECONDS):
                    connection = await self._shake_hands(nursery, stream)
                    stream.handshake_is_done(partial(_verdict, connection))
                if not nursery.cancel_scope.cancel_called and stream.is_shaken:
                    self.fanout.add(stream)
                    nursery.start_soon(self.let_in, stream, wanted.resume)
                    if upgrade.expires is not None:
                        nursery.start_soon(self._end_at, stream, upgrade.expires)
                    await self._listen(connection, stream)
                    await stream.aclose()
            finally:
                stream.abort()
            nursery.cancel_scope.cancel()

    async def _shake_hands(
        self, nursery: trio.Nursery, stream: FanoutStream
    ) -> WebSocketConnection:
        request = await wrap_server_stream(
            nursery,
            stream,
            message_queue_size=_MAX_QUEUED_MESSAGES,
            max_message_size=MAX_SUBSCRIBE_BYTES,
        )
        offered = _offers_ours(request.proposed_subprotocols)
        return await request.accept(subprotocol=SUBPROTOCOL if offered else None)

    async def _end_at(self, stream: FanoutStream, expires: float) -> None:
        """A token that has expired lets nobody watch any longer; *expires* is wall-clock time."""
        await until_expired(expires, self.fanout.now)
        self.fanout.close(stream, frames.REFUSED, "the token has expired")

    async def let_in(self, stream: FanoutStream, resume: After | None = None) -> None:
        """Give a viewer its Hello and what it needs to start from."""
        hub, viewer = self.fanout.hub, stream.viewer
        if viewer.reserved:
            resume = After(hub.epoch, hub.seq)  # it needs no scene to start from
        scene = None if hub.can_resume(viewer, resume) else await self._snapshots()
        if viewer.lane is None and not stream.closed:
            hub.welcome(viewer, resume, scene, self.fanout.now())
            stream.catch_up()

    async def _listen(self, connection: WebSocketConnection, stream: FanoutStream) -> None:
        """Take what the viewer says until the connection is closed."""
        wishes = Allowance(_WISHES)
        while True:
            try:
                data = await connection.get_message()
            except ConnectionClosed:
                return
            if stream.viewer.closing:
                continue
            if wishes.spend(1, trio.current_time()):
                self.fanout.close(stream, frames.REFUSED, "too many messages; Subscribe less often")
            else:
                self._hear(data, stream)
                stream.catch_up()

    def _hear(self, data: str | bytes, stream: FanoutStream) -> None:
        hub, viewer, now = self.fanout.hub, stream.viewer, self.fanout.now()
        try:
            subscribe = subscription.parse_message(data, now)
            hub.subscribe(viewer, viewer.subscription.changed_by(subscribe), now)
        except MessageError as error:
            reply = messages.encode(Error(error.code, error.field, str(error)), now)
            hub.answer(viewer, frames.text_frame(reply))

    def disconnect(self, id_: str) -> bool:
        """Close a viewer by its id; False when there is none."""
        for stream in self.fanout.streams:
            if stream.viewer.id == id_:
                self.fanout.close(stream, frames.REFUSED, "disconnected by the administrator")
                return True
        return False

    def turn_out(self, reason: str) -> None:
        """Close everybody: who may still watch comes back."""
        for stream in self.fanout.streams:
            self.fanout.close(stream, frames.REFUSED, reason)

    async def drain(self) -> None:
        """Close every viewer with 1001 and wait, not for long, until they are gone.

        The reason tells each one when to come back, evenly spread: a crowd that is back at once
        would be a stampede.
        """
        self._draining = True
        streams = self.fanout.streams
        for number, stream in enumerate(streams):
            wait = int(_RETRY_MS + _RETRY_SPREAD_MS * number / len(streams))
            self.fanout.close(stream, frames.RESTART, f"restarting; retry in {wait} ms")
        with trio.move_on_after(CLOSE_SECONDS):
            while len(self.fanout):
                await self.fanout.wait_removed()


def _offers_ours(subprotocols: Iterable[str]) -> bool:
    return any(each.strip() == SUBPROTOCOL for each in subprotocols)


def _verdict(connection: WebSocketConnection) -> int | None:
    """The close code that trio-websocket has settled on; 1006 means that the peer is gone."""
    reason = connection.closed
    return reason.code if reason is not None and reason.code != _ABNORMAL else None
