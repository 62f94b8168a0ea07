"""``logs``: structured records of all daemons by time."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
import msgspec
from msgspec import Struct

from geoosctl import completion, journal, output, systemd
from geoosctl.asking import listen, read
from geoosctl.cli import Settings, Verb, settings
from geoosd.config import DAEMONS
from geoosd.errors import VarlinkError
from geoosd.wire import varlink as wire
from geoosd.wire.reports import LEVELS, Record

_ALL = 100_000
_AGAIN_SECONDS = 0.5
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_RELATIVE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")


class _Reply(Struct):
    record: Record | None = None


class _Moment(click.ParamType[float]):
    """A time: ``10m`` ago, ``14:30`` today, or ISO 8601; becomes seconds since the epoch."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Raises :class:`click.BadParameter`."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        if found := _RELATIVE.fullmatch(text):
            return time.time() - float(found[1]) * _UNITS[found[2]]
        try:
            if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
                text = f"{datetime.now():%Y-%m-%d}T{text.zfill(5 if text.count(':') == 1 else 8)}"
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            self.fail(f"{value!r} is none of 10m, 14:30, 2026-01-31T14:30", param, ctx)


@click.command(
    cls=Verb,
    examples=[
        "geoosctl logs -f",
        "geoosctl logs -n 20 --unit bridge --level warning",
        "geoosctl logs --since 10m --json | jq -r .event",
    ],
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, _ALL),
    metavar="N",
    help="How many records; 100, or all with --since.",
)
@click.option("--unit", type=click.Choice(DAEMONS), help="One daemon alone.")
@click.option("--level", type=click.Choice(LEVELS), help="This level and worse.")
@click.option(
    "--session", metavar="ID", shell_complete=completion.sessions, help="One session alone."
)
@click.option("--since", type=_Moment(), help="10m, 2h, 14:30, 2026-01-31T14:30.")
def logs(
    follow: bool,
    lines: int | None,
    unit: str | None,
    level: str | None,
    session: str | None,
    since: float | None,
) -> None:
    """Show the log records of all daemons.

    Under systemd they come from the journal, if you may read it; else from the daemons, which hold
    their newest 2,000 each. Text of prompts and answers is never in them.
    """
    options = settings()
    if lines is None:
        lines = _ALL if since is not None else 100
    manager = systemd.find(options.control, chosen=options.socket is not None)
    if manager is not None and journal.readable(manager):
        command = journal.arguments(
            manager,
            [unit] if unit else DAEMONS,
            lines=lines,
            level=level,
            session=session,
            since=since,
            follow=follow,
        )
        for record in journal.read(command):
            _show(record)
        return
    query = {"lines": lines, "unit": unit, "level": level, "session": session, "follow": follow}
    for record in _records(options, query):
        if since is None or record.timestamp >= since:
            _show(record)


def _records(options: Settings, query: dict[str, Any]) -> Iterator[Record]:
    """The records; a follower waits for a control that went away and goes on where it was."""
    newest = floor = -1.0
    while True:
        try:
            for reply in listen("GetLogs", query):
                record = read(reply, _Reply).record
                if record is not None and record.timestamp > floor:
                    newest = max(newest, record.timestamp)
                    yield record
            return
        except VarlinkError as error:
            patient = query["follow"] and newest >= 0 and options.timeout is None
            if error.error != wire.UNAVAILABLE or not patient:
                raise
            if floor != newest:
                output.echo(f"geoosctl: {output.visible(str(error))}; waiting for it", err=True)
        floor, query = newest, {**query, "lines": _ALL}
        threading.Event().wait(_AGAIN_SECONDS)


def _show(record: Record) -> None:
    if settings().json:
        output.print_json(msgspec.to_builtins(record))
    else:
        output.echo(_line(record))


def _line(record: Record) -> str:
    pairs = {
        "session": record.session,
        "upstream": record.upstream,
        "error": record.error,
        **record.fields,
    }
    known = " ".join(f"{key}={value}" for key, value in pairs.items() if value is not None)
    level = output.colored(record.level) + " " * (8 - len(record.level))
    words = click.style(output.visible(known), dim=True) if known else ""
    event = output.visible(record.event)
    return f"{output.clock(record.timestamp)} {level} {record.daemon:<11} {event}  {words}".rstrip()
