"""A peer: picows, WebSocket frames in Cython on asyncio.

``python fanout_picows.py VIEWERS RATE BATCH SIZE``. One ``send`` a viewer and message: it has no
broadcast.
"""

from __future__ import annotations

import asyncio
import sys

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server


async def main(viewers: int, rate: float, batch: int, size: int) -> None:
    """Serve, and send as soon as all viewers are there."""
    connections: set[WSTransport] = set()

    class Listener(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            connections.add(transport)

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            connections.discard(transport)

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            """Viewers say nothing."""

    server = await ws_create_server(lambda _request: Listener(), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while len(connections) < viewers:  # noqa: ASYNC110 - once, before it counts
        await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    data, next_ = b"x" * size, loop.time()
    while True:
        for _ in range(batch):
            for transport in connections:
                transport.send(WSMsgType.TEXT, data)
        next_ = max(next_ + batch / rate, loop.time() - 0.25)
        await asyncio.sleep(max(0.0, next_ - loop.time()))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
