"""What a token costs the bridge: read, told, queued for the map and recorded, in CPU-microseconds.

First the steps, in this process, on recorded streams an event at a time. Then the whole daemon,
proxying: sockets, HTTP and waking up included, which is most of it; a token at a time as a model
makes them, and as fast as they come, when one wake-up serves many. Last the disk: what a session
recorded in full takes from the writer's thread, beside the same rows put down by SQLite's
``executemany`` alone.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench_proxy import Client
from bench_sse import BARE, LOGPROBS, Pieces, recording
from integration.stack import Stack
from machine import cpu_seconds
from measure import Pace, Result, alternate, cpu_rate, ratio, value
from processes import HERE, serving

from geoosd.bridge.adapters.store import Store
from geoosd.bridge.adapters.store_sessions import write
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.outbox import Outbox
from geoosd.bridge.core.recording import Batch, Recording
from geoosd.wire.messages import Payload, SessionEnded

NAME = "tokens"
_BATCH_SESSIONS = 20
"""In one transaction of the writer: at 30 tokens each about what a busy bridge gathers."""

_PACES = (("100 tok/s", 100.0, 100), ("1,000 tok/s", 1000.0, 1000), ("as they come", 1e9, 8000))
"""A name, tokens a second, and how many of them for each second of a turn."""

_DAEMON_ROUNDS = 3
_names = map("bench{}".format, itertools.count())


def told(pieces: Pieces) -> tuple[int, list[list[Payload]]]:
    """A stream as the tap reads it: its tokens, and the messages of each piece."""
    exchange = Exchange(next(_names), model="m", upstream="u", dialect="chat")
    messages = [exchange.started(0.0), exchange.answered(200, "text/event-stream", 0.0)]
    messages += [exchange.receive(piece, now * 0.01) for now, piece in enumerate(pieces)]
    messages.append(exchange.finish(9.0))
    return exchange.tokens, messages


def queue(messages: list[list[Payload]], tokens: int) -> int:
    """Number, encode and frame them, as they go to the compositor."""
    outbox = Outbox(10_000)
    for payloads in messages:
        for payload in payloads:
            outbox.push(payload, 0.0)
        outbox.take()
    return tokens


def record(recording_: Recording, messages: list[list[Payload]], tokens: int) -> int:
    """Keep them for the disk, as it is done on the loop."""
    (ended,) = (each for each in messages[-1] if isinstance(each, SessionEnded))
    session = ended.session
    recording_.open(
        session,
        model="m",
        upstream="u",
        dialect="chat",
        path="/v1/chat/completions",
        choices=1,
        now=0.0,
        wall=0.0,
    )
    for now, payloads in enumerate(messages):
        recording_.take(session, payloads, now * 0.01)
    recording_.close(session, ended, model="m", upstream="u", tokens=tokens, now=9.0)
    return tokens


def _kept(messages: list[list[Payload]], tokens: int) -> int:
    return record(Recording("full"), messages, tokens)


def steps(pieces: Pieces) -> dict[str, Callable[[], int]]:
    """What is done to each token on the loop; each returns how many tokens it did."""
    tokens, messages = told(pieces)
    return {
        "read": lambda: told(pieces)[0],
        "queued for the map": partial(queue, messages, tokens),
        "recorded in full": partial(_kept, messages, tokens),
    }


def run(pace: Pace) -> Iterator[Result]:
    """Needs nothing that is not there."""
    for what, names in (("text alone", BARE[:1]), ("log-probabilities", LOGPROBS[:1])):
        for step, work in steps(recording(names[0])).items():
            costs = [1e6 / cpu_rate(work, pace.seconds / 4) for _ in range(pace.rounds)]
            yield value(f"{NAME}, CPU, {what}: {step}", " us", costs)
    for mode in ("metadata", "full"):
        yield from _daemon(mode, pace)
    yield from _disk(pace)


# -- the daemon ------------------------------------------------------------------------------------


def _daemon(mode: str, pace: Pace) -> Iterator[Result]:
    with ExitStack() as exits:
        server = exits.enter_context(serving([sys.executable, HERE / "model_server.py"]))
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="geoos-bench-")))
        stack = Stack(directory, engine=False, upstream=f"http://127.0.0.1:{server.port}")
        text = stack.config.read_text(encoding="utf-8")
        stack.config.write_text(text.replace("[bridge]", f'[bridge]\nrecord = "{mode}"', 1))
        exits.callback(stack.kill)
        stack.start()
        stack.wait_for_model()
        client = Client(stack.bridge)
        exits.callback(client.close)
        bridge = stack.pids()["bridge"]
        assert bridge is not None
        for pacing, rate, tokens in _PACES:
            work = partial(_ask, client, max(1, round(tokens * pace.seconds)), 1 / rate)
            work()
            costs = [_cost(bridge, work) for _ in range(min(pace.rounds, _DAEMON_ROUNDS))]
            yield value(f"{NAME}, CPU, whole bridge, {mode}: {pacing}", " us", costs)


def _ask(client: Client, tokens: int, apart: float) -> int:
    client.ask(tokens, apart)
    client.answer()
    return tokens


def _cost(pid: int, work: Callable[[], int]) -> float:
    """CPU-microseconds of a process for each token of *work*."""
    before = cpu_seconds(pid)
    tokens = work()
    return 1e6 * (cpu_seconds(pid) - before) / tokens


# -- the disk --------------------------------------------------------------------------------------


def _batch(recording_: Recording, streams: list[Pieces]) -> tuple[int, Batch]:
    tokens = 0
    for pieces in itertools.islice(itertools.cycle(streams), _BATCH_SESSIONS):
        made, messages = told(pieces)
        tokens += record(recording_, messages, made)
    return tokens, recording_.batch()


def _disk(pace: Pace) -> Iterator[Result]:
    """The writer against what SQLite takes for the same rows."""
    streams = [recording(name) for name in (*BARE, *LOGPROBS)]
    kept = Recording("full")
    with tempfile.TemporaryDirectory(prefix="geoos-bench-") as folder:
        store = Store.open(Path(folder) / "ours.db")
        floor = Store.open(Path(folder) / "floor.db").connection
        tokens, batch = _batch(kept, streams)
        write(store, batch)
        rows = store.connection.execute("SELECT ordinal, after, kind, body FROM message").fetchall()
        numbers = itertools.count(1_000_000)

        def ours() -> int:
            for each in batch.opened:
                each.id = next(_names)
            write(store, batch)
            return tokens

        def executemany() -> int:
            first = next(numbers) * len(rows)
            floor.execute("BEGIN IMMEDIATE")
            floor.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?)",
                ((first + place, *row) for place, row in enumerate(rows)),
            )
            floor.execute("COMMIT")
            return tokens

        turns = {
            "ours": partial(cpu_rate, ours, pace.seconds / 2),
            "floor": partial(cpu_rate, executemany, pace.seconds / 2),
        }
        measured = alternate(turns, pace.rounds)
        name = f"{NAME}, recorded in full, the disk: SQLite's executemany"
        yield ratio(name, "/s", measured["ours"], measured["floor"], "higher")
        store.connection.close()
        floor.close()
