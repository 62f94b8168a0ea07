"""Another upstream takes over within a second when one refuses or resets, as a client sees it."""

from __future__ import annotations

import http.client
import json
import socket
import socketserver
import struct
import threading
import time
from typing import Any

import pytest

from geoosctl import client

from .scripted import MODEL, ScriptedUpstream
from .stack import Stack, payloads, until

LISTING = json.dumps({"data": [{"id": MODEL}]}).encode()
LIMIT = 1.0
"""Seconds, as docs/interfaces.md promises; it takes some milliseconds."""


class Unreliable:
    """Lists the model, and resets whoever asks it anything; closed, it refuses."""

    def __init__(self) -> None:
        self.posts = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                if self.rfile.readline().startswith(b"GET /v1/models "):
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(LISTING)}\r\n"
                    self.wfile.write(head.encode() + b"Connection: close\r\n\r\n" + LISTING)
                else:
                    outer.posts += 1
                    no_linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def unreliable():
    server = Unreliable()
    yield server
    server.close()


@pytest.fixture
def stack(tmp_path, scripted: ScriptedUpstream, unreliable: Unreliable):
    """A geoos in front of both, the unreliable one first."""
    stack = Stack(tmp_path, engine=False, upstream=scripted.url)
    first = f'[[bridge.upstream]]\nid = "first"\nurl = "{unreliable.url}"\npriority = -1\n'
    stack.config.write_text(
        stack.config.read_text().replace("[broadcaster]", f"{first}[broadcaster]")
    )
    stack.start()
    until(lambda: len(stack.json("models")["models"]) == 2, what="both upstreams")
    yield stack
    stack.kill()


def proxied(stack: Stack) -> tuple[float, Any, bytes]:
    """Seconds to the head of the answer, the upstream that gave it, the body."""
    request = json.dumps({"model": MODEL, "stream": True, "messages": []})
    connection = http.client.HTTPConnection("127.0.0.1", stack.bridge, timeout=30)
    began = time.monotonic()
    connection.request("POST", "/v1/chat/completions", request)
    answer = connection.getresponse()
    seconds = time.monotonic() - began
    body = answer.read()
    connection.close()
    return seconds, answer.headers["x-geoos-upstream"], body


def prompted(stack: Stack) -> tuple[float, list[dict[str, Any]]]:
    """Seconds to the first token, and all messages."""
    path = stack.directory / "run" / "control.sock"
    messages = []
    seconds = 0.0
    began = time.monotonic()
    for reply in client.stream(path, "io.geoos.Control.Prompt", {"prompt": "hi", "model": MODEL}):
        if reply["message"] is None:
            continue
        messages.append(reply["message"])
        if not seconds and messages[-1]["message_type"] == "TokenVisualizationUpdate":
            seconds = time.monotonic() - began
    return seconds, messages


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refuses", "resets"])
def test_failover_within_a_second(stack, scripted, unreliable, fault):
    if fault == "refuses":
        unreliable.close()
    seconds, upstream, body = proxied(stack)
    assert (upstream, body) == ("scripted", scripted.body)
    assert seconds < LIMIT
    seconds, messages = prompted(stack)
    assert payloads(messages, "SessionEnded")[0]["error"] is None
    assert 0 < seconds < LIMIT
    assert len(scripted.requests) == 2
    assert unreliable.posts <= 2  # none where it refused, and at most once for each request


@pytest.mark.slow
def test_who_resets_everything_is_shown_as_set_aside(stack, unreliable):
    for _ in range(3):
        proxied(stack)
    assert unreliable.posts == 3
    # It answers the look that ends the back-off, and resets again: set aside for twice as long.
    until(lambda: proxied(stack) and unreliable.posts == 4, 20, "a second opening")
    shown = {each["upstream"]: each for each in stack.json("models")["models"]}
    assert shown["first"]["circuit"] == "open"
    assert shown["scripted"]["circuit"] == "closed"
    assert "set aside" in stack.ctl("models").stdout
    done = stack.ctl("health")
    assert done.returncode == 1
    assert "bridge: upstream first" in done.stdout
    logged = stack.ctl("logs", "-n", "200").stdout
    assert "upstream is set aside" in logged
