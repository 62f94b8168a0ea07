"""Pictures on request: a moment is taken on the loop; the backend's thread plans, draws, encodes.

Requests wait their turn in front of that thread; beyond a few they are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Final, NamedTuple, TypeAlias

import trio
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from geoosd.compositor.adapters.backends import Backends
from geoosd.compositor.adapters.encode import Format, encode
from geoosd.compositor.core.plan import Backend, FramePlan, Timings
from geoosd.compositor.core.profile import Profile
from geoosd.runtime.varlink import unavailable
from geoosd.wire.reports import Queue

Sketch: TypeAlias = Callable[[], FramePlan]
"""Makes the plan of a moment that it has to itself: for a thread, and alike every time."""

_MAX_WAITING: Final = 8


class Painter:
    """The queue before the backend, and how long its pictures take."""

    def __init__(self, registry: CollectorRegistry, backends: Backends) -> None:
        self.backends = backends
        self.profile = Profile()
        self.live_tiles = 0
        self._turn = trio.Lock()
        self._waiting = 0
        self._refused = 0
        self._seconds = Histogram(
            "geoos_compositor_picture_seconds",
            "Time to draw and encode one picture",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
            registry=registry,
        )
        registry.register(self)

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
                drawn = await self.backends.draw(partial(_draw, take(), picture_format))
                self._seconds.observe(trio.current_time() - began)
                self.profile.add(drawn.timings, drawn.encode)
                self.live_tiles = drawn.live_tiles
                return drawn.picture
        finally:
            self._waiting -= 1

    def queue(self) -> Queue:
        """How many wait for a picture."""
        return Queue("pictures", self._waiting, _MAX_WAITING, "refuse", self._refused)

    def status(self) -> str:
        """What ``geoosctl status`` says of drawing."""
        backends, times = self.backends, self.profile.line()
        drawn = f", live tiles {self.live_tiles}, ms p50/p95: {times}" if times else ""
        return f"draws with {backends.name} on {backends.adapter}{drawn}"

    def details(self) -> dict[str, str]:
        """The same, and more, for ``geoosctl --json status``."""
        return {
            "backend": self.backends.name,
            "adapter": self.backends.adapter,
            "gpu": self.backends.found,
            "gpu_failures": str(self.backends.demotions),
            "live_tiles": str(self.live_tiles),
            "frame_ms": self.profile.line(),
        }

    def collect(self) -> Iterator[Metric]:
        """Metrics of drawing, for the registry."""
        times = Metric(
            "geoos_compositor_frame_seconds",
            "Time of a picture by stage; quantiles over the newest 512",
            "summary",
        )
        for stage, it in self.profile.stages().items():
            for quantile, seconds in it.quantiles.items():
                labels = {"stage": stage, "quantile": f"{quantile:g}"}
                times.add_sample(times.name, labels, seconds)
            times.add_sample(f"{times.name}_count", {"stage": stage}, it.pictures)
            times.add_sample(f"{times.name}_sum", {"stage": stage}, it.total)
        yield times
        yield GaugeMetricFamily(
            "geoos_compositor_live_tiles",
            "Tiles of the last picture that anything but the ground reached",
            value=self.live_tiles,
        )
        backend = GaugeMetricFamily(
            "geoos_compositor_backend_info", "What draws; always 1", labels=["backend", "adapter"]
        )
        backend.add_metric([self.backends.name, self.backends.adapter], 1)
        yield backend
        yield CounterMetricFamily(
            "geoos_compositor_gpu_failures",
            "Times that drawing went on with NumPy because the GPU failed",
            value=self.backends.demotions,
        )


class _Drawn(NamedTuple):
    picture: bytes
    timings: Timings
    encode: float
    live_tiles: int


def _draw(sketch: Sketch, picture_format: Format, backend: Backend) -> _Drawn:
    """Plan, draw and encode one picture. Blocks."""
    began = perf_counter()
    plan = sketch()
    planned = perf_counter()
    pixels = backend.draw(plan)
    timings = backend.timings._replace(cpu=backend.timings.cpu + planned - began)
    drawn = perf_counter()
    picture = encode(pixels, picture_format)
    return _Drawn(picture, timings, perf_counter() - drawn, backend.live_tiles)
