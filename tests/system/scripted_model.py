"""A model server for the sandbox: ``scripted_model.py PORT TOKENS SECONDS_BETWEEN``.

Standard library alone. Says the words w0 w1 w2 ..., each once, so that a loss is seen.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, TOKENS, PAUSE = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


class Handler(BaseHTTPRequestHandler):
    """Answers /v1/models, and every POST with a stream of chat completion chunks."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        models = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
        body = json.dumps(models).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for index in range(TOKENS):
            self._event(json.dumps(self._chunk({"content": f"w{index} "}, None)))
            time.sleep(PAUSE)
        self._event(json.dumps(self._chunk({}, "stop")))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, delta, finish):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {
            "id": "c",
            "object": "chat.completion.chunk",
            "model": "scripted",
            "choices": [choice],
        }

    def _event(self, data):
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
