"""The viewer that is kept for canaries (:mod:`geoosd.wire.canary`): the last hop of the data path.

It goes through handshake, hub and fan-out like any other, over a socket pair instead of the port.
Its place counts for nobody else, and nobody is shown it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Final

import trio
from prometheus_client import CollectorRegistry, Histogram
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

from geoosd.broadcaster.adapters.upgrade import Upgrade
from geoosd.broadcaster.adapters.websocket import Viewers
from geoosd.errors import MessageError
from geoosd.runtime.health import Finding
from geoosd.wire import messages
from geoosd.wire.canary import Watch, journey
from geoosd.wire.messages import Canary

_QUERY: Final = "channels=canary&tick=0"
_RETRY: Final = 1.0
_GONE: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class CanaryViewer:
    """*is_open* tells whether the feed is there; *now* is the wall clock."""

    def __init__(
        self,
        viewers: Viewers,
        *,
        is_open: Callable[[], bool],
        now: Callable[[], float],
        registry: CollectorRegistry,
    ) -> None:
        self.watch = Watch()
        self._viewers = viewers
        self._is_open = is_open
        self._was_open = False
        self._now = now
        self._seconds = Histogram(
            "geoos_canary",
            "From one hop of the data path to the next, by the hop reached; total is all of it",
            ["hop"],
            unit="seconds",
            buckets=_BUCKETS,
            registry=registry,
        )

    def probe(self) -> Finding:
        """For health: whether the path carries."""
        now, is_open = trio.current_time(), self._is_open()
        if is_open and not self._was_open:
            self.watch.opened(now)
        elif not is_open:
            self.watch.closed()
        self._was_open = is_open
        return self.watch.finding(now)

    async def run(self) -> None:
        """Watch for ever; once more whenever the connection ends."""
        while True:
            ours, theirs = socket.socketpair()
            upgrade = Upgrade(theirs, b"", _QUERY, "", "", None, "", "canary")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve, upgrade)
                ours.setblocking(False)
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
                with contextlib.suppress(ConnectionClosed, HandshakeError, *_GONE):
                    await self._look(stream)
                nursery.cancel_scope.cancel()
            await trio.sleep(_RETRY)

    async def _serve(self, upgrade: Upgrade) -> None:
        with contextlib.suppress(*_GONE):
            await self._viewers.serve_canary(upgrade)

    async def _look(self, stream: trio.SocketStream) -> None:
        async with stream, trio.open_nursery() as nursery:
            connection = await wrap_client_stream(nursery, stream, "localhost", f"/neural?{_QUERY}")
            while True:
                self._take(await connection.get_message())

    def _take(self, data: str | bytes) -> None:
        now = self._now()
        raw = data.encode() if isinstance(data, str) else data
        with contextlib.suppress(MessageError):
            payload = messages.decode(raw, now).payload
            if isinstance(payload, Canary):
                payload.hops["viewer"] = now
                self._arrived(payload)

    def _arrived(self, canary: Canary) -> None:
        found = journey(canary.id, canary.hops)
        if found is None:
            return
        self.watch.arrived(found, trio.current_time())
        if found.is_sane:
            for hop, seconds in found.legs.items():
                self._seconds.labels(hop).observe(max(0.0, seconds))
            self._seconds.labels("total").observe(max(0.0, found.total))
