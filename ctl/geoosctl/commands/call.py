"""``call``: any Varlink method of any daemon."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from geoosctl import client, output
from geoosctl.cli import Settings, Verb, settings
from geoosd.config import DAEMONS

_OWN_SOCKET = {f"io.geoos.{name.capitalize()}": name for name in DAEMONS}


@click.command(
    cls=Verb,
    examples=[
        "geoosctl call GetStatus",
        "geoosctl call io.geoos.Daemon.GetHealth --unit bridge",
        "geoosctl call GetLogs '{\"lines\": 5}' --more",
        "geoosctl call org.varlink.service.GetInfo",
    ],
)
@click.argument("method")
@click.argument("parameters", metavar="[JSON]", default="{}")
@click.option("--unit", type=click.Choice(DAEMONS), help="Whose socket; else by the interface.")
@click.option("--more", is_flag=True, help="Take several replies, one a line.")
def call(method: str, parameters: str, unit: str | None, more: bool) -> None:
    """Call a Varlink METHOD and print its reply.

    The parameters are a JSON object, and so is what is printed. A METHOD without an interface
    is one of io.geoos.Control.
    """
    given = _parameters(parameters)
    qualified = method if "." in method else f"io.geoos.Control.{method}"
    options = settings()
    path = _socket(options, qualified, unit)
    if more:
        for reply in client.stream(path, qualified, given, timeout=options.timeout):
            _print(options, reply, indent=False)
    else:
        reply = client.call(path, qualified, given, timeout=options.wait(30.0))
        _print(options, reply, indent=sys.stdout.isatty())


def _parameters(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"cannot read the parameters: not JSON: {error}") from None
    if not isinstance(given, dict):
        raise click.UsageError("cannot use the parameters: write a JSON object")
    return given


def _socket(options: Settings, method: str, unit: str | None) -> Path:
    """The socket that answers *method*: a daemon's, beside control's own."""
    name = unit or _OWN_SOCKET.get(method.rpartition(".")[0], "control")
    return options.control if name == "control" else options.control.parent / f"{name}.varlink"


def _print(options: Settings, reply: dict[str, Any], *, indent: bool) -> None:
    if options.json:
        output.print_json({"parameters": reply})
    else:
        # ASCII alone: nothing in a reply can then act on a terminal.
        plain = not sys.stdout.isatty()
        click.echo(json.dumps(reply, ensure_ascii=not plain, indent=2 if indent else None))
    sys.stdout.flush()
