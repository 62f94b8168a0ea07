"""A peer: ``websockets.broadcast`` (asyncio), as its documentation recommends for fan-out.

``python fanout_websockets.py VIEWERS RATE BATCH SIZE``. Neither compression nor keepalive, as in
geoos. It has no call for several frames at once: a batch is so many broadcasts.
"""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main(viewers: int, rate: float, batch: int, size: int) -> None:
    """Serve, and broadcast as soon as all viewers are there."""
    connections: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            await connection.wait_closed()
        finally:
            connections.discard(connection)

    async with serve(
        handle, "127.0.0.1", 0, ping_interval=None, compression=None, backlog=1024
    ) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        while len(connections) < viewers:  # noqa: ASYNC110 - once, before it counts
            await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        text, next_ = "x" * size, loop.time()
        while True:
            for _ in range(batch):
                broadcast(connections, text)
            next_ = max(next_ + batch / rate, loop.time() - 0.25)
            await asyncio.sleep(max(0.0, next_ - loop.time()))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
