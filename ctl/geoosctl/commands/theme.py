"""``theme``: the colours of the map and the page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import click
import msgspec
from msgspec import Struct

from geoosctl import completion, output
from geoosctl.asking import ask, ask_for
from geoosctl.cli import VerbGroup, settings
from geoosd.errors import EX_CONFIG, VarlinkError, reason_of
from geoosd.wire import varlink as wire
from geoosd.wire.messages import MAX_THEME_BYTES, Theme

_IN_A_LINE: Final = 4
"""Colours."""
_AT: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class _Themes(Struct):
    themes: list[Theme]
    current: str


@click.group(cls=VerbGroup)
def theme() -> None:
    """List, show, set or check the colours of the map."""


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
@click.argument("name", required=False, shell_complete=completion.themes)
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
        for first in range(0, len(colors), _IN_A_LINE):
            swatches = map(_swatch, colors[first : first + _IN_A_LINE])
            output.echo(f"{'' if first else key:<10}  {' '.join(swatches)}")


def _swatch(value: str) -> str:
    """A colour, on a terminal with a patch of itself; other text as it is."""
    if not value.startswith("#") or not output.wants_color(sys.stdout.isatty()):
        return output.visible(value)
    red, green, blue = (int(value[start : start + 2], 16) for start in (1, 3, 5))
    return f"{click.style('  ', bg=(red, green, blue))} {value}"


@theme.command("set", examples=["geoosctl theme set paper"])
@click.argument("name", shell_complete=completion.themes)
def set_theme(name: str) -> None:
    """Use theme NAME from now on, in every viewer."""
    ask("SetTheme", {"name": name})
    if settings().json:
        output.print_json({"current": name})
    else:
        output.echo(f"theme {name} is in use")


@theme.command("validate", examples=["geoosctl theme validate mine.json"])
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def validate_theme(file: Path) -> int:
    """Check whether the theme in FILE can be used, and say where to put it.

    Exit code 0 if it can be used, 78 if not.
    """
    error = _wrong_with(file)
    if settings().json:
        output.print_json({"file": str(file), "ok": error is None, "error": error})
    elif error is None:
        output.echo(f"{file}: ok; put it into /etc/geoos/themes, then: geoosctl reload")
    else:
        output.echo(f"geoosctl: cannot use {file}: {output.visible(error)}", err=True)
    return 0 if error is None else EX_CONFIG


def _wrong_with(file: Path) -> str | None:
    """Why the compositor would not take it; see its themes.py."""
    try:
        data = file.read_bytes()
    except OSError as error:
        return reason_of(error)
    if len(data) > MAX_THEME_BYTES:
        return f"larger than {MAX_THEME_BYTES} bytes"
    try:
        found = msgspec.json.decode(data, type=Theme)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error)
        at = _AT.search(reason)
        why = reason[: at.start()] if at else reason
        return f"{at['path'] if at else 'the file'}: {why[:1].lower()}{why[1:]}"
    if found.name != file.stem:
        return f"it is named {found.name!r}; name the file {found.name}.json"
    return None


def _themes() -> _Themes:
    return ask_for(_Themes, "ListThemes")
