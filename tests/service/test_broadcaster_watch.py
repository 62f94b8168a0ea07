"""``geoosctl watch`` as a process of its own, over a restart and cuts, without loss or repeat."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
import trio
from test_broadcaster_tokens import KEY, VIEWER
from test_broadcaster_viewers import TOKEN, standing

from geoosd.broadcaster.core import frames
from geoosd.wire.messages import TokenVisualizationUpdate

PLACED = TokenVisualizationUpdate(
    current_token=" geometry", sequence_position=1, model="m1", hilbert_position=(0.5, 0.5)
)


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


STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def let_in(stand):
    """Whether a viewer from outside is past its Snapshot: what comes now is a message to it."""
    viewers = stand.service.hub.viewers
    return any(viewer.lane and viewer.address != "canary" for viewer in viewers)


async def on_a_terminal(stand, until, **environ):
    """What ``watch`` writes to a terminal of 80 x 24 until *until* is in it, and after Ctrl-C."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    surroundings = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "geoosctl", "watch", "--url", f"http://127.0.0.1:{stand.port}"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**surroundings, "TERM": "xterm-256color", **environ},
    )
    os.close(theirs)
    said = ""
    try:
        with trio.fail_after(20):
            await stand.until(lambda: let_in(stand))
            await stand.feed.say(PLACED)
            while until not in said:
                await trio.lowlevel.wait_readable(ours)
                said += os.read(ours, 65536).decode(errors="replace")
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # EIO: nobody has the other side any more
                while True:
                    await trio.lowlevel.wait_readable(ours)
                    said += os.read(ours, 65536).decode(errors="replace")
            assert await process.wait() == 130
    finally:
        if process.poll() is None:
            process.kill()
        os.close(ours)
    return said


@pytest.mark.slow
async def test_a_terminal_shows_the_map(tmp_path):
    async with standing(tmp_path) as stand:
        said = await on_a_terminal(stand, "1 token; Ctrl-C ends", COLORTERM="truecolor")
        assert said.startswith("\x1b[?1049h")
        assert said.rstrip().endswith("\x1b[?1049l")
        drawn = next(part for part in said.split("\x1b[H") if "1 token" in part)
        drawn = drawn.partition("\x1b[J")[0]  # the terminal itself echoes ^C after it
        lines = [STYLE.sub("", line) for line in drawn.split("\r\r\n")]  # ONLCR
        assert len(lines) == 24
        assert max(map(len, lines)) <= 80
        assert "38;2;" in drawn
        assert sum(line.count("▀") + line.count("▄") for line in lines) == 1
        assert lines[0].endswith("  ── m1 ──")
        assert lines[1].endswith("   geometry")


@pytest.mark.slow
@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_a_terminal_without_colours_shows_the_text(tmp_path, environ):
    async with standing(tmp_path) as stand:
        said = await on_a_terminal(stand, " geometry", **environ)
        assert "1049" not in said
        assert "▀" not in said
