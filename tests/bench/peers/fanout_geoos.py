"""The broadcaster's own hub, fan-out and port, without the feed: the subject of the comparison.

``python fanout_geoos.py VIEWERS RATE BATCH SIZE``, as :mod:`floor.c` and the peers beside this.
"""

from __future__ import annotations

import sys
import time

import structlog
import trio

from geoosd.broadcaster.adapters.fanout import Fanout
from geoosd.broadcaster.adapters.http import Router
from geoosd.broadcaster.adapters.port import Port
from geoosd.broadcaster.adapters.websocket import Viewers
from geoosd.broadcaster.core.hub import Hub, Limits
from geoosd.wire.access import Doorkeeper
from geoosd.wire.messages import Hello, Message, TokenVisualizationUpdate


async def _no_scene() -> None:
    """There is no compositor; viewers start from the ring."""


def _on_bug(where: str, error: BaseException) -> None:
    raise SystemExit(f"{where}: {error!r}")


async def _publish(fanout: Fanout, viewers: int, rate: float, batch: int, size: int) -> None:
    token, data = TokenVisualizationUpdate("x", 0), b"x" * size
    while sum(viewer.lane is not None for viewer in fanout.hub.viewers) < viewers:  # noqa: ASYNC110 - once, before it counts
        await trio.sleep(0.01)
    seq, next_ = 0, trio.current_time()
    while True:
        for _ in range(batch):
            seq += 1
            fanout.hub.publish(Message(token, 0.0, seq), data)
        fanout.published()
        # A little late is made up for, as a feed would; what a pause cost is not.
        next_ = max(next_ + batch / rate, trio.current_time() - 0.25)
        await trio.sleep_until(next_)


async def main(viewers: int, rate: float, batch: int, size: int) -> None:
    """Serve, and publish as soon as all viewers are there."""
    hub = Hub(Limits())
    hub.restart(Hello(epoch="bench", seq=0), time.time())
    fanout = Fanout(hub, max_stall_seconds=30.0, now=time.time)
    door = Viewers(fanout, _no_scene, max_viewers=viewers, default_tick=16)
    port = Port(
        Router([], Doorkeeper.of("127.0.0.1", ())),
        door.serve,
        max_connections=viewers + 16,
        now=time.time,
        log=structlog.get_logger(),
        on_bug=_on_bug,
    )
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    print(listeners[0].socket.getsockname()[1], flush=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(fanout.run)
        nursery.start_soon(_publish, fanout, viewers, rate, batch, size)
        await trio.serve_listeners(port.serve, listeners)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
