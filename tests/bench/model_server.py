"""A model server that costs next to nothing: chat chunks at a set pace, each with its own time.

``python model_server.py`` listens on a free port of 127.0.0.1 and prints it. A POST is answered by
``max_tokens`` chunks, one every ``seconds_apart`` seconds; the text of each is ``@SECONDS``, the
time since the epoch just before it was written. ``/v1/models`` is answered too. HTTP/1.1 is spoken
only as far as the bridge and :mod:`bench_proxy` need it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

MODEL = "bench"
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
_CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"@%.6f"},"finish_reason":null}]}\n\n'
)
_END = b"data: [DONE]\n\n"


def framed(data: bytes) -> bytes:
    """One chunk of the chunked coding (RFC 9112 §7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _requests(connection: socket.socket) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Method, path and body of each request."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        pairs = (field.partition(b":") for field in fields)
        names = {name.strip().lower(): value for name, _, value in pairs}
        length = int(names.get(b"content-length", 0))
        while len(data) < length:
            data += connection.recv(65536)
        method, path, _ = line.split()
        yield method, path, data[:length]
        data = data[length:]


def _stream(connection: socket.socket, body: bytes) -> None:
    wanted = json.loads(body)
    connection.sendall(_HEAD)
    next_ = time.monotonic()
    for _ in range(wanted["max_tokens"]):
        connection.sendall(framed(_CHUNK % time.time()))
        next_ += wanted["seconds_apart"]
        if (left := next_ - time.monotonic()) > 0:
            time.sleep(left)
    connection.sendall(framed(_END) + b"0\r\n\r\n")


def _answer(connection: socket.socket, status: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % (status, len(body)) + body)


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    models = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
    with connection:
        try:
            for method, path, body in _requests(connection):
                if method == b"POST":
                    _stream(connection, body)
                elif path == b"/v1/models":
                    _answer(connection, b"200 OK", models)
                else:
                    _answer(connection, b"404 Not Found", b"{}")
        except OSError:
            return  # the client went away


def main() -> None:
    """Serve for ever, a thread for each connection."""
    server = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
