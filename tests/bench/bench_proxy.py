"""The proxy: what the bridge adds to a stream's first byte and to each chunk.

A whole geoos without viewers stands before a model server that answers at once. The same client
asks directly, through the bridge, and through LiteLLM's proxy and mitmproxy in reverse mode where
they can be installed, in turns, over connections that are kept alive. Chunks carry the time at
which they were written. Times, not CPU: this is what a user waits. What ours adds to the direct way
is set beside what the others add.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from integration.stack import Stack, running
from machine import cpu_seconds, resident_bytes
from measure import Pace, Result, Skipped, Turn, alternate, at_most, ratio, value
from model_server import MODEL
from processes import HERE, Missing, Server, installed, serving

NAME = "proxy"
_STAMP = re.compile(rb'"@([0-9.]+)"')
_APART = 0.002
_STREAMS = 64
_END = b"0\r\n\r\n"
_KEY = "sk-bench"


class _Peer(NamedTuple):
    """A proxy to be set beside ours: what pip installs, and what in peers/ starts it."""

    name: str
    requirement: str
    script: str


_PEERS = (
    _Peer("LiteLLM", "litellm[proxy]==1.108.7", "proxy_litellm.py"),
    _Peer("mitmproxy", "mitmproxy>=11", "proxy_mitmproxy.py"),
)


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
            b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (_KEY.encode(), len(data), data)
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


class Way(NamedTuple):
    """A way to the model server: where a client connects, the process of the proxy on it, and how a
    peer is woken."""

    port: int
    pid: int | None = None
    server: Server | None = None


def run(pace: Pace) -> Iterator[Result]:
    """Directly, through the bridge, and through the peers that can be installed."""
    with ExitStack() as exits:
        server = exits.enter_context(serving([sys.executable, HERE / "model_server.py"]))
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="geoos-bench-")))
        url = f"http://127.0.0.1:{server.port}"
        peers: dict[str, Way] = {}
        for peer in _PEERS:
            try:
                peers[peer.name] = exits.enter_context(_started(peer, server.port, pace))
            except Missing as missing:
                yield Skipped(f"{NAME}, first byte: {peer.name}", str(missing))
        stack = exits.enter_context(running(directory, engine=False, upstream=url))
        stack.wait_for_model()
        ways = {"ours": Way(stack.bridge, stack.pids()["bridge"]), "direct": Way(server.port)}
        yield from _added(ways | peers, pace)
        del ways["direct"]
        yield from _cpu(ways | peers, pace)
        yield _memory(stack)


@contextlib.contextmanager
def _started(peer: _Peer, upstream: int, pace: Pace) -> Iterator[Way]:
    """A peer before the model server, paused until its turn comes."""
    interpreter = installed(peer.name.lower(), peer.requirement, make=not pace.quick)
    arguments = [str(upstream), MODEL, _KEY]
    with serving([interpreter, HERE / "peers" / peer.script, *arguments]) as server:
        server.pause()
        yield Way(server.port, server.pid, server)


def _added(ways: Mapping[str, Way], pace: Pace) -> Iterator[Result]:
    requests, chunks = (20, 60) if pace.quick else (60, 250)
    for what, measure, bound in (
        ("first byte", partial(first_byte_ms, requests=requests), 1.5),
        ("chunk", partial(chunk_ms, chunks=chunks), 0.2),
    ):
        turns: dict[str, Turn] = {name: partial(_turn, way, measure) for name, way in ways.items()}
        measured = alternate(turns, pace.rounds)
        direct = measured.pop("direct")
        added = {
            name: [one - other for one, other in zip(each, direct, strict=True)]
            for name, each in measured.items()
        }
        ours = added.pop("ours")
        yield value(f"{NAME}, {what}: direct", " ms", direct)
        yield value(f"{NAME}, {what}: through the bridge", " ms", measured["ours"])
        yield value(f"{NAME}, {what}: added, p50", " ms", ours, at_most(bound))
        for name, theirs in added.items():
            yield ratio(f"{NAME}, {what}: added / {name}'s", " ms", ours, theirs, "lower")


def _turn(way: Way, measure: Callable[[Client], float]) -> float:
    """Measure on a connection of its own, while of the peers only this one runs."""
    if way.server is not None:
        way.server.resume()
    client = Client(way.port)
    try:
        first_byte_ms(client, 5)  # wakes what has slept
        return measure(client)
    finally:
        client.close()
        if way.server is not None:
            way.server.pause()


def _cpu(ways: Mapping[str, Way], pace: Pace) -> Iterator[Result]:
    """What a request of one chunk takes from each: that says more than time on a busy machine."""
    requests = 50 if pace.quick else 200
    turns: dict[str, Turn] = {
        name: partial(_turn, way, partial(_request_cpu_ms, way, requests))
        for name, way in ways.items()
    }
    measured = alternate(turns, pace.rounds)
    ours = measured.pop("ours")
    yield value(f"{NAME}, CPU a request: bridge", " ms", ours)
    for name, theirs in measured.items():
        yield ratio(f"{NAME}, CPU a request: {name}", " ms", ours, theirs, "lower")


def _request_cpu_ms(way: Way, requests: int, client: Client) -> float:
    assert way.pid is not None
    before = cpu_seconds(way.pid)
    first_byte_ms(client, requests)
    return (cpu_seconds(way.pid) - before) * 1000 / requests


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
