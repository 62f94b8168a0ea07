"""Viewers beside each other: what 100 that stall cost the 200 that read, and what workers gain.

Real daemons and sockets. Every token's text is the time at which it was sent, so a viewer
(native/viewers.c) knows how old it is. The stalled ones shake hands and never read again; they are
there for a turn, and gone for the next. That a full socket is not even tried again, and that
nothing is encoded for it, is a test (test_broadcaster_viewers.py); here is what is left: the time.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench_pipeline import Producer
from integration.stack import Stack, until
from machine import cpu_seconds
from measure import Pace, Result, Skipped, at_least, at_most, ratio, value
from processes import Missing, Viewers, compiled, watching

NAME = "crowd"
_READING, _STALLED, _RATE = 200, 100, 500
_BESIDE = 1.2
"""The others' p99 may be a fifth longer."""
_SETTLE = 0.3
"""Seconds of traffic before a turn counts: who came and went just now has been work."""
_MANY, _MANY_RATE = 1000, 500
_UPGRADE = (
    b"GET /neural?tick=16 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


def run(pace: Pace) -> Iterator[Result]:
    """Needs a C compiler for the viewers."""
    try:
        compiled("viewers")
    except Missing as missing:
        yield Skipped(NAME, str(missing))
        return
    with _broadcasting(1) as (stack, producer):
        yield from _stalled(stack, producer, pace)
    if not pace.quick:
        yield from _workers(pace)


@contextlib.contextmanager
def _broadcasting(workers: int) -> Iterator[tuple[Stack, Producer]]:
    with tempfile.TemporaryDirectory(prefix="geoos-bench-") as name:
        stack = Stack(Path(name), engine=False)
        text = stack.config.read_text().replace("[broadcaster]", f"[broadcaster]\n{workers=}")
        stack.config.write_text(text)
        try:
            stack.start()
            producer = Producer(stack.directory / "run" / "ingest.sock")
            with contextlib.closing(producer):
                yield stack, producer
        finally:
            stack.kill()


def _stalled(stack: Stack, producer: Producer, pace: Pace) -> Iterator[Result]:
    """Each turn beside the stalled stands between two without them: what drifts drops out."""
    group = f"{NAME}, {_RATE} msg/s, tick 16, {_READING} that read"
    alone, beside = [], []
    with watching(stack.broadcaster, _READING, "/neural?tick=16", latency=True) as viewers:
        measure = partial(_latency, viewers, producer, pace.seconds)
        before = measure()
        for _ in range(2 * pace.rounds):
            with _stalling(stack.broadcaster):
                # Until their buffers are full they are no burden.
                producer.send(4 * _RATE, 2.0)
                beside.append(measure())
            until(lambda: _connected(stack) == _READING, 10, "the end of the stalled")
            after = measure()
            alone.append([(one + other) / 2 for one, other in zip(before, after, strict=True)])
            before = after
    for words, rows in ((group, alone), (f"{group}, {_STALLED} stalled", beside)):
        yield value(f"{words}: p50", " ms", [row[0] for row in rows])
        yield value(f"{words}: p99", " ms", [row[1] for row in rows])
    ours, peer = [row[1] for row in beside], [row[1] for row in alone]
    name = f"{group}: p99 beside {_STALLED} stalled / alone"
    yield ratio(name, " ms", ours, peer, "lower", at_most(_BESIDE))


def _latency(viewers: Viewers, producer: Producer, seconds: float) -> tuple[float, float]:
    producer.send(_RATE, _SETTLE)
    viewers.forget()
    producer.send(_RATE, 2 * seconds)
    time.sleep(0.1)
    p50, p99 = viewers.latency_ms(0.5, 0.99)
    return p50, p99


def _connected(stack: Stack) -> int:
    return int(stack.status()["broadcaster"]["status"]["details"]["viewers"])


@contextlib.contextmanager
def _stalling(port: int) -> Iterator[None]:
    with contextlib.ExitStack() as opened:
        for _ in range(_STALLED):
            sock = opened.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            sock.sendall(_UPGRADE)
        yield


def _workers(pace: Pace) -> Iterator[Result]:
    """Deliveries per CPU-second of all workers, and how old messages are when they come."""
    group = f"{NAME}, {_MANY_RATE} msg/s x {_MANY}, tick 16"
    measured: dict[int, list[float]] = {}
    for workers in (1, 2):
        with (
            _broadcasting(workers) as (stack, producer),
            watching(stack.broadcaster, _MANY, "/neural?tick=16", latency=True) as viewers,
        ):
            pids = _pids(stack)
            rows = []
            for _ in range(pace.rounds):
                cpu, seen = sum(map(cpu_seconds, pids)), viewers.tokens
                rows.append(_latency(viewers, producer, pace.seconds))
                cpu = sum(map(cpu_seconds, pids)) - cpu
                measured.setdefault(workers, []).append((viewers.tokens - seen) / cpu)
            words = f"{group}, {workers} worker{'s' if workers > 1 else ''}"
            yield value(f"{words}: p50", " ms", [row[0] for row in rows])
            yield value(f"{words}: p99", " ms", [row[1] for row in rows])
    name = f"{group}, deliveries per CPU-second: 2 workers / 1"
    yield ratio(name, "/s", measured[2], measured[1], "higher", at_least(0.8))


def _pids(stack: Stack) -> list[int]:
    """The broadcaster and its workers."""
    pid = stack.pids()["broadcaster"]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(pid or 0), *map(int, children)]
