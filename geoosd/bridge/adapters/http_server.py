"""An HTTP/1.1 server on h11 and trio that knows nothing of models.

A handler, such as :mod:`.proxy`'s, gets each request and answers it; what happens on one connection
is :mod:`.http_connection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import trio

from geoosd.bridge.adapters.http_body import RETRY, Limits
from geoosd.bridge.adapters.http_connection import (
    DEFAULT_LIMITS,
    Connection,
    Handler,
    OnBug,
)


class HttpServer:
    """Serves a handler on any number of listeners."""

    def __init__(self, handler: Handler, *, on_bug: OnBug, limits: Limits = DEFAULT_LIMITS) -> None:
        self.handler = handler
        self.on_bug = on_bug
        self.limits = limits
        self.connections = 0
        self.body_bytes = 0
        self.draining = False
        self.waiting: set[trio.CancelScope] = set()

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        draining: trio.Event,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until *draining*; then take nothing new, finish what runs, and return."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                await accepting.start(
                    partial(
                        trio.serve_listeners,
                        self._serve,
                        list(listeners),
                        handler_nursery=connections,
                    )
                )
                task_status.started()
                await draining.wait()
                self.draining = True
                accepting.cancel_scope.cancel()
            for scope in self.waiting:
                scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                connection = Connection(self, stream)
                if self.connections <= self.limits.connections:
                    await connection.serve()
                elif self.connections <= 2 * self.limits.connections:
                    message = "cannot take more connections; try again"
                    await connection.refuse(429, "rate_limited", message, [RETRY])
                await connection.linger()
        except Exception as error:  # noqa: BLE001 - one connection's bug is not the others'
            self.on_bug("http server", error)
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(stream)
