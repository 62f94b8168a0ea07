"""Viewers of other people's making, and bad neighbours: what both see of one broadcaster.

The good ones are the package ``websockets``, node with geoos's client library (over the package
``ws``, and over a WebSocket of its own where it has one), Chromium with the same library, and
crowd.py.
The bad ones come fifty a second and leave in every way there is.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import struct
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from .stack import Stack

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "geoosd" / "broadcaster" / "web" / "client.js"
WS = Path("/usr/share/nodejs/ws/wrapper.mjs")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_CHURN_RATE = 50
_MOST_STALLED = 10
_LINGER_RESET = struct.pack("ii", 1, 0)
_UPGRADE = (
    b"GET /neural HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_PINGS = bytes.fromhex("8980000000008984000000006162636489800000000088820000000003e8")
"""Three Pings, one with a payload, then Close 1000; masked with zeros."""
_CLOSE = bytes.fromhex("88820000000003e8")
_TOO_BIG = b"\x81\xfe\x20\x00" + bytes(4) + b"a" * 8192


@dataclass
class Held:
    """What the broadcaster holds."""

    descriptors: int
    threads: int
    resident_mb: float
    viewers: int


def held(stack: Stack) -> Held:
    """What it holds now."""
    status = stack.status()["broadcaster"]["status"]
    process = Path(f"/proc/{status['pid']}")
    resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Held(
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        round(resident / 1e6, 1),
        int(status["details"]["viewers"]),
    )


class Churn:
    """Fifty connections a second, each of which misbehaves; ``made`` counts them by kind."""

    def __init__(self, port: int) -> None:
        self.made = dict.fromkeys(("reset", "half", "ping", "close", "too big", "stall"), 0)
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._stalled: deque[socket.socket] = deque()

    def __enter__(self) -> Churn:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        chosen = random.Random(6)
        while not self._stop.wait(1 / _CHURN_RATE):
            kind = chosen.choice(list(self.made))
            with suppress(OSError):
                self._connect(kind)
                self.made[kind] += 1
        for sock in self._stalled:
            sock.close()

    def _connect(self, kind: str) -> None:
        sock = socket.create_connection(("127.0.0.1", self._port), 5)
        if kind == "half":
            sock.sendall(_UPGRADE[:40])
        else:
            sock.sendall(_UPGRADE)
        if kind == "stall":
            self._stalled.append(sock)
            if len(self._stalled) > _MOST_STALLED:
                self._stalled.popleft().close()
            return
        if kind not in ("half", "reset"):
            assert sock.recv(4096)
            sock.sendall({"ping": _PINGS, "close": _CLOSE, "too big": _TOO_BIG}[kind])
            while sock.recv(65536):  # the other side answers and closes
                pass
        if kind == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        sock.close()


class Python:
    """A viewer of the package ``websockets``, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.text = ""
        self.last = self.gaps = self.out_of_order = 0
        self.snapshots = 0
        self._connection = connect(url, max_size=None, legacy=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for data in self._connection:
            message = json.loads(data)
            kind, seq = message["message_type"], message.get("seq")
            self.gaps += kind == "Gap"
            self.snapshots += kind == "Snapshot"
            if kind == "TokenVisualizationUpdate":
                self.text += message["payload"]["current_token"]
            if seq is not None:
                self.out_of_order += seq <= self.last
                self.last = seq

    def seen(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "last": self.last,
            "gaps": self.gaps,
            "outOfOrder": self.out_of_order,
            "snapshots": self.snapshots,
        }

    def close(self) -> None:
        self._connection.close()
        self._thread.join()


class Node:
    """A viewer in node with geoos's client library."""

    def __init__(self, url: str, ws: Path | None) -> None:
        command = ["node", *([] if ws else ["--experimental-websocket"])]
        script = Path(__file__).with_name("node_viewer.mjs")
        self._process = subprocess.Popen(
            [*command, script, LIBRARY, url, *([ws] if ws else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )

    def seen(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        assert self._process.wait(10) == 0


_IN_CHROMIUM = """async (url) => {
  const { Connection } = await import("/client.js");
  const seen = window.seen = { text: "", last: 0, outOfOrder: 0, gaps: 0, snapshots: 0, hellos: 0 };
  window.connection = new Connection(url, {
    tick: 33,
    onHello: () => (seen.hellos += 1),
    onSnapshot: () => (seen.snapshots += 1),
    onGap: () => (seen.gaps += 1),
    onMessage: ({ type, seq, payload }) => {
      if (type === "TokenVisualizationUpdate") seen.text += payload.current_token;
      seen.outOfOrder += seq !== null && seq <= seen.last ? 1 : 0;
      seen.last = seq ?? seen.last;
    },
  });
  window.connection.open();
}"""


class Chromium:
    """A viewer in Chromium with the library as the broadcaster serves it."""

    def __init__(self, page: Any, address: str, url: str) -> None:
        self._page = page
        page.goto(f"{address}favicon.svg")  # the origin, without the shell
        page.evaluate(_IN_CHROMIUM, url)

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = self._page.evaluate("() => window.seen")
        return found

    def close(self) -> None:
        self._page.close()


def missing() -> dict[str, str | None]:
    """The kinds of viewers, and what this machine lacks for each; None where it has all."""
    has_ws = WS.exists() and shutil.which("node")
    has_browser = CHROMIUM and find_spec("playwright")
    return {
        "websockets": None,
        "node, ws": None if has_ws else "no ws for node: sudo apt install node-ws",
        "node, its own": None if _node_speaks_websocket() else "no node of version 20.10 or newer",
        "Chromium": None if has_browser else "no Chromium: sudo apt install chromium",
    }


def _node_speaks_websocket() -> bool:
    """Whether node has a WebSocket of its own, from 20.10 on behind a flag."""
    if shutil.which("node") is None:
        return False
    flag, code = "--experimental-websocket", "new WebSocket('ws://[::1]:1').onerror=()=>{}"
    done = subprocess.run(["node", flag, "-e", code], capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def watching(stack: Stack, browser: Any) -> Iterator[dict[str, Python | Node | Chromium]]:
    """One viewer of each kind that this machine has, by name; *browser* is Chromium, or None."""
    url = f"ws://127.0.0.1:{stack.broadcaster}/neural"
    made = {
        "websockets": lambda: Python(url),
        "node, ws": lambda: Node(url, WS),
        "node, its own": lambda: Node(url, None),
        "Chromium": lambda: Chromium(browser.new_page(), stack.page, url),
    }
    with ExitStack() as closing:
        viewers = {}
        for kind, lacking in missing().items():
            if lacking is None:
                viewers[kind] = made[kind]()
                closing.callback(viewers[kind].close)
        yield viewers
