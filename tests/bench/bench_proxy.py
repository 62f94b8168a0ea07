"""The proxy: what the bridge adds to a stream's first byte and to each chunk.

A whole geoos without viewers stands before a model server that answers at once. The same client
asks directly and through the bridge, in turns, over connections that are kept alive. Chunks carry
the time at which they were written. Times, not CPU: this is what a user waits. Waking a process
takes longer than answering, so there is no ratio here that would mean anything on another machine.
"""

from __future__ import annotations

import json
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from integration.stack import Stack, running
from machine import resident_bytes
from measure import Pace, Result, Turn, alternate, at_most, value
from model_server import MODEL
from processes import HERE, serving

NAME = "proxy"
_STAMP = re.compile(rb'"@([0-9.]+)"')
_APART = 0.002
_STREAMS = 64
_END = b"0\r\n\r\n"


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, tokens: int, seconds_apart: float) -> None:
        """Send a request."""
        body = {
            "model": MODEL,
            "stream": True,
            "messages": [{"role": "user", "content": "x"}],
            "max_tokens": tokens,
            "seconds_apart": seconds_apart,
        }
        data = json.dumps(body).encode()
        self._socket.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)
        )

    def answer(self) -> tuple[float, list[float]]:
        """Read one whole answer: when its first byte came, and each chunk's age on arrival in
        seconds.
        """
        first, ages, held = 0.0, [], b""
        while not held.endswith(_END):
            data = self._socket.recv(65536)
            arrived = time.time()
            if not data:
                raise ConnectionError("the answer broke off")
            first = first or arrived
            ages += [arrived - float(stamp) for stamp in _STAMP.findall(data)]
            held = (held + data)[-64:]
        return first, ages

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def first_byte_ms(client: Client, requests: int) -> float:
    """From a request to the first byte of its answer, the median of *requests*."""
    waits = []
    for _ in range(requests):
        began = time.time()
        client.ask(1, 0.0)
        waits.append(client.answer()[0] - began)
    return statistics.median(waits) * 1000


def chunk_ms(client: Client, chunks: int) -> float:
    """From the writing of a chunk to its arrival, the median of *chunks* in one stream."""
    client.ask(chunks, _APART)
    return statistics.median(client.answer()[1]) * 1000


def run(pace: Pace) -> Iterator[Result]:
    """Directly and through the bridge."""
    with ExitStack() as exits:
        server = exits.enter_context(serving([sys.executable, HERE / "model_server.py"]))
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="geoos-bench-")))
        url = f"http://127.0.0.1:{server.port}"
        stack = exits.enter_context(running(directory, engine=False, upstream=url))
        stack.wait_for_model()
        clients = {"ours": Client(stack.bridge), "direct": Client(server.port)}
        for client in clients.values():
            exits.callback(client.close)
            first_byte_ms(client, 5)
        requests, chunks = (20, 60) if pace.quick else (60, 250)
        for what, measure, bound in (
            ("first byte", partial(first_byte_ms, requests=requests), 1.5),
            ("chunk", partial(chunk_ms, chunks=chunks), 0.2),
        ):
            turns: dict[str, Turn] = {
                name: partial(measure, client) for name, client in clients.items()
            }
            measured = alternate(turns, pace.rounds)
            ours, direct = measured["ours"], measured["direct"]
            added = [one - other for one, other in zip(ours, direct, strict=True)]
            yield value(f"{NAME}, {what}: direct", " ms", direct)
            yield value(f"{NAME}, {what}: through the bridge", " ms", ours)
            yield value(f"{NAME}, {what}: added, p50", " ms", added, at_most(bound))
        yield _memory(stack)


def _memory(stack: Stack) -> Result:
    """The bridge with many streams at once."""
    clients = [Client(stack.bridge) for _ in range(_STREAMS)]
    bridge = stack.pids()["bridge"]
    assert bridge is not None
    for client in clients:
        client.ask(30, 0.03)
    time.sleep(0.6)
    held = resident_bytes([bridge]) / 1e6
    for client in clients:
        client.answer()
        client.close()
    return value(f"{NAME}, bridge: memory, {_STREAMS} streams", " MB", [held], at_most(50))
