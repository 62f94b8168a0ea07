"""``token``: keys and tokens for who looks at geoos from another machine."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from pathlib import Path
from typing import Final, Literal

import click

from geoosctl import output
from geoosctl.cli import VerbGroup, settings
from geoosd.config import load
from geoosd.errors import ConfigError, reason_of

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MAX_TTL: Final = 3660 * 86400
_CREDENTIALS: Final = (Path("/etc/geoos/credentials"), Path("/etc/credstore"))
"""Where the key lies when the configuration names a credential: see units/drop-ins."""


class _Duration(click.ParamType[int]):
    """``90s``, ``30m``, ``12h``, ``30d``, ``4w``; a bare number is seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Seconds."""
        matched = re.fullmatch("([0-9]{1,12})([smhdw]?)", str(value))
        seconds = int(matched[1]) * _UNITS[matched[2] or "s"] if matched else 0
        if not 0 < seconds <= _MAX_TTL:
            self.fail(f"{value!r} is none: write 90s, 30m, 12h, 30d or 4w, at most ten years")
        return seconds


@click.group(cls=VerbGroup)
def token() -> None:
    """Let somebody look from another machine."""


@token.command(
    "create",
    examples=[
        "sudo geoosctl token create",
        "sudo geoosctl token create --role admin --ttl 12h",
        "geoosctl token create --key ./viewers.key",
    ],
)
@click.option(
    "--role",
    type=click.Choice(["viewer", "admin"]),
    default="viewer",
    show_default=True,
    help="A viewer may look, an admin may prompt and change as well.",
)
@click.option(
    "--ttl", type=_Duration(), default="30d", show_default=True, help="Valid for so long."
)
@click.option("--key", type=click.Path(path_type=Path), help="The key; else the configuration's.")
def create(role: Literal["viewer", "admin"], ttl: int, key: Path | None) -> None:
    """Print a token; nothing keeps it, so keep it yourself."""
    from geoosd.wire import tokens

    path = key or _configured_key()
    try:
        secret = tokens.key_of(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(_cannot_read(path, error)) from None
    now = time.time()
    text = tokens.issue(secret, role, secrets.token_hex(8), now, ttl)
    if settings().json:
        output.print_json({"token": text, "role": role, "expires": int(now + ttl)})
    else:
        click.echo(text)


@token.command("key", examples=["sudo geoosctl token key /etc/geoos/credentials/viewers"])
@click.argument("file", type=click.Path(path_type=Path))
def make_key(file: Path) -> None:
    """Write a new key into FILE, which must not be there yet.

    Name it by token_key in [broadcaster]. Another key in its place ends all tokens made with it.
    """
    try:
        with contextlib.suppress(FileExistsError):
            file.parent.mkdir(mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(32) + "\n")
    except FileExistsError:
        raise ConfigError(
            f"cannot write {file}: it is there; remove it, which ends all tokens made with it"
        ) from None
    except OSError as error:
        reason = reason_of(error)
        raise ConfigError(f"cannot write {file}: {reason}") from None
    if settings().json:
        output.print_json({"file": str(file)})
    else:
        output.echo(f"{output.visible(str(file))}: a new key; name it by [broadcaster] token_key")


def _configured_key() -> Path:
    """The file of ``broadcaster.token_key``. Raises :class:`ConfigError`."""
    found = load()
    name = found.broadcaster.token_key
    if not name:
        raise ConfigError(
            f"cannot find a key: {found.source or 'the configuration'} has no "
            "broadcaster.token_key; make one: geoosctl token key FILE, or name one by --key FILE"
        )
    if "/" in name:
        return Path(name)
    own = os.environ.get("CREDENTIALS_DIRECTORY")
    places = [Path(own)] if own else list(_CREDENTIALS)
    for folder in places:
        with contextlib.suppress(OSError):
            if (folder / name).exists():
                return folder / name
    looked = " and ".join(str(folder) for folder in places)
    raise ConfigError(
        f"cannot find the key {name!r} in {looked}; use sudo, or name it by --key FILE"
    )


def _cannot_read(path: Path, error: OSError) -> str:
    reason = reason_of(error)
    remedy = "use sudo" if isinstance(error, PermissionError) else f"geoosctl token key {path}"
    return f"cannot read {path}: {reason}; {remedy}"
