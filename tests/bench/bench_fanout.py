"""Fan-out: deliveries per CPU-second of the server, against C's send() loop and three libraries.

Each server runs in a process of its own, with viewers of its own that read everything
(native/viewers.c), and is paused while the others take their turn. Only the server's CPU time
counts. One frame a send is a message at a time; sixteen are what gathers within a tick.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from measure import Pace, Ratio, Result, Skipped, alternate, at_least, at_most, ratio, value
from processes import BUILD, HERE, Missing, Server, Viewers, compiled, serving, watching

NAME = "fan-out"
SIZE = 512
"""Bytes of a message."""
_FRAME = SIZE + 4
_RATE = 120
"""Sends a second to each viewer: less than any contestant can do, so that none has to queue."""
_SETTLE = 0.15
_LEVEL = 0.9
"""What counts as level with a peer on a machine as noisy as this."""
_SHARED = "ws, one shared frame"
PEERS = {"websockets": 1.0, "picows": _LEVEL, "ws": 1.0, _SHARED: None}
"""With the ratio that is wanted."""
_GATHERING = "ours, gathering"
_WS = "ws@8.18.3"
_GATHERED = 16
_MANY, _MANY_RATE = 2000, 1000


@dataclass
class Contestant:
    """A server with its viewers, paused."""

    server: Server
    viewers: Viewers
    per_viewer_bytes: float = 0.0

    def turn(self, seconds: float) -> float:
        """Deliveries per CPU-second over *seconds*."""
        self.server.resume()
        time.sleep(_SETTLE)
        cpu, read = self.server.cpu_seconds, self.viewers.bytes
        time.sleep(seconds)
        cpu, read = self.server.cpu_seconds - cpu, self.viewers.bytes - read
        self.server.pause()
        if self.viewers.closed or not read:
            raise Missing(f"{self.viewers.closed} viewers were disconnected, {read} bytes came")
        return read / _FRAME / cpu


def _python(name: str, viewers: int, batch: int) -> list[str | Path]:
    return [sys.executable, HERE / "peers" / f"fanout_{name}.py", *_sizes(viewers, batch)]


def _sizes(viewers: int, batch: int) -> list[str]:
    return [str(viewers), str(_RATE * batch), str(batch), str(SIZE)]


def node_ws() -> Path:
    """The node_modules that holds ws; npm gets it the first time. Raises :class:`Missing`."""
    modules = BUILD / "node_modules"
    if shutil.which("node") is None:
        raise Missing("no node: sudo apt install nodejs npm")
    package = modules / "ws" / "package.json"
    if package.exists() and f"ws@{json.loads(package.read_text())['version']}" == _WS:
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("no npm: sudo apt install npm")
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = ("--no-save", "--no-audit", "--no-fund")
    command: list[str | Path] = [npm, "install", "--prefix", BUILD, *flags, _WS]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except subprocess.CalledProcessError as error:
        raise Missing(f"npm cannot install {_WS}: {error.stderr.strip()[-160:]}") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"npm cannot install {_WS}: no answer in two minutes") from None
    return modules


def _command(name: str, viewers: int) -> tuple[list[str | Path], dict[str, str]]:
    """The command and the environment of a contestant. Raises :class:`Missing`."""
    if name == "floor":
        return [compiled("floor"), *_sizes(viewers, 1)], {}
    if name in ("ws", _SHARED):
        script = HERE / "peers" / "fanout_ws.cjs"
        how = ["shared"] if name == _SHARED else []
        return ["node", script, *_sizes(viewers, 1), *how], {"NODE_PATH": str(node_ws())}
    if name == _GATHERING:
        return _python("geoos", viewers, _GATHERED), {}
    return _python("geoos" if name == "ours" else name, viewers, 1), {}


@contextlib.contextmanager
def _contestant(name: str, viewers: int) -> Iterator[Contestant]:
    command, environ = _command(name, viewers)
    with serving(command, environ) as server:
        alone = server.resident_bytes
        with watching(server.port, viewers, "/neural?tick=0") as crowd:
            contestant = Contestant(server, crowd)
            contestant.turn(0.3)  # so that buffers have the size that they need
            contestant.per_viewer_bytes = (server.resident_bytes - alone) / viewers
            yield contestant


def run(pace: Pace) -> Iterator[Result]:
    """The floor and ours must be there; of the peers, whichever can be had."""
    viewers = 200 if pace.quick else 500
    with contextlib.ExitStack() as stack:
        contestants: dict[str, Contestant] = {}
        for name in ("floor", "ours", _GATHERING, *PEERS):
            try:
                contestants[name] = stack.enter_context(_contestant(name, viewers))
            except Missing as missing:
                yield Skipped(f"{NAME}: {name}", str(missing))
                if name in ("floor", "ours"):
                    return
        turns = {name: partial(each.turn, pace.seconds) for name, each in contestants.items()}
        measured = alternate(turns, pace.rounds)
        yield from _ratios(measured)
        yield from _memory({name: each.per_viewer_bytes for name, each in contestants.items()})
    if not pace.quick:
        yield _many()


def _ratios(measured: dict[str, list[float]]) -> Iterator[Ratio]:
    ours, floor = measured["ours"], measured["floor"]
    group = f"{NAME}, 1 frame a send"
    yield ratio(f"{group}: C send() loop", "/s", ours, floor, "higher", at_least(0.55))
    for name, bound in PEERS.items():
        if theirs := measured.get(name):
            target = at_least(bound) if bound else None
            yield ratio(f"{group}: {name}", "/s", ours, theirs, "higher", target)
    if gathered := measured.get(_GATHERING):
        group = f"{NAME}, 16 frames a send"
        yield ratio(f"{group}: C, 1 frame", "/s", gathered, floor, "higher", at_least(5))


def _memory(per_viewer: dict[str, float]) -> Iterator[Result]:
    ours = per_viewer["ours"] / 1000
    yield value(f"{NAME}, memory a viewer: ours", " KB", [ours], at_most(25))
    for name in PEERS:
        if name in per_viewer:
            theirs = per_viewer[name] / 1000
            yield value(f"{NAME}, memory a viewer: {name}", " KB", [theirs])


def _many() -> Result:
    """2,000 viewers, 1,000 messages a second, gathered for 33 ms: cores of the broadcaster."""
    name = f"{NAME}, 2,000 viewers x 1,000/s, tick 33: cores"
    script = HERE / "peers" / "fanout_geoos.py"
    batch = 4  # as they would come off the feed at this rate
    command: list[str | Path] = [sys.executable, script, str(_MANY), str(_MANY_RATE), str(batch)]
    with (
        serving([*command, str(SIZE)]) as server,
        watching(server.port, _MANY, "/neural?tick=33") as viewers,
    ):
        time.sleep(1.0)
        cores, delivered = [], 0.0
        for _ in range(5):
            began, cpu, read = time.monotonic(), server.cpu_seconds, viewers.bytes
            time.sleep(1.0)
            spent = time.monotonic() - began
            cores.append((server.cpu_seconds - cpu) / spent)
            delivered += (viewers.bytes - read) / _FRAME / spent / 5
        wanted = _MANY * _MANY_RATE
        if viewers.closed or delivered < 0.97 * wanted:
            return Skipped(name, f"only {delivered:,.0f} of {wanted:,} deliveries/s came through")
    return value(name, "", cores, at_most(1.0))
