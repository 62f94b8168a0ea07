"""``theme``: the colours of the map and the page."""

from __future__ import annotations

import sys

import click
import msgspec
from msgspec import Struct

from geoosctl import client, output
from geoosctl.cli import VerbGroup, settings
from geoosctl.commands.state import read
from geoosd.errors import VarlinkError
from geoosd.wire import varlink as wire
from geoosd.wire.messages import Theme


class _Themes(Struct):
    themes: list[Theme]
    current: str


@click.group(cls=VerbGroup)
def theme() -> None:
    """List, show or set the colours of the map."""


@theme.command("list", examples=["geoosctl theme list"])
def list_themes() -> None:
    """List the themes; the one in use is marked."""
    found = _themes()
    if settings().json:
        output.print_json({"current": found.current, "themes": msgspec.to_builtins(found.themes)})
        return
    rows = [
        ["*" if each.name == found.current else "", each.name, output.visible(each.title)]
        for each in found.themes
    ]
    for line in output.table(["", "THEME", "TITLE"], rows):
        output.echo(line)


@theme.command("show", examples=["geoosctl theme show", "geoosctl theme show ember --json"])
@click.argument("name", required=False)
def show_theme(name: str | None) -> None:
    """Show the colours of NAME, or of the theme in use."""
    found = _themes()
    wanted = name or found.current
    shown = next((each for each in found.themes if each.name == wanted), None)
    if shown is None:
        known = ", ".join(each.name for each in found.themes)
        reason = f"cannot find theme {wanted!r}: there are {known}"
        raise VarlinkError(wire.NOT_FOUND, {"reason": reason})
    if settings().json:
        output.print_json({"theme": msgspec.to_builtins(shown)})
        return
    for key in ("name", "title", "background", "text", "muted", "accent", "ramp", "tints"):
        value = getattr(shown, key)
        colors = value if isinstance(value, list) else [value]
        output.echo(f"{key:<10}  {' '.join(_swatch(each) for each in colors)}")


def _swatch(value: str) -> str:
    """A colour, on a terminal with a patch of itself; other text as it is."""
    if not value.startswith("#") or not output.wants_color(sys.stdout.isatty()):
        return output.visible(value)
    red, green, blue = (int(value[start : start + 2], 16) for start in (1, 3, 5))
    return f"{click.style('  ', bg=(red, green, blue))} {value}"


@theme.command("set", examples=["geoosctl theme set paper"])
@click.argument("name")
def set_theme(name: str) -> None:
    """Use theme NAME from now on, in every viewer."""
    options = settings()
    client.call(
        options.control, "io.geoos.Control.SetTheme", {"name": name}, timeout=options.wait(5.0)
    )
    if options.json:
        output.print_json({"current": name})
    else:
        output.echo(f"theme {name} is in use")


def _themes() -> _Themes:
    options = settings()
    reply = client.call(options.control, "io.geoos.Control.ListThemes", timeout=options.wait(5.0))
    return read(reply, _Themes)
