"""Whatever an upstream does, a client gets what it would get from it directly."""

import socket
import struct

import pytest
import trio
from scripted_upstream import SSE_HEAD, ScriptedUpstream, ask, chunk, proxied, until

from geoosd.bridge.core.sse import MAX_LINE
from geoosd.wire.messages import SessionEnded

CHAT = "/v1/chat/completions"
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
LONG = b"data: " + b"x" * (MAX_LINE + 1)


def close(stream):
    stream.socket.shutdown(socket.SHUT_WR)


def reset(stream):
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def says(*pieces, then=None, pause=0.0):
    """Writes *pieces*, then leaves in the way of *then*, which ends the connection."""

    async def script(stream, seen):
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(pause)
        if then is not None:
            then(stream)
            raise trio.ClosedResourceError

    return script


BROKE = "scripted: the upstream broke off in its answer"
WRONG = "scripted: the upstream broke the protocol in its answer"
HEAD_OF_ERROR = b"Content-Type: application/json\r\nContent-Length: 28\r\n"
ERROR = b'{"error":{"message":"no x"}}'

FAULTS = {
    "500": (
        says(b"HTTP/1.1 500 Oh No\r\n" + HEAD_OF_ERROR + b"\r\n" + ERROR),
        "the upstream answered 500",
    ),
    "429 with retry-after": (
        says(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\n" + HEAD_OF_ERROR + b"\r\n" + ERROR),
        "the upstream answered 429",
    ),
    "garbage in the stream": (
        says(SSE_HEAD, chunk(b"\xff\xfe{[\n\n\0" * 50), chunk(HELLO), chunk(DONE), b"0\r\n\r\n"),
        None,
    ),
    "a line without an end": (
        says(SSE_HEAD, chunk(HELLO), chunk(LONG), chunk(b"x\n\n" + HELLO + DONE), b"0\r\n\r\n"),
        "the answer could not be read to its end",
    ),
    "a head that drips": (
        says(*(SSE_HEAD[at : at + 7] for at in range(0, len(SSE_HEAD), 7)), chunk(HELLO + DONE),
             b"0\r\n\r\n", pause=0.005),
        None,
    ),
    "closed in mid-stream": (says(SSE_HEAD, chunk(HELLO), then=close), BROKE),
    "reset in mid-stream": (
        says(SSE_HEAD, chunk(HELLO), then=reset, pause=0.05),
        BROKE,
    ),
    "no end of the answer": (says(SSE_HEAD, chunk(HELLO), b"0\r\n\r\n"), "the answer broke off"),
    "broken chunks": (says(SSE_HEAD, chunk(HELLO), b"zz\r\n", then=close), WRONG),
    "a good chunk and a broken one": (
        says(SSE_HEAD + chunk(HELLO) + b"zz\r\n", then=close),
        WRONG,
    ),
    "a chunk beyond its size": (
        says(SSE_HEAD, chunk(HELLO), chunk(HELLO) + b"5\r\nhello!\r\n", then=close),
        WRONG,
    ),
}  # fmt: skip


def seen_by(answer):
    fields = [(name, value) for name, value in answer.headers if not name.startswith(b"x-geoos-")]
    return answer.status, answer.reason, fields, answer.body, answer.complete


@pytest.mark.parametrize("name", FAULTS)
async def test_a_client_gets_what_it_would_get_directly(name):
    script, error = FAULTS[name]
    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig:
        direct = await ask(upstream.port, "POST", CHAT, body=b'{"model":"m"}')
        through = await ask(rig.port, "POST", CHAT, body=b'{"model":"m"}')
        assert seen_by(through) == seen_by(direct)
        assert direct.status
        assert len(upstream.posts) == 2
        await until(lambda: rig.of(SessionEnded))
        (ended,) = rig.of(SessionEnded)
        assert (ended.error or "").startswith(error or "")
        assert (ended.error is None) is (error is None)
        await until(lambda: rig.proxy.server.body_bytes == 0)
        assert not rig.bugs
