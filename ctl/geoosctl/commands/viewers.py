"""``viewers``: who looks at the map, and sending one of them away."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
import msgspec
from msgspec import Struct

from geoosctl import cells, completion, output
from geoosctl.asking import ask, ask_for
from geoosctl.cli import VerbGroup, settings


class Viewer(Struct):
    """Somebody who looks at the map.

    ``since`` is seconds since the epoch, ``tick`` ms, ``rate`` messages a second.
    """

    id: str
    address: str
    since: float
    lag: int
    dropped: int
    sent: int
    channels: list[str]
    tick: int
    rate: float = 0.0


class _Viewers(Struct):
    viewers: list[Viewer]


@click.group(
    cls=VerbGroup,
    invoke_without_command=True,
    subcommand_metavar="[disconnect ID]",
    examples=["geoosctl viewers", "geoosctl viewers --json | jq '.viewers | length'"],
)
@click.pass_context
def viewers(context: click.Context) -> None:
    """List who looks at the map, and how far behind each of them is."""
    if context.invoked_subcommand is not None:
        return
    found = ask_for(_Viewers, "ListViewers").viewers
    if settings().json:
        output.print_json({"viewers": msgspec.to_builtins(found)})
    elif not found:
        output.echo("nobody looks")
    else:
        for line in _lines(found, time.time()):
            output.echo(line)


@viewers.command("disconnect", examples=["geoosctl viewers disconnect v12"])
@click.argument("viewer", metavar="ID", shell_complete=completion.viewers)
def disconnect(viewer: str) -> None:
    """Close the connection of viewer ID.

    It is told 1008, and why. One that comes back is let in again: a token that has expired, or
    another key, keeps it out.
    """
    ask("DisconnectViewer", {"id": viewer})
    if settings().json:
        output.print_json({"disconnected": viewer})
    else:
        output.echo(f"{output.visible(viewer)} is disconnected")


def _lines(found: Sequence[Viewer], now: float) -> list[str]:
    """A row for each viewer; without TICK and SENT where they do not fit."""
    head = ["VIEWER", "ADDRESS", "SINCE", "RATE", "LAG", "DROPPED", "CHANNELS", "TICK", "SENT"]
    rows = [_viewer_row(each, now) for each in found]
    lines = output.table(head, rows, align="<<>>>><>>")
    if any(cells.width(line) > output.terminal_width() for line in lines):
        shorter, cut = [row[:-2] for row in rows], ["ADDRESS", "CHANNELS"]
        lines = output.table_within(head[:-2], shorter, cut, align="<<>>>><")
    return lines


def _viewer_row(viewer: Viewer, now: float) -> list[str]:
    return [
        output.visible(viewer.id),
        output.visible(viewer.address),
        output.ago(now - viewer.since),
        f"{output.number(viewer.rate)}/s",
        str(viewer.lag),
        str(viewer.dropped),
        output.visible(",".join(viewer.channels)),
        f"{viewer.tick} ms",
        str(viewer.sent),
    ]
