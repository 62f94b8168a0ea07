"""A flood of control requests beside a running stream: 10,000 calls a second, and who notices.

Tokens go from a model server through the bridge to 100 viewers at 100 a second, in turns with and
without the flood (native/flood.c): from one process, which control holds back, and from twenty,
whose calls it answers. How old tokens are at their viewers is set beside how old they are without.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench_pipeline import before_a_model
from bench_proxy import Client
from integration.stack import Stack
from measure import Pace, Result, Skipped, at_most, ratio, value
from processes import Missing, Viewers, compiled, watching

NAME = "control"
_RATE = 10_000
_METHOD = "io.geoos.Control.GetStatus"
_VIEWERS, _TOKENS_PER_SECOND = 100, 100
_ARRIVAL_SECONDS = 5.0


class Flood:
    """Calls from *processes* until :meth:`stop`."""

    def __init__(self, path: Path, processes: int) -> None:
        program = compiled("flood")
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [program, path, _METHOD, str(processes), str(_RATE)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it ends its children by their process group
        )

    def stop(self) -> tuple[float, float]:
        """Calls a second that were asked for, and that were answered."""
        self._process.terminate()
        said, _ = self._process.communicate(timeout=10)
        seconds = time.monotonic() - self._began
        due, _sent, answered = map(int, said.split())
        return due / seconds, answered / seconds


def run(pace: Pace) -> Iterator[Result]:
    """Needs a C compiler for the viewers and the flood."""
    try:
        compiled("viewers")
        compiled("flood")
    except Missing as missing:
        yield Skipped(NAME, str(missing))
        return
    with ExitStack() as exits:
        stack = exits.enter_context(before_a_model())
        crowd = watching(stack.broadcaster, _VIEWERS, "/neural?tick=0", latency=True)
        viewers = exits.enter_context(crowd)
        client = Client(stack.bridge)
        exits.callback(client.close)
        tokens = round(_TOKENS_PER_SECOND * 2 * pace.seconds)

        def send() -> None:
            client.ask(tokens, 1 / _TOKENS_PER_SECOND)
            client.answer()

        send()  # warms everything on the way
        for processes in (1, 20):
            yield from _beside(stack, viewers, send, tokens, processes, pace)


def _beside(
    stack: Stack,
    viewers: Viewers,
    send: Callable[[], None],
    tokens: int,
    processes: int,
    pace: Pace,
) -> Iterator[Result]:
    path = stack.directory / "run" / "control.sock"
    by = "a process" if processes == 1 else f"{processes} processes"
    group = f"{NAME}, {_RATE:,} calls/s of {by}"
    alone, beside, calls = list[list[float]](), list[list[float]](), list[tuple[float, float]]()
    before = viewers.tokens
    for _ in range(pace.rounds):
        alone.append(_ages(viewers, send))
        flood = Flood(path, processes)
        beside.append(_ages(viewers, send))
        calls.append(flood.stop())
    expected = 2 * pace.rounds * tokens * _VIEWERS
    lost = expected - _arrived(viewers, before, expected)
    for index, share in enumerate(("p50", "p99")):
        with_it, without = [row[index] for row in beside], [row[index] for row in alone]
        name = f"{group}: token to viewer {share}, with and without"
        yield ratio(name, " ms", with_it, without, "lower")
    yield value(f"{group}: token to viewer p99", " ms", with_it, at_most(8))
    yield value(f"{group}: asked", " /s", [row[0] for row in calls])
    yield value(f"{group}: answered", " /s", [row[1] for row in calls])
    yield value(f"{group}: deliveries lost", "", [lost], at_most(0))


def _ages(viewers: Viewers, send: Callable[[], None]) -> list[float]:
    """How old tokens are at their viewers, in ms: p50 and p99."""
    viewers.forget()
    send()
    time.sleep(0.1)
    return viewers.latency_ms(0.5, 0.99)


def _arrived(viewers: Viewers, before: int, expected: int) -> int:
    """Deliveries since *before*, waiting for the last of them."""
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while viewers.tokens - before < expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return viewers.tokens - before
