"""Proof of life for the service manager, and a budget for bugs.

``WATCHDOG=1`` is sent only after the event loop *and* a worker thread did some work, so a hung loop
or an exhausted thread pool both end in a restart. ``faulthandler`` prints every stack when the
manager then sends SIGABRT.
"""

from __future__ import annotations

from collections import deque

import trio
from structlog.typing import FilteringBoundLogger

from geoosd.runtime.notify import Notifier, watchdog_interval


async def feed_watchdog(notifier: Notifier) -> None:
    """Send signs of life at half the interval that the manager wants; returns if it wants none."""
    interval = watchdog_interval()
    if interval is None:
        return
    limiter = trio.CapacityLimiter(1)
    while True:
        await trio.to_thread.run_sync(_nothing, limiter=limiter)
        notifier.watchdog()
        await trio.sleep(interval / 2)


def _nothing() -> None:
    """What a worker thread does to show that there is one."""


class ErrorBudget:
    """How many bugs a daemon may show in a while before it had better start afresh."""

    def __init__(self, log: FilteringBoundLogger, *, bugs: int = 20, seconds: float = 60.0) -> None:
        self._log = log
        self._bugs = bugs
        self._seconds = seconds
        self._seen: deque[float] = deque(maxlen=bugs)
        self.exhausted = trio.Event()

    def spend(self, where: str, error: BaseException) -> None:
        """Log a bug that a firewall caught in *where*; when there were too many, say so."""
        self._log.error(
            "bug", where=where, error=f"{type(error).__name__}: {error}", exc_info=error
        )
        now = trio.current_time()
        self._seen.append(now)
        if len(self._seen) == self._bugs and now - self._seen[0] <= self._seconds:
            self.exhausted.set()
