"""Hanging up: how long the real engine goes on for a client that has gone.

The openai client and ``curl -N`` begin an answer that would take minutes, read its first pieces and
hang up: directly, and through the bridge, in turns. The time is from just before that until the
engine, asked over and over on one connection, has nobody left to work for. It looks for clients
that are gone, and answers the question, between two tokens: what it takes by itself stands beside.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from integration.stack import running
from measure import Pace, Result, Skipped, at_most, value
from processes import Missing, end

NAME = "cancel"
_CANCELS = 24
_QUICK_CANCELS = 6
_PIECES = 3
_PATIENCE = 20.0
_MODEL = "gemma-3-270m"
_BODY: dict[str, Any] = {
    "model": _MODEL,
    "messages": [{"role": "user", "content": "Count from one to ten."}],
    "max_tokens": 3000,
    "stream": True,
}
_ENDLESS = {"ignore_eos": True}

HangUp = Callable[[], None]
Begin = Callable[[int], HangUp]
"""Asks at a port, reads the first pieces of the answer, and returns how to hang up."""


class Engine:
    """The engine, asked what it is doing."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)

    def working(self) -> int:
        """For how many it works."""
        self._connection.request("GET", "/slots")
        slots = json.loads(self._connection.getresponse().read())
        return sum(slot["is_processing"] for slot in slots)

    def wait(self, *, working: bool) -> None:
        """Until it works, or until it does not."""
        deadline = time.monotonic() + _PATIENCE
        while bool(self.working()) is not working:
            if time.monotonic() > deadline:
                raise TimeoutError("the engine did not stop" if not working else "it did not begin")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def openai_client() -> Begin:
    """The openai package. Raises :class:`Missing`."""
    try:
        module = import_module("openai")
    except ImportError:
        raise Missing("cannot import openai: make bench installs it") from None

    def begin(port: int) -> HangUp:
        client = module.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        stream = client.chat.completions.create(**_BODY, extra_body=_ENDLESS)
        for _, _piece in zip(range(_PIECES), stream, strict=False):
            pass

        def hang_up() -> None:
            stream.close()
            client.close()

        return hang_up

    return begin


def curl() -> Begin:
    """``curl -N``. Raises :class:`Missing`."""
    program = shutil.which("curl")
    if program is None:
        raise Missing("no curl: sudo apt install curl")
    body = json.dumps(_BODY | _ENDLESS)

    def begin(port: int) -> HangUp:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        command = [program, "-sN", "-H", "Content-Type: application/json", "-d", body, url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(2 * _PIECES):  # each is followed by an empty line
            process.stdout.readline()

        def hang_up() -> None:
            end(process)
            assert process.stdout is not None
            process.stdout.close()

        return hang_up

    return begin


def stopping_ms(engine: Engine, begin: Begin, port: int) -> float:
    """Milliseconds from hanging up until the engine has stopped."""
    engine.wait(working=False)
    hang_up = begin(port)
    engine.wait(working=True)
    began = time.monotonic()
    hang_up()
    engine.wait(working=False)
    return (time.monotonic() - began) * 1000


def run(pace: Pace) -> Iterator[Result]:
    """Needs the engine."""
    if importlib.util.find_spec("xllamacpp") is None:
        yield Skipped(NAME, "no engine: make bench installs it")
        return
    with ExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="geoos-bench-")))
        stack = exits.enter_context(running(directory, engine=True))
        engine = Engine(stack.engine)
        exits.callback(engine.close)
        for name, prepare in (("openai", openai_client), ("curl -N", curl)):
            try:
                begin = prepare()
            except Missing as missing:
                yield Skipped(f"{NAME}, until the engine stops: {name}", str(missing))
                continue
            yield from _compared(
                name, begin, engine, {"": stack.bridge, ", direct": stack.engine}, pace
            )


def _compared(
    name: str, begin: Begin, engine: Engine, ports: dict[str, int], pace: Pace
) -> Iterator[Result]:
    group = f"{NAME}, until the engine stops"
    taken: dict[str, list[float]] = {way: [] for way in ports}
    for _ in range(_QUICK_CANCELS if pace.quick else _CANCELS):
        for way, port in ports.items():
            taken[way].append(stopping_ms(engine, begin, port))
    for way, measured in taken.items():
        yield value(
            f"{group}: {name}{way}, p50", " ms", measured, at_most(200) if not way else None
        )
    yield value(f"{group}: {name}, the slowest", " ms", [max(taken[""])], at_most(200))
