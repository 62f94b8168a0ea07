"""What no client may do to the proxy's server: bounds, deadlines and garbage."""

import json

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from scripted_upstream import ScriptedUpstream, answers, ask, client, proxied, until

from geoosd.bridge.adapters import proxy as proxy_module
from geoosd.bridge.adapters.http_connection import DEFAULT_LIMITS
from geoosd.wire.messages import SessionEnded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def say(port, raw, *, end=True):
    """Everything that comes back for *raw*, until the close."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        try:
            await stream.send_all(raw)
            if end:
                await stream.send_eof()
            with trio.fail_after(5):
                return b"".join([data async for data in stream])
        except trio.BrokenResourceError:
            return b""


def error_of(raw):
    """Status and error object of one of our own refusals."""
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET /v1/x HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /v1/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nshort", 400),
        (b"GET /v1/x HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, 431),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 67108865\r\n\r\n", 413),
    ],
)
async def test_a_bad_request_is_answered_in_openais_form(raw, status):
    upstream = ScriptedUpstream(answers(OK))
    async with proxied(upstream) as rig:
        found, error = error_of(await say(rig.port, raw))
        assert found == status
        assert (error["type"], error["code"]) == (
            "server_error" if status >= 500 else "invalid_request_error",
            "bad_request",
        )
        assert not upstream.requests
        assert (await ask(rig.port, "GET", "/v1/x")).body == b"ok"
        assert not rig.bugs


_HEAD = st.sampled_from(
    [
        b"GET /v1/x HTTP/1.1\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"abc",
    ]
)


async def test_a_body_whose_end_is_told_twice_is_the_last_on_its_connection():
    """The chunks count; what follows might be meant as a part of it (RFC 9112 §6.1)."""
    upstream = ScriptedUpstream(answers(OK))
    async with proxied(upstream) as rig:
        head = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\n"
        body = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        twice = await say(rig.port, head + b"Content-Length: 60\r\n" + body + head, end=False)
        assert twice.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in twice.lower()
        (seen,) = upstream.requests
        assert (seen.body, seen.get(b"content-length")) == (b"{}", None)
        refused = await say(
            rig.port, head.replace(b"/v1/x", b"/x") + b"Content-Length: 9\r\n" + body
        )
        assert refused.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"connection: close" in refused.lower()


async def test_no_bytes_kill_the_server():
    upstream = ScriptedUpstream(answers(OK))
    tried = []

    @given(st.lists(st.one_of(_HEAD, st.binary(max_size=40)), max_size=12).map(b"".join))
    def collect(raw):
        tried.append(raw)

    collect()
    async with proxied(upstream) as rig:
        for raw in tried:
            back = await say(rig.port, raw)
            assert back == b"" or back.startswith(b"HTTP/1.1 ")
        assert (await ask(rig.port, "GET", "/v1/x")).body == b"ok"
        await until(lambda: rig.proxy.server.connections == 0)
        assert not rig.bugs
        await until(lambda: rig.proxy.server.body_bytes == 0)


async def test_a_head_that_drips_is_cut_off_and_a_silent_connection_closed():
    limits = DEFAULT_LIMITS._replace(head_seconds=0.05, idle_seconds=0.05)
    async with proxied(ScriptedUpstream(answers(OK)), limits=limits) as rig:
        status, error = error_of(await say(rig.port, b"GET /v1/x HT", end=False))
        assert (status, error["message"]) == (408, "cannot wait longer for the request's head")
        assert await say(rig.port, b"", end=False) == b""
        async with client(rig.port) as connection:
            assert (await connection.ask("GET", "/v1/x")).body == b"ok"
            assert await connection.stream.receive_some(1) == b""


async def test_a_body_that_stalls_is_cut_off():
    limits = DEFAULT_LIMITS._replace(body_stall_seconds=0.05)
    raw = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nshort"
    async with proxied(ScriptedUpstream(answers(OK)), limits=limits) as rig:
        assert error_of(await say(rig.port, raw, end=False))[0] == 408


async def test_bodies_are_bounded_each_and_together():
    limits = DEFAULT_LIMITS._replace(body_bytes=1000, held_bytes=1500)
    hold = trio.Event()

    async def script(stream, seen):
        await hold.wait()
        await stream.send_all(OK)

    upstream = ScriptedUpstream(script)
    async with proxied(upstream, limits=limits) as rig:
        chunked = await ask(rig.port, "POST", "/v1/x", body=bytes(1001), chunked=True)
        assert chunked.status == 413
        async with client(rig.port) as first:
            await first.send("POST", "/v1/x", body=bytes(900))
            await until(lambda: upstream.requests)
            second = await ask(rig.port, "POST", "/v1/x", body=bytes(900))
            assert (second.status, second.get(b"retry-after")) == (429, b"1")
            assert json.loads(second.body)["error"]["code"] == "rate_limited"
            hold.set()
            assert (await first.answer()).body == b"ok"
        assert (await ask(rig.port, "POST", "/v1/x", body=bytes(900))).status == 200
        await until(lambda: rig.proxy.server.body_bytes == 0)


async def test_connections_are_bounded():
    limits = DEFAULT_LIMITS._replace(connections=2)
    async with proxied(ScriptedUpstream(answers(OK)), limits=limits) as rig:
        async with client(rig.port), client(rig.port):
            await until(lambda: rig.proxy.server.connections == 2)
            status, error = error_of(await say(rig.port, b""))
            assert (status, error["code"], error["type"]) == (
                429,
                "rate_limited",
                "rate_limit_error",
            )
        await until(lambda: rig.proxy.server.connections == 0)
        assert (await ask(rig.port, "GET", "/v1/x")).status == 200


async def test_what_is_sent_ahead_is_kept_within_bounds():
    hold = trio.Event()

    async def script(stream, seen):
        await hold.wait()
        await stream.send_all(OK)

    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig, client(rig.port) as connection:
        await connection.send("GET", "/v1/x")
        await until(lambda: upstream.requests)
        with trio.move_on_after(0.3):
            while True:
                await connection.stream.send_all(bytes(100_000))
        hold.set()
        assert (await connection.answer()).body == b"ok"
        assert not rig.bugs


async def test_a_bug_after_the_session_has_begun_is_its_error(monkeypatch):
    def bug(*_):
        raise ZeroDivisionError

    async with proxied(ScriptedUpstream(answers(OK))) as rig:
        monkeypatch.setattr(proxy_module, "response_fields", bug)
        answer = await ask(rig.port, "POST", "/v1/chat/completions", body=b"{}")
        assert answer.status == 500
        await until(lambda: rig.of(SessionEnded))
        assert rig.of(SessionEnded)[0].error.startswith("geoos itself failed")
        assert [where for where, _ in rig.bugs] == ["http handler"]


async def test_a_bug_in_the_handler_is_answered_and_told():
    async with proxied(ScriptedUpstream(answers(OK))) as rig:
        rig.directory.candidates = None
        answer = await ask(rig.port, "GET", "/v1/x")
        assert answer.status == 500
        assert json.loads(answer.body)["error"]["code"] == "internal_error"
        assert [where for where, _ in rig.bugs] == ["http handler"]
