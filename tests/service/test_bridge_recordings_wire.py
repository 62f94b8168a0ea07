"""Every recording from a real socket through the real proxy, in chunks of 1 byte, of 7, and as
recorded: the client gets the recording, the map what stands beside it in tests/data/sse."""

import h11
import pytest
import trio
from recordings import NAMES, check, recording
from scripted_upstream import ScriptedUpstream, ask, chunk, listening, proxied

from geoosd.bridge.adapters.http_client import ConnectionPool, Origin
from geoosd.bridge.core.exchange import Exchange, dialect_of
from geoosd.wire.messages import SessionEnded


def is_native(name):
    return not recording(name).path.startswith(("/v1/", "/api/"))


WRITE = 4096
"""Bytes for the upstream's socket at a time: a chunk more or less does not need a system call."""


def answering(recorded, cut):
    """A script that sends the recording in chunks of *cut* bytes."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {recorded.content_type}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode()
    coded = b"".join(map(chunk, recorded.pieces(cut))) + b"0\r\n\r\n"

    async def script(stream, seen):
        await stream.send_all(head)
        for start in range(0, len(coded), WRITE):
            await stream.send_all(coded[start : start + WRITE])

    return script


CUTS = pytest.mark.parametrize("cut", [1, 7, "recorded"])


@CUTS
@pytest.mark.parametrize("name", [name for name in NAMES if not is_native(name)])
async def test_a_recording_comes_through_whole_and_is_understood(name, cut):
    recorded = recording(name)
    upstream = ScriptedUpstream(answering(recorded, cut))
    async with proxied(upstream) as rig:
        answer = await ask(rig.port, "POST", recorded.path, body=b"{}")
        assert (answer.status, answer.complete) == (200, True)
        assert answer.body == recorded.body
        with trio.fail_after(5):
            while not rig.of(SessionEnded):  # noqa: ASYNC110 - the tap comes after the client
                await trio.sleep(0.001)
        assert len(upstream.posts) == 1
    check(recorded, rig.published)
    assert not rig.bugs


@CUTS
@pytest.mark.parametrize("name", [name for name in NAMES if is_native(name)])
async def test_a_recording_from_a_path_that_is_not_proxied(name, cut):
    """llama.cpp's own /completion lies outside /v1 and /api: the bridge's client alone reads it."""
    recorded = recording(name)
    upstream = ScriptedUpstream(answering(recorded, cut))
    exchange = Exchange("s", model=None, upstream="u", dialect=dialect_of(recorded.path))
    payloads, body, ended = [], b"", False
    async with listening(upstream):
        connection = await ConnectionPool().connect(Origin.of(upstream.url))
        head = h11.Request(
            method="POST", target=recorded.path, headers=[("host", "u"), ("content-length", "2")]
        )
        response = await connection.ask(head, b"{}")
        kind = dict(response.headers)[b"content-type"].decode()
        payloads += exchange.answered(response.status_code, kind, 0.0)
        while not ended:
            data, ended = await connection.receive()
            body += data
            payloads += exchange.receive(data, 1.0)
        await connection.aclose()
    assert body == recorded.body
    check(recorded, payloads + exchange.finish(2.0))
