"""Lets canaries go (:mod:`geoosd.wire.canary`): at the pace of a clock, beside the traffic."""

from __future__ import annotations

from collections.abc import Callable

import trio

from geoosd.bridge.adapters.ingest import Ingest
from geoosd.wire.canary import INTERVAL
from geoosd.wire.messages import Canary


class Canaries:
    """*now* is the wall clock. ``last`` is when the newest one went, None before the first."""

    def __init__(self, ingest: Ingest, now: Callable[[], float]) -> None:
        self.last: float | None = None
        self._ingest = ingest
        self._now = now
        self._count = 0

    async def run(self) -> None:
        """Let one go now and then, while there is a way; runs until cancelled."""
        while True:
            if self._ingest.link.connected:
                self._count += 1
                self.last = self._now()
                self._ingest.put([Canary(str(self._count), {"bridge": self.last})])
            await trio.sleep(INTERVAL)
