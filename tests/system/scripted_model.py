"""A model server for the sandbox: ``scripted_model.py PORT TOKENS SECONDS_BETWEEN [KEYS]``.

Standard library alone. Says the words w0 w1 w2 ..., each once, so that a loss is seen, and always
the same bytes: :func:`body`; a word a second while /var/tmp/hold is there. The Authorization header
of each request goes to the file KEYS.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOLD = Path("/var/tmp/hold")


def text(tokens):
    """All that it says."""
    return "".join(f"w{index} " for index in range(tokens))


def events(tokens):
    """The events of an answer."""
    deltas = [{"content": f"w{index} "} for index in range(tokens)]
    chunks = [_chunk(delta, None) for delta in deltas] + [_chunk({}, "stop")]
    for data in [*map(json.dumps, chunks), "[DONE]"]:
        yield f"data: {data}\n\n".encode()


def body(tokens):
    """An answer's body, without its transfer encoding."""
    return b"".join(events(tokens))


def _chunk(delta, finish):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "scripted", "choices": [choice]}


class Handler(BaseHTTPRequestHandler):
    """Answers /v1/models, and every POST with a stream of chat completion chunks."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._note_key()
        models = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
        answer = json.dumps(models).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self):
        self._note_key()
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events(self.server.tokens):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            time.sleep(1 if HOLD.exists() else self.server.pause)
        self.wfile.write(b"0\r\n\r\n")

    def _note_key(self):
        if self.server.keys is not None:
            with self.server.keys.open("a") as file:
                file.write(f"{self.command} {self.headers.get('authorization')}\n")

    def log_message(self, *_):
        pass


def main(port, tokens, pause, keys=None):
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.tokens, server.pause = int(tokens), float(pause)
    server.keys = None if keys is None else Path(keys)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
