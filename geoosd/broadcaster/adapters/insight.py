"""What the broadcaster says of itself: status, health, metrics and the list of its viewers.

Everything is read from the parts when somebody asks: nothing is counted twice on the data path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import trio
from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from geoosd.broadcaster.adapters.fanout import Fanout
from geoosd.broadcaster.adapters.feed import Feed
from geoosd.broadcaster.adapters.port import Port
from geoosd.broadcaster.adapters.websocket import Viewers
from geoosd.broadcaster.core.hub import Hub
from geoosd.errors import VarlinkError
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Report, Runtime
from geoosd.runtime.varlink import IncomingCall
from geoosd.wire import reports, varlink
from geoosd.wire.canary import passed

LAGGING: Final = 100
"""Messages behind from which on a viewer is called lagging."""
_LATENCY: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_INTERFACE: Final = "io.geoos.Broadcaster"


class _Disconnect(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class Parts(NamedTuple):
    """What there is to look at."""

    hub: Hub
    fanout: Fanout
    feed: Feed
    viewers: Viewers
    port: Port


class Insight(Collector):
    """Looks at *parts*, and answers for them by way of *runtime*."""

    def __init__(self, parts: Parts, runtime: Runtime) -> None:
        self._parts = parts
        runtime.registry.register(self)
        parts.fanout.observe_lag = Histogram(
            "broadcast_lag_messages",
            "Messages that wait for a viewer, looked at every 5 seconds",
            buckets=(0, 1, 10, LAGGING, 300, 1000),
            registry=runtime.registry,
        ).observe
        parts.fanout.observe_latency = Histogram(
            "broadcast_latency",
            "From when a flush was due until its last viewer had been sent to",
            unit="seconds",
            buckets=_LATENCY,
            registry=runtime.registry,
        ).observe
        runtime.health.add_probe("feed", self._feed_health)
        runtime.health.add_probe("viewers", self._viewers_health)
        runtime.varlink.add_interface(varlink.interface(_INTERFACE))
        runtime.varlink.add(f"{_INTERFACE}.ListViewers", self._list_viewers)
        runtime.varlink.add(f"{_INTERFACE}.DisconnectViewer", self._disconnect_viewer, "admin")

    def report(self, addresses: list[str], prompts: int) -> Report:
        """Viewers, the message rate, the ring, the feed; *prompts* run for pages just now."""
        hub, fanout, feed, _viewers, _port = self._parts
        ring, limits, count = hub.ring, hub.limits, len(fanout)
        return Report(
            status=f"{count} viewer{'' if count == 1 else 's'}",
            addresses=addresses,
            rates={"messages": feed.rate.per_second(trio.current_time())},
            queues=[
                reports.Queue("ring", len(ring), limits.ring_frames, "drop_oldest", ring.first),
                reports.Queue(
                    "viewer lag", self._worst_lag(), limits.max_lag, "drop_oldest", hub.dropped
                ),
            ],
            links=[feed.link.report()],
            details={
                "viewers": str(count),
                "lagging": str(self._lagging()),
                "epoch": hub.epoch,
                "seq": str(hub.seq),
                "prompts": str(prompts),
                **passed(feed.canary),
            },
        )

    def collect(self) -> Iterator[Metric]:
        """Metrics, for Prometheus."""
        hub, fanout, feed, viewers, port = self._parts
        counters = {
            "broadcast_messages": ("Messages taken from the feed", feed.messages),
            "broadcast_pictures": ("Pictures taken from the feed", feed.pictures),
            "broadcast_sends": ("send() calls to viewers", fanout.sends),
            "broadcast_bytes": ("Bytes sent to viewers", fanout.bytes),
            "broadcast_dropped": ("Messages that viewers missed, announced by gaps", hub.dropped),
            "broadcast_gaps": ("Gaps announced to viewers", hub.gaps),
            "broadcast_evictions": ("Viewers closed because they took nothing", hub.stalled),
            "broadcast_refused": (
                "Viewers and connections refused",
                viewers.refused + port.turned_away,
            ),
            "broadcast_http_requests": ("HTTP requests", port.requests),
            "broadcast_connection_errors": ("Connections that ended by an error", port.errors),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value=value)
        gauges = {
            "broadcast_clients_active": ("Viewers connected", len(fanout)),
            "broadcast_queue_depth": (
                "Messages that wait for the slowest viewer",
                self._worst_lag(),
            ),
            "broadcast_ring_bytes": ("Bytes of frames in the ring", hub.ring.size),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)

    def _worst_lag(self) -> int:
        """Messages that wait for the slowest viewer."""
        return max((viewer.lag for viewer in self._parts.hub.viewers), default=0)

    def _lagging(self) -> int:
        return sum(viewer.lag >= LAGGING for viewer in self._parts.hub.viewers)

    def _feed_health(self) -> Finding:
        feed = self._parts.feed
        if not feed.link.connected:
            return "critical", "no feed from the compositor", "geoosctl status"
        if not feed.filled.is_set():
            return "warning", "reads the feed from its oldest message on", "geoosctl health --watch"
        return "healthy", "connected", None

    def _viewers_health(self) -> Finding:
        count, lagging = len(self._parts.fanout), self._lagging()
        if lagging:
            text = f"{lagging} of {count} viewers are {LAGGING} or more messages behind"
            return "warning", text, "geoosctl viewers"
        return "healthy", f"{count} of at most {self._parts.viewers.max_viewers}", None

    async def _list_viewers(self, _call: IncomingCall) -> Mapping[str, Any]:
        return {
            "viewers": [
                {
                    "id": viewer.id,
                    "address": viewer.address,
                    "since": viewer.since,
                    "lag": viewer.lag,
                    "dropped": viewer.dropped,
                    "sent": viewer.sent,
                    "rate": round(viewer.rate, 1),
                    "channels": sorted(viewer.subscription.filter.channels),
                    "tick": viewer.subscription.tick,
                }
                for viewer in self._parts.hub.viewers
            ]
        }

    async def _disconnect_viewer(self, call: IncomingCall) -> None:
        id_ = call.convert(_Disconnect).id
        if not self._parts.viewers.disconnect(id_):
            raise VarlinkError(varlink.NOT_FOUND, {"reason": f"cannot find viewer {id_!r}"})
