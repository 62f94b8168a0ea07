"""A viewer's WebSocket (RFC 6455) on ``/neural``: trio-websocket over a :class:`FanoutStream`.

What stock trio-websocket leaves open is closed here: bytes that are not ASCII in the headers it
decodes are refused first; handshake and close have deadlines; we close by a Close frame of our own,
since after its own a Ping would raise (its issue #184); messages are always drained. Whatever else
goes wrong ends in this connection alone (:mod:`.http` holds the firewall).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from itertools import count

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from geoosd.broadcaster.adapters.fanout import CLOSE_SECONDS, Fanout, FanoutStream
from geoosd.broadcaster.core import frames, subscription
from geoosd.broadcaster.core.hub import Scene
from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.errors import MessageError
from geoosd.wire import messages
from geoosd.wire.messages import MAX_SUBSCRIBE_BYTES, After, Error, Tick

SUBPROTOCOL = "geoos.v1"
HANDSHAKE_SECONDS = 10.0
_MAX_QUEUED_MESSAGES = 4

Snapshots = Callable[[], Awaitable[Scene | None]]


class Viewers:
    """Lets viewers in, listens to them, and shows them out."""

    def __init__(
        self, fanout: Fanout, snapshots: Snapshots, *, max_viewers: int, default_tick: Tick
    ) -> None:
        self.fanout = fanout
        self.max_viewers = max_viewers
        self.default_tick = default_tick
        self.refused = 0
        self._snapshots = snapshots
        self._ids = count(1)
        self._draining = False

    async def serve(self, sock: socket.socket, head: bytes, query: str, address: str) -> None:
        """Serve one viewer until it is gone; *head* is the request as read so far."""
        plain = Subscription(Filter(), self.default_tick)
        viewer = Viewer(f"v{next(self._ids)}", address, self.fanout.now(), plain)
        async with trio.open_nursery() as nursery:
            stream = FanoutStream(sock, viewer, self.fanout, nursery, head)
            try:
                with trio.move_on_after(HANDSHAKE_SECONDS):
                    connection = await self._shake_hands(nursery, stream)
                    stream.handshake_is_done()
                if not nursery.cancel_scope.cancel_called and stream.is_shaken:
                    await self._attend(connection, stream, query)
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
        offered = SUBPROTOCOL in request.proposed_subprotocols
        return await request.accept(subprotocol=SUBPROTOCOL if offered else None)

    async def _attend(
        self, connection: WebSocketConnection, stream: FanoutStream, query: str
    ) -> None:
        try:
            wanted = subscription.parse_query(query, self.default_tick)
        except MessageError as error:
            self.refused += 1
            await self._turn_away(connection, stream, frames.REFUSED, str(error))
            return
        if self._draining or len(self.fanout) >= self.max_viewers:
            self.refused += 1
            code = frames.RESTART if self._draining else frames.TOO_MANY_VIEWERS
            await self._turn_away(connection, stream, code, "too many viewers; try again later")
            return
        stream.viewer.subscription = wanted.subscription
        self.fanout.add(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.let_in, stream, wanted.resume)
            await self._listen(connection, stream)
            nursery.cancel_scope.cancel()

    async def let_in(self, stream: FanoutStream, resume: After | None = None) -> None:
        """Give a viewer its Hello and what it needs to start from."""
        hub, viewer = self.fanout.hub, stream.viewer
        scene = None if hub.can_resume(viewer, resume) else await self._snapshots()
        if viewer.lane is None and not stream.closed:
            hub.welcome(viewer, resume, scene, self.fanout.now())
            stream.catch_up()

    async def _listen(self, connection: WebSocketConnection, stream: FanoutStream) -> None:
        """Take what the viewer says until the connection is closed."""
        while True:
            try:
                data = await connection.get_message()
            except ConnectionClosed:
                return
            self._hear(data, stream)
            stream.catch_up()

    def _hear(self, data: str | bytes, stream: FanoutStream) -> None:
        hub, viewer, now = self.fanout.hub, stream.viewer, self.fanout.now()
        try:
            subscribe = subscription.parse_message(data, now)
            hub.subscribe(viewer, viewer.subscription.changed_by(subscribe), now)
        except MessageError as error:
            reply = messages.encode(Error(error.code, error.field, str(error)), now)
            hub.queue(viewer, frames.text_frame(reply))

    async def _turn_away(
        self, connection: WebSocketConnection, stream: FanoutStream, code: int, reason: str
    ) -> None:
        self.fanout.close(stream, code, reason)
        await self._listen(connection, stream)

    def disconnect(self, id_: str) -> bool:
        """Close a viewer by its id; False when there is none."""
        for stream in self.fanout.streams:
            if stream.viewer.id == id_:
                self.fanout.close(stream, frames.REFUSED, "disconnected by the administrator")
                return True
        return False

    async def drain(self) -> None:
        """Close every viewer with 1001 and wait, not for long, until they are gone."""
        self._draining = True
        for stream in self.fanout.streams:
            self.fanout.close(stream, frames.RESTART, "restarting; connect again")
        with trio.move_on_after(CLOSE_SECONDS):
            while len(self.fanout):
                await self.fanout.wait_removed()
