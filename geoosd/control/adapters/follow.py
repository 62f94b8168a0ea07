"""Log records of several daemons as one stream that outlives their restarts."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
import trio
from msgspec import Struct

from geoosd.control.adapters.ask import DEADLINE, Daemon
from geoosd.control.core.aggregate import Cursor
from geoosd.errors import VarlinkError
from geoosd.runtime import varlink
from geoosd.wire.reports import Record

_GET_LOGS = "io.geoos.Daemon.GetLogs"
_RETRY = 0.25
_CATCH_UP = 2000  # as much as a daemon's ring holds: what was logged while we were not subscribed


class _Reply(Struct):
    record: Record | None = None


async def newest_records(daemon: Daemon, query: Mapping[str, Any]) -> list[Record]:
    """The newest records that match *query*, oldest first; what a silent daemon has is missing."""
    records: list[Record] = []
    with trio.move_on_after(DEADLINE):
        try:
            async with varlink.stream(daemon.path, _GET_LOGS, query) as replies:
                async for reply in replies:
                    if (record := msgspec.convert(reply, _Reply).record) is not None:
                        records.append(record)
        except (VarlinkError, msgspec.ValidationError):
            # ``GetStatus`` says that it does not answer; the others' records still count.
            return records
    return records


async def follow_records(
    daemons: Iterable[Daemon],
    backlogs: Mapping[str, list[Record]],
    query: Mapping[str, Any],
    began: float,
    reply: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Reply with every new record of *daemons* that matches *query*, for ever.

    *backlogs* are the records that were already taken, by daemon; where there are none, records
    from *began* (seconds since the epoch) on are new.
    """
    send, receive = trio.open_memory_channel[Record](0)
    async with trio.open_nursery() as nursery:
        for daemon in daemons:
            backlog = backlogs.get(daemon.name, [])
            cursor = Cursor(backlog[0].timestamp if backlog else began)
            for record in backlog:
                cursor.take(record)
            nursery.start_soon(_follow_one, daemon, query, cursor, send)
        async for record in receive:
            await reply({"record": msgspec.to_builtins(record)})


async def _follow_one(
    daemon: Daemon,
    query: Mapping[str, Any],
    cursor: Cursor,
    records: trio.MemorySendChannel[Record],
) -> None:
    """Subscribe, and subscribe again when the daemon went away."""
    parameters = {**query, "lines": _CATCH_UP, "follow": True}
    while True:
        with contextlib.suppress(VarlinkError, msgspec.ValidationError):
            async with varlink.stream(daemon.path, _GET_LOGS, parameters) as replies:
                async for reply in replies:
                    record = msgspec.convert(reply, _Reply).record
                    if record is not None and cursor.take(record):
                        await records.send(record)
        await trio.sleep(_RETRY)
