"""Pictures on request: a moment is taken on the loop; one worker thread plans, draws and encodes.

Requests wait their turn in front of that thread; beyond a few they are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import trio
from prometheus_client import CollectorRegistry, Histogram

from geoosd.compositor.adapters.encode import Format, encode
from geoosd.compositor.adapters.render_numpy import NumpyBackend
from geoosd.compositor.core.plan import Backend, FramePlan
from geoosd.runtime.varlink import unavailable
from geoosd.wire.reports import Queue

Sketch: TypeAlias = Callable[[], FramePlan]
"""Makes the plan of a moment that it has to itself: for a thread."""

_MAX_WAITING: Final = 8


class Painter:
    """The worker and the queue before it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._turn = trio.Lock()
        self._backend: Backend = NumpyBackend()
        self._waiting = 0
        self._refused = 0
        self._seconds = Histogram(
            "geoos_compositor_picture_seconds",
            "Time to draw and encode one picture",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
            registry=registry,
        )

    async def paint(self, take: Callable[[], Sketch], picture_format: Format) -> bytes:
        """The picture of what *take* finds when its turn comes.

        Raises :class:`VarlinkError` (Unavailable) when too many wait already.
        """
        if self._waiting >= _MAX_WAITING:
            self._refused += 1
            raise unavailable(
                f"cannot draw now: {_MAX_WAITING} pictures are asked for already; ask again later"
            )
        self._waiting += 1
        try:
            async with self._turn:
                began = trio.current_time()
                picture = await trio.to_thread.run_sync(self._draw, take(), picture_format)
                self._seconds.observe(trio.current_time() - began)
                return picture
        finally:
            self._waiting -= 1

    def queue(self) -> Queue:
        """How many wait for a picture."""
        return Queue("pictures", self._waiting, _MAX_WAITING, "refuse", self._refused)

    def _draw(self, sketch: Sketch, picture_format: Format) -> bytes:
        return encode(self._backend.draw(sketch()), picture_format)
