"""``geoosctl watch`` as a process of its own, over a restart and cuts, without loss or repeat."""

import json
import os
import signal
import subprocess
import sys

import pytest
import trio
from test_broadcaster_tokens import KEY, VIEWER
from test_broadcaster_viewers import TOKEN, standing

from geoosd.broadcaster.core import frames


class Watch:
    """The process, and the lines that it has printed."""

    def __init__(self, process):
        self.process = process
        self._buffer = b""

    async def next(self):
        with trio.fail_after(20):
            while b"\n" not in self._buffer:
                self._buffer += await self.process.stdout.receive_some()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    async def numbers(self, last):
        seen = []
        while not seen or seen[-1] != last:
            if (number := (await self.next()).get("seq")) is not None:
                seen.append(number)
        return seen


async def starting(stand, **environ):
    command = [sys.executable, "-m", "geoosctl", "watch", "--json", "--url"]
    return await trio.lowlevel.open_process(
        [*command, f"http://127.0.0.1:{stand.port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environ},
    )


async def ended(process, signal_number=None):
    if signal_number is not None:
        process.send_signal(signal_number)
    with trio.fail_after(20):
        code = await process.wait()
    said = await process.stderr.receive_some()
    await process.stdout.aclose()
    await process.stderr.aclose()
    return code, said.decode()


@pytest.mark.slow
async def test_it_resumes_over_every_loss(tmp_path):
    async with standing(tmp_path) as stand:
        watch = Watch(await starting(stand))
        assert (await watch.next())["message_type"] == "Hello"
        await stand.feed.say(TOKEN, 20)
        assert await watch.numbers(20) == list(range(1, 21))
        [stream] = stand.service.fanout.streams
        stand.service.fanout.close(stream, frames.RESTART, "restarting; retry in 50 ms")
        await stand.feed.say(TOKEN, 20)
        assert await watch.numbers(40) == list(range(21, 41))
        await stand.until(lambda: len(stand.service.fanout) == 1)
        [stream] = stand.service.fanout.streams
        stream.abort()
        await stand.feed.say(TOKEN, 20)
        assert await watch.numbers(60) == list(range(41, 61))
        code, said = await ended(watch.process, signal.SIGINT)
        assert code == 130
        assert "restarting; retry in 50 ms; connecting again in 0.1 s" in said


@pytest.mark.slow
async def test_it_needs_a_token_where_one_is_asked_for(tmp_path):
    (tmp_path / "key").write_bytes(KEY)
    async with standing(tmp_path, f"broadcaster.token_key={tmp_path}/key") as stand:
        code, said = await ended(await starting(stand))
        assert code == 70
        assert "geoosctl token create" in said
        watch = Watch(await starting(stand, GEOOS_TOKEN=VIEWER))
        assert (await watch.next())["message_type"] == "Hello"
        assert (await ended(watch.process, signal.SIGINT))[0] == 130
