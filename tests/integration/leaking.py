"""Requests that go wrong in every way, against a bridge that is a process, and what it then holds.

Used by test_leaks.py (hundreds) and tests/soak (ten thousand).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .scripted import DATA, MODEL
from .stack import Stack, free_ports, until

CLIENTS = 8
CLOSED = "closed"
BODY = (DATA / "01_chat_plain.body").read_bytes()
WRONG = b'{"error":{"message":"scripted","type":"server_error","code":500}}'
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_HALF = len(BODY) // 2
# What each kind of request must come to; every one of them is counted.
FAULTS = {
    "ok": "whole",
    "slow head": "whole",
    "500": "500",
    "reset in mid-stream": "broken off",
    "garbage": "502",
    "refused": "502",
    "client gone": "gone",
}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN (SO_LINGER of zero seconds)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class FaultyUpstream:
    """A model server that does what the last message of a request says."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: Counter[str] = Counter()
        self.open = 0
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> FaultyUpstream:
        self._accepting.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        until(lambda: not self.open, 10, "the end of all connections")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with self._lock:
                    self.open += 1
                    self._connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError), connection.makefile("rb") as reader:
                while head := reader.readline():
                    fields = http.client.parse_headers(reader)
                    body = reader.read(int(fields.get("content-length", "0")))
                    if not self._answer(connection, head, body):
                        return
        finally:
            with self._lock:
                self.open -= 1
                self._connections.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        """Whether the connection goes on."""
        if head.startswith(b"GET"):
            found = head.startswith(b"GET /v1/models ")
            listed = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
            _send(connection, b"200 OK" if found else b"404 Not Found", listed.encode())
            return True
        fault = json.loads(body)["messages"][-1]["content"]
        with self._lock:
            self.asked[fault] += 1
        if fault == "500":
            _send(connection, b"500 Internal Server Error", WRONG)
            return True
        if fault == "garbage":
            connection.sendall(b"\x00\xffnot HTTP at all\r\n\r\n")
            return False
        if fault == "slow head":
            time.sleep(0.02)
        connection.sendall(_STREAM + _chunk(BODY[:_HALF]))
        if fault == "reset in mid-stream":
            time.sleep(0.005)  # the head is to be read before the reset discards it
            reset(connection)
            return False
        if fault == "client gone":
            return bool(connection.recv(1))  # the bridge is to hang up
        connection.sendall(_chunk(BODY[_HALF:]) + b"0\r\n\r\n")
        return True


def _send(connection: socket.socket, status: bytes, body: bytes) -> None:
    connection.sendall(
        b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (status, len(body), body)
    )


def add_closed_upstream(config: Path) -> None:
    """A second upstream, on a port where nobody listens."""
    (port,) = free_ports(1)
    text = f'[[bridge.upstream]]\nid = "{CLOSED}"\nurl = "http://127.0.0.1:{port}"\n'
    config.write_text(config.read_text().replace("[broadcaster]", f"{text}[broadcaster]"))


def ask(port: int, fault: str) -> str:
    """One request on a connection of its own; what came of it, in the words of ``FAULTS``."""
    request: dict[str, Any] = {
        "model": f"{CLOSED}/{MODEL}" if fault == "refused" else MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": fault}],
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(request))
        answer = connection.getresponse()
        if fault == "client gone":
            return "gone" if answer.read(10) == BODY[:10] else "nothing came"
        try:
            body = answer.read()
        except (http.client.IncompleteRead, ConnectionError):
            return "broken off"
        if answer.status != 200:
            return str(answer.status)
        return "whole" if body == BODY else "another body"
    finally:
        connection.close()


class Held(NamedTuple):
    """What the bridge holds when nothing is asked of it."""

    descriptors: int
    threads: int
    resident_mb: float
    upstream_connections: int


def held(stack: Stack, upstream: FaultyUpstream) -> Held:
    """Wait until the bridge is idle, and look."""
    until(lambda: not stack.status()["bridge"]["status"]["requests"], 30, "an idle bridge")
    process = Path(f"/proc/{stack.pids()['bridge']}")
    resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Held(
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        round(resident / 1e6, 1),
        upstream.open,
    )


def ask_many(stack: Stack, count: int, seed: int = 0) -> Counter[str]:
    """*count* requests of all kinds, ``CLIENTS`` at a time; how many of each kind there were.

    Raises AssertionError where one came to something else than it must.
    """
    kinds = list(FAULTS) * -(-count // len(FAULTS))
    random.Random(seed).shuffle(kinds)
    kinds = kinds[:count]
    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = pool.map(lambda kind: ask(stack.bridge, kind), kinds)
        wrong = Counter(
            (kind, outcome)
            for kind, outcome in zip(kinds, outcomes, strict=True)
            if outcome != FAULTS[kind]
        )
    assert not wrong
    return Counter(kinds)
