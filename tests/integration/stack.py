"""A whole geoos in the foreground, as a user runs it: real processes and sockets, own ports.

Tests, benchmarks and what makes documents (docs/feedback, docs/pictures) start it by this.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from websockets.sync.client import ClientConnection, connect

T = TypeVar("T")
BIN = Path(sys.executable).parent
UP = BIN / "geoosd"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, all different, and none that an outgoing connection may be given.

    The kernel takes those from 32768 on (ip_local_port_range): a port of its choosing may be gone
    before a daemon binds it.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            port = random.randrange(10_000, 32_000)
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    return ports


def until(
    condition: Callable[[], T], seconds: float = 10.0, what: str = "what was waited for"
) -> T:
    """Poll *condition* until it is true; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        pause.wait(0.02)
    return result


@dataclass
class Viewer:
    """A WebSocket viewer that keeps every message it got."""

    connection: ClientConnection
    messages: list[dict[str, Any]] = field(default_factory=list)

    def read(self, until_type: str, seconds: float = 30.0, count: int = 1) -> list[dict[str, Any]]:
        """Read on until *count* messages of *until_type* have come; all that came meanwhile."""
        deadline = time.monotonic() + seconds
        fresh: list[dict[str, Any]] = []
        while count:
            fresh.append(json.loads(self.connection.recv(deadline - time.monotonic())))
            count -= fresh[-1]["message_type"] == until_type
        self.messages += fresh
        return fresh


def payloads(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each["payload"] for each in messages if each["message_type"] == kind]


def text_of(messages: list[dict[str, Any]], session: str | None = None) -> str:
    tokens = payloads(messages, "TokenVisualizationUpdate")
    return "".join(
        token["current_token"] for token in tokens if session in (None, token["session"])
    )


class Stack:
    """``geoosd up`` with a configuration of its own."""

    def __init__(self, directory: Path, *, engine: bool, upstream: str | None = None) -> None:
        self.directory = directory
        self.bridge, self.broadcaster, self.engine = free_ports(3)
        url = upstream or f"http://127.0.0.1:{self.engine}"
        name = "engine" if engine else "scripted"
        self.config = directory / "geoos.toml"
        self.config.write_text(
            f"""
[bridge]
listen = "127.0.0.1:{self.bridge}"
[[bridge.upstream]]
id = "{name}"
url = "{url}"
[broadcaster]
listen = "127.0.0.1:{self.broadcaster}"
[engine]
listen = "127.0.0.1:{self.engine}"
enabled = "{"yes" if engine else "no"}"
"""
        )
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("GEOOS_")},
            "GEOOS_RUNTIME_DIR": str(directory / "run"),
            "GEOOS_STATE_DIR": str(directory / "state"),
            "GEOOS_CONFIG": str(self.config),
            "NO_COLOR": "1",
        }
        if cache := os.environ.get("GEOOS_CACHE_DIR"):
            self.environ["GEOOS_CACHE_DIR"] = cache
        self.page = f"http://127.0.0.1:{self.broadcaster}/"
        self.openai = f"http://127.0.0.1:{self.bridge}/v1"
        self.daemons = ["compositor", "bridge", "broadcaster", "control"]
        self.daemons += ["engine"] if engine else []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "up.log"

    def start(
        self,
        seconds: float = 30.0,
        stderr: IO[bytes] | int = subprocess.STDOUT,
        command: Sequence[str | Path] = (UP, "up"),
    ) -> None:
        """Start, by a *command* that ends in ``geoosd up``; wait until it says that it is ready."""
        with self.log.open("ab") as log:
            already = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=stderr,
                env=self.environ,
                start_new_session=True,
            )

        def ready() -> bool:
            assert self.process is not None
            said = self.log.read_bytes()[already:]
            assert self.process.poll() is None, said.decode()
            return b"Geometry OS is ready" in said

        until(ready, seconds, f"readiness (see {self.log})")

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Ask it to stop as Ctrl-C does; seconds until it had ended."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(15)
        self.process = None
        return time.monotonic() - began

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.stop(signal.SIGTERM)
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ctl(self, *args: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run geoosctl; its output as text."""
        return subprocess.run(
            [BIN / "geoosctl", *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=seconds,
            check=False,
        )

    def told(self, *args: str, seconds: float = 300.0) -> str:
        """What geoosctl prints, which has to succeed."""
        done = self.ctl(*args, seconds=seconds)
        assert done.returncode == 0, f"geoosctl {' '.join(args)}: {done.stderr}"
        return done.stdout

    def json(self, *args: str) -> dict[str, Any]:
        """The JSON object that geoosctl prints, whatever its exit code."""
        done = self.ctl("--json", *args)
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except json.JSONDecodeError:
            raise AssertionError(f"{args}: {done.returncode}: {done.stdout}{done.stderr}") from None
        return answer

    def status(self) -> dict[str, dict[str, Any]]:
        """The entry of each daemon in ``geoosctl status --json``, by name."""
        return {entry["name"]: entry for entry in self.json("status")["daemons"]}

    def pids(self) -> dict[str, int | None]:
        """The pid of each daemon that answers."""
        return {
            name: entry["status"]["pid"] if entry.get("status") else None
            for name, entry in self.status().items()
        }

    def wait_for_model(self, seconds: float = 60.0) -> None:
        """Wait until a model is there to be asked."""

        def loaded() -> bool:
            models = self.json("models").get("models", [])
            return any(model["state"] == "ready" for model in models)

        until(loaded, seconds, f"a loaded model (see {self.log})")

    @contextlib.contextmanager
    def viewer(self, query: str = "") -> Iterator[Viewer]:
        """A viewer that is connected and past its Hello."""
        url = f"ws://127.0.0.1:{self.broadcaster}/neural{query}"
        with connect(url, max_size=None, open_timeout=10) as connection:
            viewer = Viewer(connection)
            (hello,) = viewer.read("Hello")
            assert hello["message_type"] == "Hello"
            yield viewer


@contextlib.contextmanager
def running(
    directory: Path, *, engine: bool, upstream: str | None = None, settings: Sequence[str] = ()
) -> Iterator[Stack]:
    """A stack that is ready, and that is gone afterwards; *settings* are ``SECTION.KEY=VALUE``."""
    stack = Stack(directory, engine=engine, upstream=upstream)
    try:
        flags = [each for one in settings for each in ("--set", one)]
        stack.start(command=(UP, "up", *flags))
        if engine:
            stack.wait_for_model()
        yield stack
    finally:
        stack.kill()
