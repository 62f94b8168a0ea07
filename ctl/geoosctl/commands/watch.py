"""``watch``: what the models think, live, over every loss of the connection."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import click

from geoosctl import flags, neural, output, screen
from geoosctl.asking import ask
from geoosctl.cli import Verb, settings
from geoosctl.course import Course
from geoosd.config import load
from geoosd.errors import VarlinkError

_CHANNELS = ("tokens", "state", "sessions", "canary")


@click.command(
    cls=Verb,
    examples=[
        "geoosctl watch",
        "geoosctl watch --json --channel tokens | jq -r .payload.current_token",
        "GEOOS_TOKEN=… geoosctl watch --url https://watch.example",
    ],
)
@click.option("--url", metavar="URL", help="The page's address; else that of the daemons here.")
@click.option(
    "--channel", "channels", multiple=True, type=click.Choice(_CHANNELS), help="Only these."
)
@flags.models("Only this one.")
@click.option("--plain", is_flag=True, help="The text alone, without the map.")
def watch(
    url: str | None, channels: tuple[str, ...], models: tuple[str, ...], *, plain: bool
) -> None:
    """Show the thought stream until you stop it.

    In a terminal with colours the map is beside it, where it has the room. A lost connection is
    made again by itself and goes on where it was; what is missing is said. With --json: every
    message as it comes, one a line. GEOOS_TOKEN holds a token where one is needed.
    """
    options = settings()
    address = _checked(url) if url else _address(chosen=options.socket is not None)
    wanted = {"channels": ",".join(channels or ("tokens", "state", "sessions"))}
    if models:
        wanted["models"] = ",".join(models)
    seconds = options.wait(5.0) or 5.0
    if not options.json and not plain and screen.fits():
        screen.run(lambda say: _messages(address, wanted, seconds, say))
        return
    show = _print_line if options.json else _Stream().show
    for message in _messages(address, wanted, seconds, _say):
        show(message)
        sys.stdout.flush()


def _say(text: str) -> None:
    output.echo(f"geoosctl: {text}", err=True)


def _messages(
    url: str, wanted: dict[str, str], connect_seconds: float, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """The messages, for ever; *say* hears of losses."""
    course = Course()
    while True:
        try:
            for text in neural.texts(
                url, {**wanted, **course.query()}, os.environ.get("GEOOS_TOKEN"), connect_seconds
            ):
                message = json.loads(text)
                if course.take(message):
                    yield message
        except neural.Lost as lost:
            wait = course.lose(lost.code, lost.reason, random.random())
            say(output.visible(f"{lost.reason}; connecting again in {wait:.1f} s"))
            threading.Event().wait(wait)


def _print_line(message: dict[str, Any]) -> None:
    output.print_json(message)


class _Stream:
    """The text of all sessions as it comes; a line of its own says when another one goes on."""

    def __init__(self) -> None:
        self._session: object = None

    def show(self, message: dict[str, Any]) -> None:
        payload = message["payload"]
        if message["message_type"] == "TokenVisualizationUpdate":
            self._go_to(payload.get("session"), payload.get("model"))
            text = output.visible(payload["current_token"], lines=True)
            dim = payload.get("role") == "reasoning" and output.wants_color(sys.stdout.isatty())
            click.echo(click.style(text, dim=True) if dim else text, nl=False)
        elif message["message_type"] == "Gap":
            output.echo(f"\n[{payload['dropped']} messages missed]", err=True)

    def _go_to(self, session: object, model: object) -> None:
        if session != self._session:
            self._session = session
            head = f"\n── {model or 'a model'}, {session or 'no session'} ──"
            click.echo(output.visible(head, lines=True))


def _address(*, chosen: bool) -> str:
    """Where the broadcaster listens: control knows, else the configuration says.

    Raises :class:`VarlinkError` where a control that was *chosen* does not answer.
    """
    try:
        for entry in ask("GetStatus")["daemons"]:
            found = entry["name"] == "broadcaster" and (entry.get("status") or {}).get("addresses")
            if found:
                return str(found[0])
    except VarlinkError:
        if chosen:
            raise
    return f"http://{load().broadcaster_listen}/"


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.UsageError(f"cannot use --url {url}: write http://HOST:PORT or https://HOST")
    return url
