"""A broadcaster for tests of the page: its files, its WebSocket, its prompt; nothing behind it.

It serves geoosd/broadcaster/web under the content security policy of the real one, lets a test
send any message to the viewers that are connected, and records what the page asked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Ping, TextMessage

WEB = Path(__file__).resolve().parents[2] / "geoosd" / "broadcaster" / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATIENCE = 20.0


@dataclass(eq=False)
class Viewer:
    """One WebSocket connection of a page."""

    socket: socket.socket
    query: dict[str, str]
    protocol: Connection = field(default_factory=lambda: Connection(ConnectionType.SERVER))

    def send(self, message_type: str, payload: dict[str, Any], seq: int | None = None) -> None:
        envelope: dict[str, Any] = {
            "message_type": message_type,
            "timestamp": 1_700_000_000.0 + (seq or 0) * 0.04,
            "payload": payload,
        }
        if seq is not None:
            envelope["seq"] = seq
        self.send_text(json.dumps(envelope))

    def send_text(self, text: str) -> None:
        self.socket.sendall(self.protocol.send(TextMessage(data=text)))

    def close(self, code: int = 1001) -> None:
        self.socket.sendall(self.protocol.send(CloseConnection(code=code)))

    def drop(self) -> None:
        """Cut the connection without a goodbye."""
        self.socket.shutdown(socket.SHUT_RDWR)


class FakeBroadcaster:
    """Use as a context manager; ``address`` is the page's."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.viewers: list[Viewer] = []
        self.accepted = 0
        self.prompts: list[dict[str, Any]] = []
        self.prompt_reply: tuple[int, dict[str, Any]] = (202, {"accepted": True})
        self.status: dict[str, Any] = {"daemons": []}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> FakeBroadcaster:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        for viewer in list(self.viewers):
            viewer.drop()
        self._server.server_close()

    def wait_for_viewer(self, number: int) -> Viewer:
        """The *number*-th viewer ever to connect, counted from 1, once it is there."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: self.accepted >= number and bool(self.viewers), PATIENCE
            )
        assert found, f"viewer {number} did not connect"
        return self.viewers[-1]

    def wait_for_prompt(self) -> dict[str, Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: bool(self.prompts), PATIENCE), "no prompt came"
        return self.prompts.pop(0)


def _handler(broadcaster: FakeBroadcaster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Tests say what they saw."""

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/neural":
                self.close_connection = True
                _serve_viewer(broadcaster, self, url.query)
                return
            if url.path == "/api/status":
                self._answer(200, json.dumps(broadcaster.status).encode(), "application/json")
                return
            path = (WEB / (url.path.lstrip("/") or "index.html")).resolve()
            if not path.is_relative_to(WEB) or not path.is_file():
                self._answer(404, b"not found", "text/plain")
                return
            self._answer(200, path.read_bytes(), MEDIA_TYPES[path.suffix])

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            status, reply = broadcaster.prompt_reply
            with broadcaster.changed:
                broadcaster.prompts.append(json.loads(body))
                broadcaster.changed.notify_all()
            self._answer(status, json.dumps(reply).encode(), "application/json")

        def _answer(self, status: int, body: bytes, media_type: str) -> None:
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-security-policy", POLICY)
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _serve_viewer(
    broadcaster: FakeBroadcaster, handler: BaseHTTPRequestHandler, query: str
) -> None:
    key = handler.headers["sec-websocket-key"].encode()
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest()).decode()
    handler.send_response(101)
    handler.send_header("upgrade", "websocket")
    handler.send_header("connection", "upgrade")
    handler.send_header("sec-websocket-accept", accept)
    handler.end_headers()
    handler.wfile.flush()
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    viewer = Viewer(handler.connection, fields)
    with broadcaster.changed:
        broadcaster.viewers.append(viewer)
        broadcaster.accepted += 1
        broadcaster.changed.notify_all()
    try:
        _read_to_the_end(viewer)
    except OSError:
        pass  # the page or the test cut the connection
    finally:
        with broadcaster.changed:
            broadcaster.viewers.remove(viewer)


def _read_to_the_end(viewer: Viewer) -> None:
    while viewer.protocol.state is not ConnectionState.CLOSED:
        data = viewer.socket.recv(65536)
        if not data:
            return
        viewer.protocol.receive_data(data)
        for event in viewer.protocol.events():
            if isinstance(event, Ping) or (
                isinstance(event, CloseConnection)
                and viewer.protocol.state is ConnectionState.REMOTE_CLOSING
            ):
                viewer.socket.sendall(viewer.protocol.send(event.response()))


def hilbert_place(index: int, order: int) -> tuple[int, int]:
    """Column and row of an index; written apart from both implementations under test."""
    x = y = 0
    for level in range(order):
        right = (index >> 1) & 1
        down = (index ^ right) & 1
        if not down:
            if right:
                x, y = (1 << level) - 1 - x, (1 << level) - 1 - y
            x, y = y, x
        x += right << level
        y += down << level
        index >>= 2
    return x, y


def token(text: str, position: int, token_id: int, **more: Any) -> dict[str, Any]:
    """A TokenVisualizationUpdate as the compositor completes it; the place is the id's."""
    x, y = hilbert_place(token_id, 10)
    return {
        "current_token": text,
        "sequence_position": position,
        "token_id": token_id,
        "session": "s1",
        "model": "gemma-3-270m",
        "district": 0,
        "cell": token_id,
        "hilbert_position": [(x + 0.5) / 1024, (y + 0.5) / 1024],
        **more,
    }


def snapshot(at_seq: int = 0, **more: Any) -> dict[str, Any]:
    return {"at_seq": at_seq, "sessions": [], "tokens": [], "cells": "", "districts": [], **more}


def pack_cells(cells: list[tuple[int, int, float]]) -> str:
    """``Snapshot.cells`` of (district, cell, weight)."""
    return base64.b64encode(b"".join(struct.pack("<IIf", *cell) for cell in cells)).decode()
