"""Frames for those who watch: drawn at the pace of :mod:`..core.pacing`, only while somebody does.

With nobody watching, or nothing changing, this task sleeps until it is woken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from prometheus_client import CollectorRegistry, Counter

from geoosd.compositor.core.pacing import Pacer
from geoosd.errors import VarlinkError


class Frames:
    """*draw* makes and publishes one frame; *is_watched* says whether anybody wants it,
    *fades_until* when the last change by itself will be over, as of a time."""

    def __init__(
        self,
        pacer: Pacer,
        *,
        is_watched: Callable[[], bool],
        fades_until: Callable[[float], float],
        draw: Callable[[], Awaitable[None]],
        registry: CollectorRegistry,
    ) -> None:
        self.pacer = pacer
        self.count = 0
        self._is_watched = is_watched
        self._fades_until = fades_until
        self._draw = draw
        self._something = trio.Event()
        self._drawn = Counter(
            "geoos_compositor_frames", "Frames drawn for those who watch", registry=registry
        )

    def changed(self) -> None:
        """The scene or the theme is another one, or somebody has begun to watch."""
        self.pacer.changed()
        self._something.set()

    async def run(self) -> None:
        """Draw for ever."""
        while True:
            due = self.pacer.due
            if due is None or not self._is_watched():
                self._something = trio.Event()
                await self._something.wait()
                continue
            await trio.sleep_until(due)
            now = trio.current_time()
            self.pacer.drawn(now, self._fades_until(now))
            try:
                await self._draw()
            except VarlinkError:  # too many pictures are asked for: the next frame will do
                self.pacer.changed()
                continue
            self.count += 1
            self._drawn.inc()
