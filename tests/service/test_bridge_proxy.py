"""The proxy between real sockets: same bytes, one POST, no harm by the tap."""

import functools
import json
import os
import socket
import struct

import pytest
import trio
from scripted_upstream import (
    RECORDINGS,
    SSE_HEAD,
    ScriptedUpstream,
    answers,
    ask,
    chunk,
    chunks_of,
    client,
    events_of,
    proxied,
    streams,
    until,
)

from geoosd.wire.messages import SessionEnded, SessionStarted, TokenVisualizationUpdate

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "gemma", "stream": True, "messages": []}).encode()
POST = functools.partial(ask, method="POST", target=CHAT, body=BODY)
DONE = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
NAMES = [
    "01_chat_plain",
    "03_completion_logprobs_usage",
    "05_chat_unicode_emoji_logprobs",
    "08_chat_tool_call_required",
    "17_error_midstream_kv_full_a",
    "19_sse_ping_long_prompt",
]


def plain(body=b"{}", *, status=b"200 OK", fields=b""):
    """A whole answer of announced length."""
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s" % (
        status,
        fields,
        len(body),
        body,
    )


async def reset(stream, seen=None):
    """Close a connection by RST."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()
    raise trio.ClosedResourceError


# -- the same bytes --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 7, 1])
@pytest.mark.parametrize("name", NAMES)
async def test_a_recording_comes_back_byte_for_byte(name, size):
    body = (RECORDINGS / f"{name}.body").read_bytes()
    if size == 1:
        body = body[:3000]
    pieces = events_of(body) if size is None else chunks_of(body, size)
    target = "/v1/completions" if "completion_" in name else CHAT
    upstream = ScriptedUpstream(streams(pieces))
    async with proxied(upstream) as rig:
        direct = await ask(upstream.port, "POST", target, body=BODY)
        through = await ask(rig.port, "POST", target, body=BODY)
        assert through.body == direct.body == b"".join(pieces)
        assert through.complete
        assert (through.status, through.reason) == (200, b"OK")
        added = [pair for pair in through.headers if pair not in direct.headers]
        assert added == [(b"x-geoos-session", b"session-1"), (b"x-geoos-upstream", b"scripted")]
        assert all(pair in through.headers for pair in direct.headers)
        assert len(upstream.posts) == 2
        assert upstream.posts[1].body == BODY
        await until(lambda: rig.of(SessionEnded))
        assert rig.of(SessionStarted)[0].session == "session-1"
        assert not rig.bugs
        if size != 1:
            assert rig.of(TokenVisualizationUpdate)


async def test_each_piece_is_sent_on_before_the_next_is_there_and_before_it_is_read():
    order = []
    go_on = trio.Event()

    async def script(stream, seen):
        await stream.send_all(SSE_HEAD + chunk(DONE[:57]))
        await go_on.wait()
        await stream.send_all(chunk(DONE[57:]) + b"0\r\n\r\n")

    upstream = ScriptedUpstream(script)
    async with (
        proxied(upstream, publish=lambda _: order.append("map")) as rig,
        client(rig.port) as connection,
    ):
        await connection.send("POST", CHAT, body=BODY)
        received = b""
        await connection.next_event()
        while len(received) < 57:
            received += (await connection.next_event()).data
        go_on.set()
        rest = await connection.answer()
        assert received + rest.body == DONE


@pytest.mark.parametrize(
    "raw",
    [
        plain(b'{"error":{"message":"no"}}', status=b"429 Slow Down", fields=b"Retry-After: 7\r\n"),
        plain(b"\x00\xff" * 70_000, fields=b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"),
        b"HTTP/1.1 204 No Content\r\nX-Thing: 1\r\n\r\n",
        plain(b"", status=b"500 Oops"),
    ],
)
async def test_status_headers_and_length_are_unchanged(raw):
    upstream = ScriptedUpstream(answers(raw))
    async with proxied(upstream) as rig:
        direct = await ask(upstream.port, "GET", "/api/tags?x=%20y")
        through = await ask(rig.port, "GET", "/api/tags?x=%20y")
        assert through.headers == [*direct.headers, (b"x-geoos-upstream", b"scripted")]
        direct.headers = through.headers
        assert through == direct
        assert upstream.requests[1].target == b"/api/tags?x=%20y"
        assert not rig.published


async def test_an_answer_ended_by_the_close_comes_whole_in_chunks():
    async def script(stream, seen):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        await stream.aclose()

    async with proxied(ScriptedUpstream(script)) as rig:
        through = await ask(rig.port, "GET", "/v1/x")
        assert (through.body, through.complete) == (b"all of it", True)


async def test_trailers_and_informational_answers_pass():
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    upstream = ScriptedUpstream(
        streams([b"data: x\n\n"], head=early + SSE_HEAD, trailers=b"X-Sum: 42\r\n")
    )
    async with proxied(upstream) as rig:
        through = await ask(
            rig.port,
            "POST",
            CHAT,
            headers=[("TE", "trailers"), ("Connection", "TE")],
            body=BODY,
            chunked=True,
            trailers=[("X-Mine", "7")],
        )
        assert through.trailers == [(b"x-sum", b"42")]
        assert through.informed == [103]
        seen = upstream.requests[0]
        assert seen.trailers == [(b"x-mine", b"7")]
        assert seen.get(b"te") == b"trailers"
        assert seen.get(b"transfer-encoding") == b"chunked"
        assert seen.body == BODY


async def test_a_large_body_arrives_whole():
    body = os.urandom(3 << 20)
    upstream = ScriptedUpstream(answers(plain()))
    async with proxied(upstream) as rig:
        await ask(rig.port, "POST", "/v1/audio/transcriptions", body=body)
        assert upstream.requests[0].body == body


async def test_head_and_expect_are_handled():
    upstream = ScriptedUpstream(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"))
    async with proxied(upstream) as rig:
        head = await ask(rig.port, "HEAD", "/v1/files")
        assert (head.get(b"content-length"), head.body, head.complete) == (b"900", b"", True)
        own = await ask(rig.port, "HEAD", "/nothing")
        assert (own.status, own.body, own.complete) == (404, b"", True)
        upstream.script = answers(plain())
        async with await trio.open_tcp_stream("127.0.0.1", rig.port) as stream:
            await stream.send_all(
                b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"
                b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            assert await stream.receive_some(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            await stream.send_all(b"hi")
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 200 OK")
        assert upstream.requests[-1].body == b"hi"
        assert upstream.requests[-1].get(b"expect") is None


async def test_connections_are_kept_on_both_sides_and_pipelined_requests_come_in_order():
    async def script(stream, seen):
        await stream.send_all(plain(seen.target))

    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig:
        async with client(rig.port) as connection:
            for number in range(5):
                answer = await connection.ask("GET", f"/v1/{number}")
                assert answer.body == b"/v1/%d" % number
        assert upstream.connections == 1
        async with await trio.open_tcp_stream("127.0.0.1", rig.port) as stream:
            request = b"GET /v1/%d HTTP/1.1\r\nHost: a\r\n\r\n"
            last = b"GET /v1/3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            await stream.send_all(request % 1 + request % 2 + last)
            text = b"".join([data async for data in stream])
        assert [text.index(b"\r\n\r\n/v1/%d" % n) for n in (1, 2, 3)] == sorted(
            text.index(b"\r\n\r\n/v1/%d" % n) for n in (1, 2, 3)
        )
        assert upstream.connections == 1


async def test_http_1_0_clients_get_the_body_and_a_close():
    upstream = ScriptedUpstream(streams([b"data: 1\n\n", b"data: 2\n\n"]))
    async with proxied(upstream) as rig, client(rig.port) as connection:
        stream = connection.stream
        await stream.send_all(b"GET /v1/x HTTP/1.0\r\n\r\n")
        text = b"".join([data async for data in stream])
    head, _, body = text.partition(b"\r\n\r\n")
    assert body == b"data: 1\n\ndata: 2\n\n"
    assert b"chunked" not in head


async def test_concurrent_streams_do_not_mix():
    async def script(stream, seen):
        name = json.loads(seen.body)["model"].encode()
        pieces = [b"data: %s %d\n\n" % (name, number) for number in range(20)]
        await streams(pieces)(stream, seen)

    async with proxied(ScriptedUpstream(script)) as rig:
        bodies = {}

        async def one(name):
            body = json.dumps({"model": name}).encode()
            bodies[name] = (await POST(rig.port, body=body)).body

        async with trio.open_nursery() as nursery:
            for number in range(32):
                nursery.start_soon(one, f"m{number}")
        for name, body in bodies.items():
            assert body == b"".join(b"data: %s %d\n\n" % (name.encode(), n) for n in range(20))
        assert len({started.session for started in rig.of(SessionStarted)}) == 32


# -- the tap does no harm --------------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", ["open", "publish", "receive"])
async def test_a_tap_that_raises_is_dropped_and_the_bytes_flow(fails_at, monkeypatch):
    def broken(*_):
        raise ValueError("a bug")

    if fails_at == "receive":
        monkeypatch.setattr("geoosd.bridge.core.exchange.Exchange.receive", broken)
    upstream = ScriptedUpstream(streams([DONE] * 50))
    how = {"publish": {"publish": broken}, "open": {"open_tap": broken}, "receive": {}}[fails_at]
    async with proxied(upstream, **how) as rig:
        answer = await POST(rig.port)
        assert answer.body == DONE * 50
        assert answer.complete
        assert len(rig.bugs) == 1  # told once a session, not once a chunk
        if fails_at == "receive":
            (ended,) = rig.of(SessionEnded)
            assert ended.error.startswith("geoos itself failed")


async def test_a_slow_client_holds_the_upstream_not_the_memory():
    sent = 0

    async def script(stream, seen):
        nonlocal sent
        await stream.send_all(SSE_HEAD)
        while True:
            await stream.send_all(chunk(b"x" * 60_000))
            sent += 60_000

    async with proxied(ScriptedUpstream(script)) as rig, client(rig.port) as connection:
        await connection.send("POST", CHAT, body=BODY)
        before = -1
        while sent != before:  # until the kernel's buffers are full
            before = sent
            await trio.sleep(0.1)
        assert sent < 16 << 20


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_client_that_leaves_ends_the_upstream_request_at_once():
    gone = trio.Event()

    async def script(stream, seen):
        await stream.send_all(SSE_HEAD + chunk(b"data: 1\n\n"))
        assert await stream.receive_some(1) == b""
        gone.set()

    async with proxied(ScriptedUpstream(script)) as rig:
        async with client(rig.port) as connection:
            await connection.send("POST", CHAT, body=BODY)
            await connection.next_event()
        with trio.fail_after(10):
            await gone.wait()
        await until(lambda: rig.of(SessionEnded))
        assert rig.of(SessionEnded)[0].error == "the client went away"
        await until(lambda: rig.proxy.server.connections == 0)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (b"data: [DONE]\n\n", None),
        (b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n', None),
        (b'data: {"error":{"message":"no"}}\n\ndata: [DONE]\n\n', "the client went away"),
    ],
)
async def test_a_client_that_leaves_once_it_is_told_all_was_answered(told, error):
    """As openai's does: the end of the framing is of no interest to it."""

    async def script(stream, seen):
        await stream.send_all(SSE_HEAD + chunk(DONE[:-14] + told))
        await stream.receive_some(1)

    async with proxied(ScriptedUpstream(script)) as rig:
        async with client(rig.port) as connection:
            await connection.send("POST", CHAT, body=BODY)
            answer = b""
            while not answer.endswith(told):
                event = await connection.next_event()
                answer += getattr(event, "data", b"")
        await until(lambda: rig.of(SessionEnded))
        assert rig.of(SessionEnded)[0].error == error


async def test_a_client_that_leaves_before_the_answer_ends_the_upstream_request():
    gone = trio.Event()

    async def script(stream, seen):
        assert await stream.receive_some(1) == b""
        gone.set()

    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig:
        async with client(rig.port) as connection:
            await connection.send("POST", CHAT, body=BODY)
            await until(lambda: upstream.requests)
        with trio.fail_after(10):
            await gone.wait()


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_an_upstream_that_breaks_in_mid_stream_breaks_the_client_too(framing):
    head = SSE_HEAD if framing == "chunked" else b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    piece = b"data: 1\n\n"

    async def script(stream, seen):
        await stream.send_all(head + (chunk(piece) if framing == "chunked" else piece))
        await stream.aclose()

    upstream = ScriptedUpstream(script)
    spare = ScriptedUpstream(answers(plain()), id="spare")
    async with proxied(upstream, spare) as rig:
        answer = await POST(rig.port)
        assert (answer.status, answer.body, answer.complete) == (200, piece, False)
        await until(lambda: rig.of(SessionEnded))
        assert "broke off in its answer" in rig.of(SessionEnded)[0].error
        assert (len(upstream.posts), len(spare.posts)) == (1, 0)
        assert not rig.bugs


async def test_an_upstream_that_refuses_or_resets_is_followed_by_the_next():
    refuses = ScriptedUpstream(reset, id="refuses")
    resets = ScriptedUpstream(reset, id="resets")
    good = ScriptedUpstream(streams([DONE]), id="good")
    async with proxied(refuses, resets, good) as rig:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            refuses.port = closed.getsockname()[1]  # bound, not listening
            answer = await POST(rig.port)
        assert answer.body == DONE
        assert answer.get(b"x-geoos-upstream") == b"good"
        assert (len(resets.posts), len(good.posts)) == (1, 1)
        assert [upstream for upstream, _ in rig.directory.failures] == ["refuses", "resets"]
        await until(lambda: rig.of(SessionEnded))
        assert len(rig.of(SessionStarted)) == 1


async def test_when_none_can_be_had_the_error_is_openais():
    alone = ScriptedUpstream(reset, id="alone")
    async with proxied(alone) as rig:
        answer = await POST(rig.port)
        error = json.loads(answer.body)["error"]
        assert answer.status == 502
        assert (error["code"], error["type"], error["param"]) == (
            "upstream_unavailable",
            "server_error",
            None,
        )
        assert error["message"].startswith("alone: the upstream broke off before its answer")
        assert len(alone.posts) == 1
        assert answer.get(b"x-geoos-session") == b"session-1"
        await until(lambda: rig.of(SessionEnded))
        assert rig.of(SessionEnded)[0].error == error["message"]
    async with proxied() as rig:
        answer = await POST(rig.port)
        assert (answer.status, rig.of(SessionEnded)[0].error) == (
            502,
            "cannot find a model server that is up and has this model; see: geoosctl models",
        )


@pytest.mark.parametrize("raw", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Len"])
async def test_an_upstream_that_sent_anything_is_not_followed_by_another(raw):
    async def script(stream, seen):
        await stream.send_all(raw)
        await stream.aclose()

    upstream = ScriptedUpstream(script)
    spare = ScriptedUpstream(answers(plain()), id="spare")
    async with proxied(upstream, spare) as rig:
        assert (await POST(rig.port)).status == 502
        assert (len(upstream.posts), len(spare.posts)) == (1, 0)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_silent_upstream_times_out(begun):
    async def script(stream, seen):
        if begun:
            await stream.send_all(SSE_HEAD + chunk(b"data: 1\n\n"))
        await trio.sleep_forever()

    upstream = ScriptedUpstream(script, timeout=0.5 if begun else 0.05)
    spare = ScriptedUpstream(answers(plain()), id="spare")
    async with proxied(upstream, spare) as rig:
        answer = await POST(rig.port)
        if begun:
            assert (answer.status, answer.complete) == (200, False)
        else:
            assert answer.status == 504
            assert json.loads(answer.body)["error"]["code"] == "upstream_timeout"
        assert not spare.posts
        await until(lambda: rig.of(SessionEnded))
        assert "took too long" in rig.of(SessionEnded)[0].error


async def test_a_refusal_sent_before_the_body_was_taken_reaches_the_client():
    """The upstream answers at the head and hangs up on a large body."""

    async def serve(stream):
        await stream.receive_some(1000)
        await stream.send_all(plain(b"too big", status=b"413 No", fields=b"Connection: close\r\n"))
        await stream.send_eof()
        with trio.move_on_after(2):
            while await stream.receive_some(1 << 20):
                pass
        await stream.aclose()

    upstream = ScriptedUpstream(answers(b""))
    upstream.serve = serve
    async with proxied(upstream) as rig:
        answer = await ask(rig.port, "POST", "/v1/files", body=bytes(2 << 20))
        assert (answer.status, answer.body) == (413, b"too big")


async def test_a_pooled_connection_that_died_is_replaced_before_anything_is_sent():
    async def script(stream, seen):
        await stream.send_all(plain())
        await stream.aclose()

    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig:
        for _ in range(3):
            assert (await POST(rig.port)).status == 200
            await until(lambda: upstream.open_connections == 0)
        assert len(upstream.posts) == upstream.connections == 3
        assert not rig.directory.failures


@pytest.mark.parametrize(("method", "status", "asked"), [("GET", 200, 3), ("POST", 502, 2)])
async def test_a_pooled_connection_that_dies_under_a_request(method, status, asked):
    """What may be repeated is asked again on a fresh connection; a POST never is."""
    upstream = ScriptedUpstream(answers(plain()))

    async def dies_once(stream, seen):
        upstream.script = answers(plain())
        await stream.aclose()

    async with proxied(upstream) as rig:
        assert (await ask(rig.port, "GET", "/v1/a")).status == 200
        upstream.script = dies_once
        assert (await ask(rig.port, method, "/v1/a")).status == status
        assert len(upstream.requests) == asked
        assert not rig.directory.failures


# -- whose request goes where ----------------------------------------------------------------------


async def test_the_model_chooses_and_the_prefix_is_taken_off():
    one = ScriptedUpstream(answers(plain()), id="one", models=("a",))
    two = ScriptedUpstream(answers(plain()), id="two", models=("b", "org/c"), path="/base")
    async with proxied(one, two) as rig:

        async def send(text):
            return (await POST(rig.port, body=text.encode())).get(b"x-geoos-upstream")

        assert await send('{"model":"b"}') == b"two"
        assert two.requests[-1].target == b"/base/v1/chat/completions"
        assert await send('{"model":"org/c"}') == b"two"
        assert two.requests[-1].body == b'{"model":"org/c"}'
        text = '{"messages": [{"role":"user","content":"\\u00e4 1.0"}], "model":"two/b","seed":1e2}'
        assert await send(text) == b"two"
        assert two.requests[-1].body == (
            b'{"messages": [{"role":"user","content":"\\u00e4 1.0"}], "model":"b","seed":1e2}'
        )
        assert await send('{"model":"unknown"}') == b"one"
        assert await send("not json") == b"one"
        assert one.requests[-1].body == b"not json"


async def test_only_the_engine_is_told_the_session_and_keys_are_added_where_missing():
    engine = ScriptedUpstream(answers(plain()), id="engine", models=("e",), key="of-engine")
    other = ScriptedUpstream(answers(plain()), id="other", models=("o",))
    async with proxied(engine, other) as rig:
        mine = [
            ("X-Geoos-Session", "mine"),
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("X-End", "2"),
        ]
        await POST(rig.port, body=b'{"model":"e"}', headers=mine)
        seen = engine.requests[-1]
        assert seen.get(b"x-geoos-session") == b"session-1"
        assert seen.get(b"authorization") == b"Bearer of-engine"
        assert (seen.get(b"x-hop"), seen.get(b"x-end")) == (None, b"2")
        assert seen.get(b"host") == f"127.0.0.1:{engine.port}".encode()
        await POST(rig.port, body=b'{"model":"e"}', headers=[("Authorization", "Bearer client")])
        assert engine.requests[-1].get(b"authorization") == b"Bearer client"
        await POST(rig.port, body=b'{"model":"o"}')
        assert other.requests[-1].get(b"x-geoos-session") is None
        assert other.requests[-1].get(b"authorization") is None


async def test_models_are_geooss_own_list():
    one = ScriptedUpstream(answers(plain()), id="one", models=("a", "org/c"))
    async with proxied(one) as rig:
        listed = json.loads((await ask(rig.port, "GET", "/v1/models")).body)
        assert listed["object"] == "list"
        assert [entry["id"] for entry in listed["data"]] == ["a", "org/c"]
        for path, name in [("a", "a"), ("org%2Fc", "org/c"), ("org/c", "org/c"), ("one/a", "a")]:
            entry = json.loads((await ask(rig.port, "GET", f"/v1/models/{path}")).body)
            assert entry["id"] == name
        missing = await ask(rig.port, "GET", "/v1/models/zzz")
        assert (missing.status, json.loads(missing.body)["error"]["code"]) == (
            404,
            "model_not_found",
        )
        refused = await ask(rig.port, "POST", "/v1/models", body=b"")
        assert (refused.status, refused.get(b"allow")) == (405, b"GET, HEAD")
        assert not one.requests


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
        ("GET", "/slots", 404),
        ("POST", "/completion", 200),
        ("POST", "/infill/", 200),
        ("POST", "/completion/../slots", 404),
        ("OPTIONS", "*", 404),
        ("GET", "/v1/../admin", 400),
        ("GET", "/v1/%2e%2e/admin", 400),
        ("TRACE", "/v1/x", 405),
        ("GET", "http://127.0.0.1:1235/v1/x", 200),
        ("OPTIONS", "/v1/chat/completions", 200),
    ],
)
async def test_paths_and_methods(method, target, status):
    async with proxied(ScriptedUpstream(answers(plain()))) as rig:
        answer = await ask(rig.port, method, target)
        assert answer.status == status
        assert (answer.get(b"allow") is not None) is (status == 405)  # RFC 9110 §15.5.6


# -- draining --------------------------------------------------------------------------------------


async def test_draining_finishes_what_runs_and_takes_nothing_new():
    finish = trio.Event()

    async def script(stream, seen):
        await stream.send_all(SSE_HEAD + chunk(b"data: 1\n\n"))
        await finish.wait()
        await stream.send_all(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async with (
        proxied(ScriptedUpstream(script)) as rig,
        client(rig.port) as idle,
        client(rig.port) as busy,
    ):
        await busy.send("POST", CHAT, body=BODY)
        await busy.next_event()
        rig.draining.set()
        assert await idle.stream.receive_some(1) == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", rig.port)
        finish.set()
        assert (await busy.answer()).complete
        with trio.fail_after(10):
            await rig.served.wait()
