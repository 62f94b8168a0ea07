"""A real Varlink server in a thread, whose answers a test writes down."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class ScriptedServer:
    """Answers each call with what ``answers`` has for its method.

    A dict is the reply's parameters; a list of dicts are several replies; bytes go out as they are;
    None keeps silent; a string is an error's name. Other methods are not found.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {}
        self.calls: list[dict[str, Any]] = []
        self.called = threading.Event()
        self._stop = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End the thread; safe to call twice."""
        self._stop.set()
        connection = self._connection
        if connection is not None:
            # A test that failed may hold its end open: the thread must not wait for it.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        try:
            with socket.socket(socket.AF_UNIX) as knock:
                knock.connect(str(self.path))
        except OSError:
            pass
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                self._connection = connection
                if self._stop.is_set():
                    return
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        data = b""
        while not data.endswith(b"\0"):
            chunk = connection.recv(65536)
            if not chunk:
                return
            data += chunk
        call = json.loads(data[:-1])
        self.calls.append(call)
        self.called.set()
        try:
            answer = self.answers[call["method"]]
        except KeyError:
            answer = "org.varlink.service.MethodNotFound"
        if answer is None:
            connection.recv(1)  # until the caller gives up
            return
        try:
            connection.sendall(answer if isinstance(answer, bytes) else b"".join(_encode(answer)))
        except OSError:
            return


def _encode(answer: Any) -> Iterator[bytes]:
    if isinstance(answer, str):
        name, _, reason = answer.partition(" ")
        yield json.dumps({"error": name, "parameters": {"reason": reason}}).encode() + b"\0"
        return
    replies = answer if isinstance(answer, list) else [answer]
    for index, parameters in enumerate(replies):
        more = index + 1 < len(replies)
        yield json.dumps({"parameters": parameters, "continues": more}).encode() + b"\0"
