"""Hundreds of requests, most of which fail in one way or another, leave nothing behind."""

import itertools
import os
from pathlib import Path

import pytest
import trio
import trio.testing
from scripted_upstream import SSE_HEAD, ScriptedUpstream, ask, chunk, client, proxied, until

from geoosd.wire.messages import SessionEnded, SessionStarted

CHAT = "/v1/chat/completions"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'


async def whole(stream, seen):
    await stream.send_all(SSE_HEAD + chunk(EVENT) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def breaks_off(stream, seen):
    await stream.send_all(SSE_HEAD + chunk(EVENT))
    await stream.aclose()


async def hangs_up(stream, seen):
    await stream.aclose()


async def garbage(stream, seen):
    await stream.send_all(b"\x00\xff garbage\r\n\r\n")
    await stream.aclose()


async def fails(stream, seen):
    await stream.send_all(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")


async def goes_on(stream, seen):
    await stream.send_all(SSE_HEAD + chunk(EVENT))
    await stream.receive_some(1)  # until the proxy hangs up


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def resident():
    """Bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("rounds", [500, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_nothing_is_left_of_requests_that_fail(rounds):
    scripts = itertools.cycle([whole, breaks_off, hangs_up, garbage, fails, goes_on])

    async def script(stream, seen):
        await next(scripts)(stream, seen)

    async def leave(port):
        async with client(port) as connection:
            await connection.send("POST", CHAT, body=b"{}")
            await connection.next_event()

    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig:
        counts = []
        for number in range(rounds):
            if number % 6 == 5:
                await leave(rig.port)
            else:
                await ask(rig.port, "POST", CHAT, body=b"{}")
            if number in (299, rounds - 1):
                await until(lambda: rig.proxy.server.connections == 0)
                await until(lambda: upstream.open_connections <= 1)
                await trio.testing.wait_all_tasks_blocked(0.01)
                tasks = trio.lowlevel.current_statistics().tasks_living
                counts.append((descriptors(), tasks, resident()))
        assert len(upstream.posts) == rounds
        await until(lambda: len(rig.of(SessionEnded)) == rounds)
        assert len(rig.of(SessionStarted)) == rounds
        assert rig.proxy.server.body_bytes == 0
        assert not rig.bugs
        (descriptors_then, tasks_then, held_then), (descriptors_now, tasks_now, held_now) = counts
        assert descriptors_now <= descriptors_then + 4
        assert tasks_now <= tasks_then + 2
        # The test itself keeps what was published and asked: some 3 KiB a request.
        assert held_now - held_then < (8 << 20) + rounds * 4096
