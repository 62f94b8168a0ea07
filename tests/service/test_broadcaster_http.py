"""The HTTP side of the port: page, API, refusals."""

import base64
import gzip
import json
from contextlib import suppress

import brotli
import httpx
import pytest
import trio
from test_broadcaster_viewers import exchange, standing

from geoosd.errors import VarlinkError
from geoosd.runtime.varlink import VarlinkServer, unavailable
from geoosd.wire import varlink as wire

BRIDGE = """interface io.geoos.Bridge
method Prompt(prompt: string) -> (message: object)
"""
COMPOSITOR = """interface io.geoos.Compositor
method Render(width: ?int) -> (image: string)
method ListThemes() -> ()
"""


async def fake(stand, nursery, name, description, **handlers):
    server = VarlinkServer("fake", on_bug=lambda *_: None)
    server.add_interface(description)
    for method, handler in handlers.items():
        server.add(f"{wire.interface_name(description)}.{method}", handler)
    listener = stand.runtime.listen_unix("none", f"{name}.varlink")
    nursery.start_soon(server.serve, listener)


def client(stand):
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{stand.port}")


async def test_the_page_and_its_headers(tmp_path):
    async with standing(tmp_path) as stand, client(stand) as http:
        page = {path for path in stand.service.port.router._routes if path.endswith(".js")}
        http.headers["accept-encoding"] = "identity"
        for path in [*page][:3]:
            answer = await http.get(path)
            assert answer.headers["content-type"].startswith("text/javascript")
            assert "'unsafe-inline'" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            again = await http.get(path, headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
            assert again.content == b""
            head = await http.head(path)
            assert head.headers["content-length"] == str(len(answer.content))


SESSIONS = """interface io.geoos.Bridge
method ListSessions(model: ?string) -> (sessions: []object)
method GetSession(session: string) -> (session: object)
"""


async def test_recorded_sessions(tmp_path):
    asked = []

    async def listed(call):
        asked.append(call.parameters)
        return {"sessions": [{"id": "a-b_1"}], "next": None}

    async def one(call):
        asked.append(call.parameters)
        if call.parameters["session"] != "a-b_1":
            raise VarlinkError(wire.NOT_FOUND, {"reason": "cannot find it"})
        return {"session": {"id": "a-b_1"}, "messages": [], "next": None}

    async with standing(tmp_path) as stand, client(stand) as http, trio.open_nursery() as nursery:
        assert (await http.get("/api/sessions")).status_code == 503
        await fake(stand, nursery, "bridge", SESSIONS, ListSessions=listed, GetSession=one)
        answer = await http.get("/api/sessions?model=m&since=1.5&limit=2")
        assert answer.json()["sessions"] == [{"id": "a-b_1"}]
        part = await http.get("/api/sessions/a-b_1?after=3")
        assert part.json()["session"] == {"id": "a-b_1"}
        assert asked == [
            {"model": "m", "since": 1.5, "limit": 2},
            {"after": 3, "session": "a-b_1"},
        ]
        assert (await http.get("/api/sessions/none")).status_code == 404
        assert (await http.get("/api/sessions/a.b")).status_code == 404
        assert (await http.get("/api/sessions/a/b")).status_code == 404
        assert (await http.get("/api/sessions?limit=x")).status_code == 400
        assert (await http.post("/api/sessions/a-b_1")).status_code == 405
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_the_page_is_compressed_once_for_who_takes_it(tmp_path, coding):
    async with standing(tmp_path) as stand, client(stand) as http:
        plain = await http.get("/style.css", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.headers["vary"] == "accept-encoding"
        small = await http.get("/style.css", headers={"accept-encoding": coding})
        assert small.headers["content-encoding"] == coding
        assert int(small.headers["content-length"]) < 0.5 * len(plain.content)
        assert small.headers["etag"] != plain.headers["etag"]
        raw = await exchange(stand.port, asking(f"Accept-Encoding: {coding}"), b"")
        body = raw.partition(b"\r\n\r\n")[2]
        unpacked = gzip.decompress(body) if coding == "gzip" else brotli.decompress(body)
        assert unpacked == plain.content
        known = {"accept-encoding": coding, "if-none-match": f'"x", W/{small.headers["etag"]}'}
        again = await http.get("/style.css", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == small.headers["etag"]
        head = await http.head("/style.css", headers={"accept-encoding": coding})
        assert head.headers["content-length"] == small.headers["content-length"]
        assert head.content == b""
        for refused in ("", "zstd", f"{coding};q=0", "*;q=0.0"):
            answer = await http.get("/style.css", headers={"accept-encoding": refused})
            assert "content-encoding" not in answer.headers


def asking(*headers, method="GET", path="/style.css", host="localhost"):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode()


UPGRADING = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


async def test_a_part_of_a_file(tmp_path):
    async with standing(tmp_path) as stand, client(stand) as http:
        http.headers["accept-encoding"] = "identity"
        whole = await http.get("/style.css")
        size, etag = len(whole.content), whole.headers["etag"]
        assert whole.headers["accept-ranges"] == "bytes"
        for wanted, start, stop in (
            ("bytes=10-19", 10, 20),
            ("bytes=-7", size - 7, size),
            (f"bytes={size - 1}-", size - 1, size),
        ):
            part = await http.get("/style.css", headers={"range": wanted, "if-range": etag})
            assert part.status_code == 206
            assert part.content == whole.content[start:stop]
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert part.headers["etag"] == etag
        beyond = await http.get("/style.css", headers={"range": f"bytes={size}-"})
        assert beyond.status_code == 416
        assert beyond.headers["content-range"] == f"bytes */{size}"
        # Another file than the one begun with, several ranges, HEAD: all of it.
        for headers in (
            {"range": "bytes=0-1", "if-range": '"another"'},
            {"range": "bytes=0-1,4-5"},
        ):
            answer = await http.get("/style.css", headers=headers)
            assert (answer.status_code, answer.content) == (200, whole.content)
        head = await http.head("/style.css", headers={"range": "bytes=0-1"})
        assert (head.status_code, head.headers["content-length"]) == (200, str(size))
        known = {"range": "bytes=0-1", "if-none-match": etag}
        assert (await http.get("/style.css", headers=known)).status_code == 304
        # No part of another version than the one asked for (RFC 9110 §13.1.1).
        for asked, status in (("*", 206), (f'"x", {etag}', 206), ('"x"', 412), (f"W/{etag}", 412)):
            part = {"range": "bytes=0-1", "if-match": asked}
            assert (await http.get("/style.css", headers=part)).status_code == status
        # The parts of a coded file are parts of what is sent (RFC 9110 §14.2).
        packed = await exchange(stand.port, asking("Accept-Encoding: gzip"), b"")
        head, _, body = packed.partition(b"\r\n\r\n")
        part = await exchange(stand.port, asking("Accept-Encoding: gzip", "Range: bytes=5-14"), b"")
        assert part.startswith(b"HTTP/1.1 206")
        assert part.partition(b"\r\n\r\n")[2] == body[5:15]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (asking(path="/nowhere"), 404),
        (asking(method="DELETE", path="/"), 405),
        (asking("Content-Length: 2000000", method="POST", path="/api/prompt"), 413),
        (asking(f"X: {'a' * 40_000}"), 431),
        (asking(path=f"/{'a' * 40_000}"), 431),
        (asking("bad header"), 400),
        (asking(path="/neural"), 426),
        (asking(method="POST", path="/neural"), 405),
        (asking(path="http://evil.example/"), 403),
        (asking(path="http://127.0.0.1/nowhere"), 404),
    ],
)
async def test_each_refusal_is_whole_and_safe(tmp_path, sent, status):
    """Whatever is refused: a status, JSON that says why, and the headers of every answer."""
    async with standing(tmp_path) as stand:
        with trio.fail_after(10):
            got = await exchange(stand.port, sent, b"")
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        lines = head.decode().lower().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines)
        assert headers["content-type"] == "application/json"
        assert headers["x-content-type-options"] == "nosniff"
        assert int(headers["content-length"]) == len(body)
        assert json.loads(body)["error"]["message"].startswith("cannot ")
        assert stand.service.port.connections <= 1


async def test_a_body_that_grows_too_large_on_the_way(tmp_path):
    """In chunks no length is declared: what has come counts."""
    async with standing(tmp_path) as stand:
        stream = await trio.open_tcp_stream("127.0.0.1", stand.port)
        async with stream:
            with trio.fail_after(10):
                await stream.send_all(
                    asking("Transfer-Encoding: chunked", method="POST", path="/api/prompt")
                )
                with suppress(trio.BrokenResourceError):
                    for _ in range(20):
                        await stream.send_all(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 413")
        await stand.until(lambda: stand.service.port.connections == 0)


async def test_head_is_get_without_a_body_on_every_route(tmp_path):
    async with standing(tmp_path) as stand, client(stand) as http:
        http.headers["accept-encoding"] = "identity"
        for path in ("/", "/healthz", "/metrics", "/api/themes", "/nowhere"):
            got, head = await http.get(path), await http.head(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
        answer = await http.head("/stream.mjpg")  # which has no end
        assert answer.status_code == 200
        assert (await http.head("/api/prompt")).status_code == 405


async def test_a_target_may_name_its_host_too(tmp_path):
    """RFC 9112 §3.2.2; then Host says nothing."""
    async with standing(tmp_path) as stand:
        for target in ("http://localhost/healthz?a=b", "HTTP://127.0.0.1:1/healthz"):
            got = await exchange(stand.port, asking(path=target, host="evil.example"), b"")
            assert b'{"status":' in got, target
        whole = await exchange(stand.port, asking(path="http://localhost"), b"")
        assert b"<!doctype html>" in whole.lower()


async def test_a_header_in_several_lines_is_one_list(tmp_path):
    """RFC 9110 §5.3; so no second line hides the first one."""
    async with standing(tmp_path) as stand, client(stand) as http:
        etag = (await http.get("/style.css", headers={"accept-encoding": ""})).headers["etag"]
        for lines, status in (
            ((f"If-None-Match: {etag}", 'If-None-Match: "x"'), 304),
            (("Range: bytes=0-1", "Range: bytes=3-4"), 200),
        ):
            got = await exchange(stand.port, asking(*lines), b"")
            assert got.startswith(b"HTTP/1.1 %d " % status)
        for first, second in ("evil.example", "localhost"), ("localhost", "evil.example"):
            origins = f"Origin: http://{first}", f"Origin: http://{second}"
            got = await exchange(stand.port, asking(*origins, *UPGRADING, path="/neural"), b"")
            assert got.startswith(b"HTTP/1.1 403 ")


async def test_refusals(tmp_path):
    async with standing(tmp_path) as stand, client(stand) as http:
        assert (await http.get("/nowhere")).status_code == 404
        refused = await http.post("/healthz")
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD"
        assert (await http.get("/healthz", headers={"host": "evil.example"})).status_code == 403
        for headers in ({"origin": "http://localhost:1"}, {"sec-fetch-site": "cross-site"}):
            assert (await http.post("/api/prompt", json={}, headers=headers)).status_code == 403
        declared = (
            b"POST /api/prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
        )
        assert (await exchange(stand.port, declared, b"")).startswith(b"HTTP/1.1 413")
        assert (await http.post("/api/prompt", content=b"{}")).status_code == 415
        for body in ({}, {"prompt": ""}, {"prompt": "a", "extra": 1}):
            assert (await http.post("/api/prompt", json=body)).status_code == 400
        got = await exchange(
            stand.port,
            b"POST /api/prompt HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: 2\r\n\r\n",
            b"{}",
        )
        assert got.startswith(b"HTTP/1.1 100")
        assert b"HTTP/1.1 415" in got


async def test_it_answers_without_the_other_daemons(tmp_path):
    async with standing(tmp_path) as stand, client(stand) as http:
        health = await http.get("/healthz")
        assert health.status_code == 200
        assert health.json()["status"] == "healthy"
        assert "broadcast_clients_active 0.0" in (await http.get("/metrics")).text
        for path in ("/api/status", "/api/themes", "/snapshot.png"):
            answer = await http.get(path)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "unavailable"
        answer = await http.post("/api/prompt", json={"prompt": "hello"})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "unavailable"
        assert answer.json()["error"]["message"].startswith("cannot ask the bridge")


async def test_a_dead_feed_makes_healthz_503(tmp_path):
    async with standing(tmp_path, feed=False) as stand, client(stand) as http:
        assert (await http.get("/healthz")).status_code == 503


async def test_a_prompt_runs_on_after_its_answer(tmp_path):
    go_on, ended = trio.Event(), trio.Event()
    asked = []

    async def prompt(call):
        asked.append(call.parameters)
        for model in call.parameters["models"]:
            started = {"message_type": "SessionStarted", "payload": {"session": f"s-{model}"}}
            await call.reply({"message": started})
        await go_on.wait()
        ended.set()
        return {"message": None}

    async with standing(tmp_path) as stand, client(stand) as http, trio.open_nursery() as nursery:
        await fake(stand, nursery, "bridge", BRIDGE, Prompt=prompt)
        answer = await http.post("/api/prompt", json={"prompt": "hi", "models": ["a", "b"]})
        assert answer.status_code == 202
        assert answer.json() == {"sessions": ["s-a", "s-b"]}
        assert asked == [{"prompt": "hi", "models": ["a", "b"]}]
        go_on.set()
        with trio.fail_after(5):
            await ended.wait()
        nursery.cancel_scope.cancel()


async def test_what_the_bridge_says_against_a_prompt_is_told_as_it_is(tmp_path):
    async def prompt(_call):
        raise unavailable("cannot ask a model: none answers; start one")

    async with standing(tmp_path) as stand, client(stand) as http, trio.open_nursery() as nursery:
        await fake(stand, nursery, "bridge", BRIDGE, Prompt=prompt)
        answer = await http.post("/api/prompt", json={"prompt": "hi"})
        assert answer.status_code == 503
        said = {"code": "unavailable", "message": "cannot ask a model: none answers; start one"}
        assert answer.json() == {"error": said}
        nursery.cancel_scope.cancel()


async def test_pictures_and_themes_come_from_the_compositor(tmp_path):
    async def render(call):
        return {
            "image": base64.b64encode(json.dumps(call.parameters).encode()).decode(),
            "media_type": "image/png",
        }

    async def themes(_call):
        return {"themes": [], "current": "aurora"}

    async with standing(tmp_path) as stand, client(stand) as http, trio.open_nursery() as nursery:
        await fake(stand, nursery, "compositor", COMPOSITOR, Render=render, ListThemes=themes)
        answer = await http.get("/snapshot.png?width=64&height=32&theme=paper")
        assert answer.headers["content-type"] == "image/png"
        assert answer.json() == {"width": 64, "height": 32, "theme": "paper", "format": "png"}
        assert (await http.get("/snapshot.jpg")).json() == {"format": "jpeg"}
        assert (await http.get("/snapshot.jpg?width=1")).status_code == 400
        assert (await http.get("/api/themes")).json()["current"] == "aurora"
        nursery.cancel_scope.cancel()
