"""64 streams at once on this machine, half of them proxied and half of them prompts: no loss."""

from __future__ import annotations

import http.client
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from geoosctl import client

from .scripted import MODEL
from .stack import Stack, payloads, text_of, until

STREAMS = 64
CHUNKS = 200
PACE = 0.05


def chunk_text(name: str, number: int) -> str:
    return f"{name}·{number} "


def chunks_of(name: str) -> list[bytes]:
    """The event stream that *name* gets: its own text, hundreds of chunks."""
    events = [{"choices": [{"index": 0, "delta": {"role": "assistant"}}]}]
    events += [
        {"choices": [{"index": 0, "delta": {"content": chunk_text(name, number)}}]}
        for number in range(CHUNKS)
    ]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    return [*lines, b"data: [DONE]\n\n"]


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 2 * STREAMS
    daemon_threads = True


class Together:
    """Answers a request when all have come, so that all stream at the same time."""

    def __init__(self) -> None:
        self.posts: list[str] = []
        barrier = threading.Barrier(STREAMS)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                answer = json.dumps({"data": [{"id": MODEL}]}).encode()
                self.send_response(200 if self.path == "/v1/models" else 404)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                name = body["messages"][-1]["content"]
                outer.posts.append(name)
                barrier.wait(60)
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                pause = threading.Event()
                for piece in chunks_of(name):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    pause.wait(PACE)
                self.wfile.write(b"0\r\n\r\n")

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Together:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def through_the_proxy(stack: Stack, name: str) -> tuple[str, bytes]:
    """The session and the body as a client got it."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.bridge, timeout=120)
    try:
        request = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": name}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(request))
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.headers["x-geoos-session"], answer.read()
    finally:
        connection.close()


def by_prompt(stack: Stack, name: str) -> tuple[str, list[dict[str, Any]]]:
    """The session and all messages as the caller got them."""
    path = stack.directory / "run" / "control.sock"
    asked = {"prompt": name, "model": MODEL}
    replies = client.stream(path, "io.geoos.Control.Prompt", asked, timeout=120)
    messages = [reply["message"] for reply in replies if reply["message"] is not None]
    return messages[0]["payload"]["session"], messages


@pytest.mark.slow
def test_64_streams_at_once_lose_nothing(tmp_path):
    with Together() as server:
        stack = Stack(tmp_path, engine=False, upstream=server.url)
        settings = stack.config.read_text()
        settings = settings.replace(
            'id = "scripted"', f'id = "scripted"\nmax_concurrency = {STREAMS}'
        )
        settings = settings.replace("[broadcaster]", "[broadcaster]\nmax_lag = 100000")
        stack.config.write_text(settings)
        try:
            stack.start()
            stack.wait_for_model()
            check(stack, server)
        finally:
            stack.kill()


def check(stack: Stack, server: Together) -> None:
    proxied = [f"proxied{number}" for number in range(STREAMS // 2)]
    prompted = [f"prompted{number}" for number in range(STREAMS // 2)]
    with stack.viewer() as viewer, ThreadPoolExecutor(STREAMS + 1) as pool:
        watching = pool.submit(viewer.read, "SessionEnded", 120, STREAMS)
        bodies = {name: pool.submit(through_the_proxy, stack, name) for name in proxied}
        answers = {name: pool.submit(by_prompt, stack, name) for name in prompted}
        sessions: dict[str, str] = {}
        for name, future in bodies.items():
            sessions[name], body = future.result()
            assert body == b"".join(chunks_of(name))
        for name, asked in answers.items():
            sessions[name], messages = asked.result()
            assert text_of(messages) == whole(name)
            assert payloads(messages, "SessionEnded")[0]["error"] is None
        seen = watching.result()
    assert payloads(seen, "Gap") == []
    for name, session in sessions.items():
        assert text_of(seen, session) == whole(name)
    ends = payloads(seen, "SessionEnded")
    assert [end["error"] for end in ends] == [None] * STREAMS
    assert sorted(server.posts) == sorted([*proxied, *prompted])
    until(lambda: not stack.status()["bridge"]["status"]["requests"], what="an empty table")
    assert stack.status()["bridge"]["status"]["queues"][0]["dropped"] == 0


def whole(name: str) -> str:
    return "".join(chunk_text(name, number) for number in range(CHUNKS))
