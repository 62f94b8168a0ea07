"""A model server whose answer is a recording, byte for byte, at the pace that a test sets."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data" / "sse"
MODEL = "gemma-3-270m"


class ScriptedUpstream:
    """Serves ``/v1/models`` and answers every POST with the body of one recording.

    The answer is sent with ``status`` in *pieces*; before each piece after the first, ``gate`` must
    be open.
    """

    def __init__(self, recording: str = "01_chat_plain", pieces: int = 20) -> None:
        self.body = (DATA / f"{recording}.body").read_bytes()
        self.pieces = pieces
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.requests: list[tuple[str, bytes]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                answer = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
                found = self.path == "/v1/models"
                self._begin(200 if found else 404, "application/json", len(answer))
                self.wfile.write(answer.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.requests.append((self.path, body))
                self._begin(outer.status, "text/event-stream", None)
                size = -(-len(outer.body) // outer.pieces)
                for start in range(0, len(outer.body), size):
                    piece = outer.body[start : start + size]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    outer.begun.set()
                    outer.gate.wait(30)
                self.wfile.write(b"0\r\n\r\n")

            def _begin(self, status: int, media_type: str, length: int | None) -> None:
                self.send_response(status)
                self.send_header("content-type", media_type)
                if length is None:
                    self.send_header("transfer-encoding", "chunked")
                else:
                    self.send_header("content-length", str(length))
                self.end_headers()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ScriptedUpstream:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
