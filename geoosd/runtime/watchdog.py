"""Proof of life for the service manager, and a budget for bugs.

``WATCHDOG=1`` is sent only after the event loop, a worker thread and the daemon's own data path did
some work: a daemon that hangs in any of them is restarted. ``faulthandler`` prints every stack when
the manager then sends SIGABRT.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import trio

from geoosd.runtime.health import HealthRegistry
from geoosd.runtime.logs import Log
from geoosd.runtime.notify import Notifier, watchdog_interval
from geoosd.wire import events

_MARGIN = 0.5
"""Share of its time from which on a sign of life is a near miss."""
_REMEDY = "geoosctl status; uptime"

Proof: TypeAlias = Callable[[], Awaitable[None]]
"""Shows that a part of the data path works, by using it; raises OSError or hangs otherwise."""


async def feed_watchdog(
    notifier: Notifier, proofs: Mapping[str, Proof], log: Log, health: HealthRegistry
) -> None:
    """Send signs of life at half the interval that the manager wants; returns if it wants none.

    One is withheld, and that is logged, when a proof fails or takes longer than half the interval.
    The check ``watchdog`` tells how much of that time the last one took.
    """
    interval = watchdog_interval()
    if interval is None:
        return
    limiter = trio.CapacityLimiter(1)
    while True:
        began = trio.current_time()
        due = began + interval / 2
        asked, reason = "a worker thread", "hangs"
        with trio.move_on_at(due) as patience:
            try:
                await trio.to_thread.run_sync(_nothing, limiter=limiter, abandon_on_cancel=True)
                for name, proof in list(proofs.items()):
                    asked = name
                    await proof()
                notifier.watchdog()
                _note(health, trio.current_time() - began, interval / 2)
            except (OSError, trio.BrokenResourceError) as error:
                patience.cancel()
                reason = str(error) or type(error).__name__
        if patience.cancelled_caught or patience.cancel_called:
            log.error("no sign of life", part=asked, error=reason, **events.HUNG.fields)
            health.set("watchdog", "critical", f"no sign of life from {asked}: {reason}", _REMEDY)
        await trio.sleep_until(due)


def _note(health: HealthRegistry, took: float, most: float) -> None:
    text = f"the last sign of life took {took:.2f} of at most {most:g} s"
    if took > _MARGIN * most:
        health.set("watchdog", "warning", f"{text}; the machine or a part of it is slow", _REMEDY)
    else:
        health.set("watchdog", "healthy", text)


async def ask_unix(path: Path, request: bytes) -> None:
    """A proof: send *request* over a Unix socket of ours and get any answer."""
    await _ask(await trio.open_unix_socket(os.fspath(path)), request)


async def ask_http(listener: trio.SocketListener, target: str) -> None:
    """A proof: GET *target* from a listener of ours and get any answer."""
    host, port = listener.socket.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    request = f"GET {target} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n"
    await _ask(await trio.open_tcp_stream(host, port), request.encode())


async def ask_handler(serve: Callable[[trio.SocketStream], Awaitable[None]], target: str) -> None:
    """A proof for who shares a port: GET *target* from *serve*, which is given a connection of its
    own; one to the port might reach another process.
    """
    failure: Exception | None = None
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(_serve_next, listener, serve)
        try:
            await ask_http(listener, target)
        except (OSError, trio.BrokenResourceError) as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _serve_next(
    listener: trio.SocketListener, serve: Callable[[trio.SocketStream], Awaitable[None]]
) -> None:
    await serve(await listener.accept())


async def _ask(stream: trio.SocketStream, request: bytes) -> None:
    async with stream:
        await stream.send_all(request)
        if not await stream.receive_some(1):
            raise OSError("closed the connection without an answer")


def _nothing() -> None:
    """What a worker thread does to show that there is one."""


class ErrorBudget:
    """How many bugs a daemon may show in a while before it had better start afresh."""

    def __init__(self, log: Log, *, bugs: int = 20, seconds: float = 60.0) -> None:
        self._log = log
        self._bugs = bugs
        self._seconds = seconds
        self._seen: deque[float] = deque(maxlen=bugs)
        self.exhausted = trio.Event()

    def spend(self, where: str, error: BaseException) -> None:
        """Log a bug that a firewall caught in *where*; when there were too many, say so."""
        self._log.error(
            "bug",
            where=where,
            error=f"{type(error).__name__}: {error}",
            exc_info=error,
            **events.BUG.fields,
        )
        now = trio.current_time()
        self._seen.append(now)
        if len(self._seen) == self._bugs and now - self._seen[0] <= self._seconds:
            self.exhausted.set()
