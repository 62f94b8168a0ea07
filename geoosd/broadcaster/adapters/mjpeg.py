"""``/stream.mjpg``: the newest picture to any number of HTTP clients, for OBS and ``<img>``.

Each client is one task that sleeps until there is a picture it has not had; the bytes are the same
for all of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import trio

from geoosd.broadcaster.core import pictures


class Mjpeg:
    """Holds the newest picture as a part. *changed* is called when the first client comes, and when
    the last one has gone.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.clients = 0
        self._changed = changed
        self._number = 0
        self._part = b""
        self._next = trio.Event()
        self._round = 0

    def show(self, picture: bytes) -> None:
        """Send *picture* to everybody who is ready for one."""
        if not self.clients:
            return
        self._number += 1
        self._part = pictures.part_of(picture)
        self._next.set()
        self._next = trio.Event()

    def turn_out(self) -> None:
        """End the streams of all clients."""
        self._round += 1
        self._next.set()
        self._next = trio.Event()

    async def parts(self, fps: float) -> AsyncGenerator[bytes, None]:
        """The pictures for one client, at most *fps* a second."""
        self.clients += 1
        if self.clients == 1:
            self._part = b""  # what was shown to others, long ago perhaps
            self._changed()
        try:
            yield pictures.FIRST
            seen = self._number - 1 if self._part else self._number
            mine = self._round
            while True:
                while seen == self._number and mine == self._round:
                    await self._next.wait()
                if mine != self._round:
                    return
                seen = self._number
                due = trio.current_time() + 1 / fps
                yield self._part
                await trio.sleep_until(due)
        finally:
            self.clients -= 1
            if not self.clients:
                self._changed()
