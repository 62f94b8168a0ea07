"""Noticing that a daemon ended: a connection that is kept, and a question once a second.

When a process dies the kernel closes its end at once, while its listening socket lives on with
whoever handed it over (systemd, ``geoosd up``): connecting alone would not tell.
"""

from __future__ import annotations

import os

import msgspec
import trio
from msgspec import Struct

from geoosd.control.adapters.ask import Daemon
from geoosd.control.adapters.units import restarted_as_asked
from geoosd.errors import FrameTooLarge, MessageError
from geoosd.runtime.logs import Log
from geoosd.wire import events
from geoosd.wire import varlink as wire

INTERVAL = 1.0
"""Seconds between two questions."""

RETRY = 0.25
"""Seconds until the next try to connect."""

_QUESTION = wire.encode(wire.Call("io.geoos.Daemon.GetStatus"))


class _Seen(Struct):
    pid: int
    since: float


class _Answer(Struct):
    status: _Seen


async def watch(daemon: Daemon, log: Log) -> None:
    """Keep *daemon*'s lifeline up to date; runs until cancelled. Loss and return are logged."""
    log = log.bind(unit=daemon.name)
    while True:
        try:
            stream = await trio.open_unix_socket(os.fspath(daemon.path))
        except OSError:
            _lost(daemon, log)
        else:
            async with stream:
                if await _hangs_up(daemon, stream, log):
                    _lost(daemon, log)
        await trio.sleep(RETRY)


def _lost(daemon: Daemon, log: Log) -> None:
    if daemon.lifeline.lost():
        log.warning("daemon went away", pid=daemon.lifeline.pid, **events.DAEMON_LOST.fields)


async def _saw(daemon: Daemon, seen: _Seen, log: Log) -> None:
    """It answered. Where it is another process than before, was that wanted? Its keeper knows."""
    life = daemon.lifeline
    wanted = False
    if another := life.is_another(seen.pid, seen.since):
        wanted = await restarted_as_asked(daemon.name, daemon.keeper)
    life.saw(seen.pid, seen.since, trio.current_time(), wanted=wanted)
    if another:
        say = log.info if wanted else log.warning
        say("daemon was restarted", pid=seen.pid, asked=wanted, **events.DAEMON_RESTARTED.fields)


async def _hangs_up(daemon: Daemon, stream: trio.SocketStream, log: Log) -> bool:
    """Ask again and again; True when the daemon hung up, False when it answered nonsense."""
    splitter = wire.Splitter()
    try:
        while True:
            await stream.send_all(_QUESTION)
            # A hung daemon still lives: wait for its answer as long as the connection lasts.
            messages: list[bytes] = []
            while not messages:
                chunk = await stream.receive_some()
                if not chunk:
                    return True
                messages = splitter.receive(chunk)
            seen = msgspec.convert(wire.decode_reply(messages[-1]).parameters, _Answer).status
            await _saw(daemon, seen, log)
            with trio.move_on_after(INTERVAL):
                return not await stream.receive_some(1)
    except trio.BrokenResourceError:
        return True
    except (FrameTooLarge, MessageError, msgspec.ValidationError) as error:
        log.debug("cannot watch", error=str(error))
        return False
