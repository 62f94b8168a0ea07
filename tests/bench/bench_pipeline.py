"""The whole pipeline: from a token to its viewers, with real daemons and real sockets.

Every token's text is the time at which it was sent, so a viewer (native/viewers.c, the same clock)
knows how old it is. ``ingest`` tokens are written to ingest.sock by this process; ``model server``
ones come as chunks of a stream through the bridge, which is the way they go for users.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench_proxy import Client
from integration.stack import Stack, running
from machine import cpu_seconds, resident_bytes
from measure import Pace, Result, Skipped, Target, at_most, value
from processes import HERE, Missing, Viewers, compiled, serving, watching

from geoosd.wire.framing import encode_frame
from geoosd.wire.messages import TokenVisualizationUpdate, encode

NAME = "pipeline"
_LATENCY_VIEWERS, _LATENCY_RATE = 100, 100
_THROUGHPUT_VIEWERS, _THROUGHPUT_RATE = 10, 5000
_CROWD, _CROWD_RATE = 1000, 1000
_ARRIVAL_SECONDS = 5.0
_MEMORY = {"bridge": 50.0, "compositor": 150.0, "broadcaster": 60.0, "control": 50.0}
_VOCABULARY = 200_000


class Producer:
    """Writes tokens to ingest.sock as producers without a hello do."""

    def __init__(self, path: Path) -> None:
        self.sent = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def send(self, rate: int, seconds: float) -> None:
        """*rate* tokens a second, one at a time up to 1,000 a second, beyond that each ms."""
        together = max(1, rate // 1000)
        next_ = time.monotonic()
        for _ in range(int(rate * seconds / together)):
            self._socket.sendall(b"".join(self._token() for _ in range(together)))
            next_ += together / rate
            if (left := next_ - time.monotonic()) > 0:
                time.sleep(left)

    def _token(self) -> bytes:
        now = time.time()
        self.sent += 1
        token = TokenVisualizationUpdate(
            f"@{now:.6f}",
            self.sent,
            token_id=self.sent * 7919 % _VOCABULARY,
            activation=0.5,
            session="bench",
            model="bench",
        )
        return encode_frame(encode(token, now))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@contextmanager
def before_a_model() -> Iterator[Stack]:
    """``geoosd up`` without the engine, before the benchmarks' model server."""
    with (
        serving([sys.executable, HERE / "model_server.py"]) as server,
        tempfile.TemporaryDirectory(prefix="geoos-bench-") as directory,
        running(Path(directory), engine=False, upstream=f"http://127.0.0.1:{server.port}") as stack,
    ):
        stack.wait_for_model()
        yield stack


def run(pace: Pace) -> Iterator[Result]:
    """Needs a C compiler for the viewers."""
    try:
        compiled("viewers")
    except Missing as missing:
        yield Skipped(NAME, str(missing))
        return
    with ExitStack() as exits:
        stack = exits.enter_context(before_a_model())
        producer = Producer(stack.directory / "run" / "ingest.sock")
        exits.callback(producer.close)
        yield from _latency(stack, producer, pace)
        yield from _throughput(stack, producer, pace)
        if not pace.quick:
            yield from _crowd(stack, producer, pace)


def _latency(stack: Stack, producer: Producer, pace: Pace) -> Iterator[Result]:
    seconds = 2 * pace.seconds
    client = Client(stack.bridge)
    tokens = round(_LATENCY_RATE * seconds)

    def through_the_bridge() -> None:
        client.ask(tokens, 1 / _LATENCY_RATE)
        client.answer()

    ways: dict[str, Callable[[], None]] = {
        "model server to viewer": through_the_bridge,
        "ingest to viewer": partial(producer.send, _LATENCY_RATE, seconds),
    }
    crowd = watching(stack.broadcaster, _LATENCY_VIEWERS, "/neural?tick=0", latency=True)
    with crowd as viewers:
        for way, send in ways.items():
            group = f"{NAME}, {_LATENCY_RATE} tok/s x {_LATENCY_VIEWERS}, tick 0, {way}"
            yield from _percentiles(group, viewers, send, pace.rounds, at_most(2), at_most(8))
    client.close()


def _percentiles(
    group: str,
    viewers: Viewers,
    send: Callable[[], None],
    rounds: int,
    p50: Target | None = None,
    p99: Target | None = None,
) -> Iterator[Result]:
    send()  # warms everything on the way
    rows = []
    for _ in range(rounds):
        viewers.forget()
        send()
        time.sleep(0.1)
        rows.append(viewers.latency_ms(0.5, 0.99))
    yield value(f"{group}: p50", " ms", [row[0] for row in rows], p50)
    yield value(f"{group}: p99", " ms", [row[1] for row in rows], p99)


def _throughput(stack: Stack, producer: Producer, pace: Pace) -> Iterator[Result]:
    """CPU and memory of each daemon while 5,000 tokens a second pass; none may be lost."""
    group = f"{NAME}, {_THROUGHPUT_RATE:,} tok/s x {_THROUGHPUT_VIEWERS}, tick 16"
    pids = {name: pid for name, pid in stack.pids().items() if pid is not None}
    crowd = watching(stack.broadcaster, _THROUGHPUT_VIEWERS, "/neural?tick=16", latency=True)
    cores: dict[str, list[float]] = {name: [] for name in pids}
    with crowd as viewers:
        before, seen = producer.sent, viewers.tokens
        for _ in range(pace.rounds):
            began = time.monotonic()
            cpu = {name: cpu_seconds(pid) for name, pid in pids.items()}
            producer.send(_THROUGHPUT_RATE, 2 * pace.seconds)
            spent = time.monotonic() - began
            for name, pid in pids.items():
                cores[name].append(100 * (cpu_seconds(pid) - cpu[name]) / spent)
        expected = (producer.sent - before) * _THROUGHPUT_VIEWERS
        lost = expected - _arrived(viewers, seen, expected)
    yield value(f"{group}: deliveries lost", "", [lost], at_most(0))
    for name, measured in cores.items():
        if name in ("compositor", "broadcaster"):
            yield value(f"{group}: CPU of {name}", " %", measured, at_most(100))
    for name, pid in pids.items():
        held = resident_bytes([pid]) / 1e6
        yield value(f"{group}: memory of {name}", " MB", [held], at_most(_MEMORY[name]))


def _arrived(viewers: Viewers, before: int, expected: int) -> int:
    """Tokens that the viewers have got since *before*, waiting for the last of them."""
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while viewers.tokens - before < expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return viewers.tokens - before


def _crowd(stack: Stack, producer: Producer, pace: Pace) -> Iterator[Result]:
    """A thousand tokens a second to a thousand viewers, who let them gather for 33 ms."""
    group = f"{NAME}, {_CROWD_RATE:,} tok/s x {_CROWD:,}, tick 33"
    crowd = watching(stack.broadcaster, _CROWD, "/neural?tick=33", latency=True)
    with crowd as viewers:
        before, seen = producer.sent, viewers.tokens
        send = partial(producer.send, _CROWD_RATE, pace.seconds)
        yield from _percentiles(group, viewers, send, pace.rounds)
        expected = (producer.sent - before) * _CROWD
        lost = expected - _arrived(viewers, seen, expected)
    yield value(f"{group}: deliveries lost", "", [lost], at_most(0))
