"""Request bodies through the proxy: as they come, with backpressure; none is sent twice in part."""

import functools
import json
import os
import socket
import struct
from pathlib import Path

import h11
import pytest
import trio
from scripted_upstream import ScriptedUpstream, answers, ask, client, proxied, until

from geoosd.bridge.adapters.http_connection import DEFAULT_LIMITS
from geoosd.wire.messages import SessionEnded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHAT = "/v1/chat/completions"
LONG = 1 << 20


async def begin(connection, size, *, target="/v1/files", first=b"", chunked=False):
    """Send a request's head and the begin of its body of *size* bytes."""
    length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
    head = h11.Request(method="POST", target=target, headers=[("Host", "localhost"), length])
    out = connection.state.send(head)
    await connection.stream.send_all(out + connection.state.send(h11.Data(data=first)))


async def go_on(connection, data=b"", *, end=False, trailers=()):
    """Send more of the body."""
    out = connection.state.send(h11.Data(data=data)) if data else b""
    if end:
        out += connection.state.send(h11.EndOfMessage(headers=list(trailers)))
    await connection.stream.send_all(out)


class Reader(ScriptedUpstream):
    """An upstream that only counts what it gets of a body; *script* gets the stream at the head."""

    def __init__(self, script, **how):
        super().__init__(script, **how)
        self.got = 0

    async def serve(self, stream):
        self.connections += 1
        self.open_connections += 1
        try:
            self.got += len(await stream.receive_some(1 << 16))
            await self.script(stream, self)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open_connections -= 1
            await trio.aclose_forcefully(stream)


def reset(stream):
    """Hang up with a reset."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def read_on(stream, upstream):
    while data := await stream.receive_some(1 << 16):
        upstream.got += len(data)


# -- as they come ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_body_is_sent_on_before_it_has_ended(chunked):
    first, rest = os.urandom(LONG), os.urandom(LONG)
    reader = Reader(read_on)
    async with proxied(reader) as rig, client(rig.port) as connection:
        await begin(connection, 2 * LONG, first=first, chunked=chunked)
        await until(lambda: reader.got > LONG)
    whole = ScriptedUpstream(answers(OK))
    async with proxied(whole) as rig, client(rig.port) as connection:
        await begin(connection, 2 * LONG, first=first, chunked=chunked)
        await go_on(connection, rest, end=True, trailers=[("X-Sum", "1")] if chunked else ())
        assert (await connection.answer()).body == b"ok"
        assert whole.requests[0].body == first + rest
        assert whole.requests[0].trailers == ([(b"x-sum", b"1")] if chunked else [])
        assert (await connection.ask("GET", "/v1/x")).body == b"ok"
        assert rig.proxy.server.body_bytes == 0


async def test_the_model_is_found_wherever_it_stands_and_only_it_is_changed():
    picture = "A" * LONG
    one = ScriptedUpstream(answers(OK), id="one", models=("a",))
    two = ScriptedUpstream(answers(OK), id="two", models=("b",))
    async with proxied(one, two) as rig:
        for fields in ({"messages": picture, "model": "two/b"}, {"model": "two/b", "m": picture}):
            body = json.dumps(fields).encode()
            for chunked in (False, True):
                answer = await ask(rig.port, "POST", CHAT, body=body, chunked=chunked)
                assert answer.get(b"x-geoos-upstream") == b"two"
                assert two.requests[-1].body == body.replace(b"two/b", b"b")
        assert not one.requests


@pytest.mark.parametrize("first", ["model", "file"])
async def test_a_form_goes_where_its_model_is(first):
    """Audio and pictures come as forms, in which the model may stand behind a long file."""
    one = ScriptedUpstream(answers(OK), id="one", models=("a",))
    two = ScriptedUpstream(answers(OK), id="two", models=("b",))
    parts = {
        "model": b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ntwo/b\r\n',
        "file": b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + bytes(LONG)
        + b"\r\n",
    }
    body = (
        b"".join(sorted(parts.values(), key=lambda part: part is not parts[first])) + b"--x--\r\n"
    )
    form = [("Content-Type", "multipart/form-data; boundary=x")]
    async with proxied(one, two) as rig:
        for chunked in (False, True):
            path = "/v1/audio/transcriptions"
            answer = await ask(rig.port, "POST", path, headers=form, body=body, chunked=chunked)
            assert answer.get(b"x-geoos-upstream") == b"two"
            assert two.requests[-1].body == body.replace(b"two/b", b"b")
        assert not one.requests
        # Nobody asks for a model there, and the file is not looked through for one.
        answer = await ask(rig.port, "POST", "/v1/files", headers=form, body=body)
        assert answer.get(b"x-geoos-upstream") == b"one"
        assert one.requests[-1].body == body


async def test_backpressure_reaches_the_client():
    async def deaf(stream, upstream):
        await trio.sleep_forever()

    reader = Reader(deaf)
    async with proxied(reader) as rig, client(rig.port) as connection:
        sent = 0
        await begin(connection, 60 << 20, first=b"x")
        with trio.move_on_after(1):
            while True:
                await go_on(connection, bytes(100_000))
                sent += 100_000
        assert sent < 16 << 20  # what the kernel's buffers take
        assert rig.proxy.server.body_bytes < 1 << 20


async def test_a_slow_upload_is_no_silent_upstream():
    async def answer_at_the_end(stream, upstream):
        while upstream.got < 2 * LONG:
            upstream.got += len(await stream.receive_some(1 << 16))
        await stream.send_all(OK)

    reader = Reader(answer_at_the_end, timeout=0.3)
    async with proxied(reader) as rig, client(rig.port) as connection:
        await begin(connection, 2 * LONG, first=bytes(LONG))
        for _ in range(8):
            await trio.sleep(0.1)
            await go_on(connection, bytes(LONG // 8))
        await go_on(connection, end=True)
        assert (await connection.answer()).body == b"ok"


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("blocked", [False, True])
async def test_a_client_that_leaves_in_mid_upload_ends_it_at_once(blocked):
    """Also where the upstream takes nothing, so that nothing more is read of the client: then a
    reset is all that can reach us, since TCP has a client's end wait behind its bytes."""
    held = trio.Event()

    async def script(stream, upstream):
        if blocked:
            await held.wait()
        await read_on(stream, upstream)

    async def upload(connection):
        await begin(connection, 60 << 20, target=CHAT, first=bytes(LONG))
        for _ in range(500):
            await go_on(connection, bytes(100_000))

    reader = Reader(script)
    async with proxied(reader) as rig:
        async with client(rig.port) as connection:
            async with trio.open_nursery() as uploading:
                uploading.start_soon(upload, connection)
                await until(lambda: reader.got)  # before, nobody knows of it
                await trio.sleep(0.3)
                uploading.cancel_scope.cancel()
            if blocked:
                reset(connection.stream)
        await until(lambda: rig.proxy.server.connections == 0)
        held.set()
        await until(lambda: reader.open_connections == 0)
        assert rig.of(SessionEnded)[0].error.startswith(("the client went away", "cannot read"))
        assert rig.proxy.server.body_bytes == 0
        assert not rig.bugs


async def test_a_refusal_in_mid_upload_reaches_a_client_that_sends_first():
    async def refuse(stream, upstream):
        raw = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        await stream.send_all(raw)
        await stream.send_eof()
        with trio.move_on_after(2):
            await read_on(stream, upstream)

    reader = Reader(refuse)
    async with proxied(reader) as rig:
        answer = await ask(rig.port, "POST", "/v1/files", body=bytes(4 * LONG))
        assert (answer.status, answer.body) == (413, b"no")


async def test_a_body_in_part_is_never_sent_to_another():
    async def read_a_part(stream, upstream):
        while upstream.got < LONG // 2:
            upstream.got += len(await stream.receive_some(1 << 16))
        reset(stream)

    resets = Reader(read_a_part, id="resets")
    spare = ScriptedUpstream(answers(OK), id="spare")
    async with proxied(resets, spare) as rig:
        answer = await ask(rig.port, "POST", CHAT, body=bytes(4 * LONG))
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
            502,
            "upstream_unavailable",
        )
        assert (resets.connections, len(spare.posts)) == (1, 0)
        # One that refuses the connection has got nothing of it.
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            resets.port = closed.getsockname()[1]
            answer = await ask(rig.port, "POST", CHAT, body=bytes(4 * LONG))
        assert (answer.status, len(spare.posts)) == (200, 1)
        assert spare.posts[0].body == bytes(4 * LONG)


async def test_an_upload_never_goes_over_a_connection_that_may_be_stale():
    upstream = ScriptedUpstream(answers(OK))
    async with proxied(upstream) as rig:
        await ask(rig.port, "GET", "/v1/x")
        await ask(rig.port, "POST", "/v1/files", body=bytes(LONG))
        assert upstream.connections == 2


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("too long", 413, "cannot take the request: its body is larger than 2000000 bytes"),
        ("stalls", 408, "cannot wait longer for the request's body"),
        ("garbage", 400, "cannot read the request: illegal chunk header"),
    ],
)
async def test_a_body_that_fails_in_the_middle_fails_upstream_too(how, status, error):
    reader = Reader(read_on)
    limits = DEFAULT_LIMITS._replace(body_bytes=2_000_000, body_stall_seconds=0.2)
    async with proxied(reader, limits=limits) as rig, client(rig.port) as connection:
        await begin(connection, 0, target=CHAT, first=bytes(LONG), chunked=True)
        await until(lambda: reader.got > LONG // 2)
        if how == "too long":
            await go_on(connection, bytes(LONG))
        elif how == "garbage":
            await connection.stream.send_all(b"zzzz\r\n")
        answer = await connection.answer()
        assert answer.status == status
        assert json.loads(answer.body)["error"]["message"] == error
        await until(lambda: reader.open_connections == 0)
        assert rig.of(SessionEnded)[0].error == error
        assert rig.proxy.server.body_bytes == 0


async def test_a_body_that_nobody_wants_is_read_where_it_is_short():
    async with proxied(ScriptedUpstream(answers(OK))) as rig:
        async with client(rig.port) as connection:
            assert (await connection.ask("POST", "/nothing", body=bytes(1000))).status == 404
            assert (await connection.ask("GET", "/v1/x")).body == b"ok"
        async with client(rig.port) as connection:
            assert (await connection.ask("POST", "/nothing", body=bytes(LONG))).status == 404
            assert await connection.stream.receive_some(1) == b""


# -- memory ----------------------------------------------------------------------------------------


def resident():
    """Bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
async def test_64_uploads_of_16_mib_take_no_memory_to_speak_of():
    """1 GiB in all, through this very process, upstream and clients included."""
    size, many = 16 << 20, 64
    piece = b'{"model":"m","x":"' + bytes(1 << 16)

    async def take(stream, upstream):
        got = 0
        while got < size - (1 << 16):  # what came with the head is not counted here
            got += len(await stream.receive_some(1 << 16))
        await stream.send_all(OK)
        await read_on(stream, upstream)

    reader = Reader(take)
    highest = 0

    async def upload(port):
        nonlocal highest
        async with client(port) as connection:
            await begin(connection, size, first=piece)
            left = size - len(piece)
            while left:
                await go_on(connection, bytes(min(left, 1 << 16)))
                left -= min(left, 1 << 16)
                highest = max(highest, resident())
            await go_on(connection, end=True)
            assert (await connection.answer()).body == b"ok"

    async with proxied(reader) as rig:
        await upload(rig.port)
        before = resident()
        async with trio.open_nursery() as nursery:
            for _ in range(many):
                nursery.start_soon(functools.partial(upload, rig.port))
        assert highest - before < 96 << 20
        assert not rig.bugs
