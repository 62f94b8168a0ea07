"""A Unix stream to another daemon that is opened again whenever it breaks.

The link knows how to connect and when to try again; what is said over the stream, and what is kept
meanwhile, is the session's business (the bridge's outbox, the broadcaster's place in the feed).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from geoosd.errors import FrameTooLarge, MessageError, reason_of
from geoosd.runtime.logs import Log
from geoosd.wire import reports

_BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel)


class Link:
    """Connects to *path* for ever and runs *session* over each stream.

    A session ends by returning, or by an error of its stream or of what the peer sent; then the
    link waits, from *min_delay* doubling to *max_delay* seconds with jitter, and connects anew. The
    delay starts afresh after a session that lasted.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        session: Callable[[trio.SocketStream], Awaitable[None]],
        *,
        log: Log,
        min_delay: float = 0.05,
        max_delay: float = 1.0,
    ) -> None:
        self.name = name
        self.path = path
        self.connected = False
        self._session = session
        self._log = log.bind(link=name)
        self._min_delay = min_delay
        self._max_delay = max_delay
        self._since = time.time()
        self._connects = 0

    async def run(self) -> None:
        """Keep the link up; runs until cancelled."""
        delay = self._min_delay
        while True:
            began = trio.current_time()
            try:
                stream = await trio.open_unix_socket(os.fspath(self.path))
            except OSError as error:
                self._log.debug("link is down", error=reason_of(error))
            else:
                await self._converse(stream)
                if trio.current_time() - began > self._max_delay:
                    delay = self._min_delay
            await trio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, self._max_delay)

    async def _converse(self, stream: trio.SocketStream) -> None:
        self._change(connected=True)
        self._connects += 1
        reason = "peer closed"
        try:
            async with stream:
                await self._session(stream)
        except* _BROKEN as group:
            reason = _first_reason(group)
        except* (FrameTooLarge, MessageError) as group:
            reason = _first_reason(group)
        finally:
            self._change(connected=False)
        self._log.info("link lost", error=reason)

    def _change(self, *, connected: bool) -> None:
        self.connected = connected
        self._since = time.time()
        if connected:
            self._log.info("link up", reconnects=self._connects)

    def report(self) -> reports.Link:
        """The link's state for ``GetStatus``."""
        state = "connected" if self.connected else "down"
        return reports.Link(
            self.name,
            os.fspath(self.path),
            state,  # type: ignore[arg-type]
            self._since,
            max(0, self._connects - 1),
        )


def _first_reason(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
