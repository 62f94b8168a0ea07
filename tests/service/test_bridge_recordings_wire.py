"""Every recording from a real socket through the real proxy, in chunks of 1 byte, of 7, and as
recorded: the client gets the recording, the map what stands beside it in tests/data/sse."""

import pytest
import trio
from recordings import NAMES, check, recording
from scripted_upstream import ScriptedUpstream, ask, chunk, proxied

from geoosd.wire.messages import SessionEnded

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


@pytest.mark.parametrize("cut", [1, 7, "recorded"])
@pytest.mark.parametrize("name", NAMES)
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
