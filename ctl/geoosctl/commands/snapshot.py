"""``snapshot``: a picture of the map."""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path

import click
from msgspec import Struct

from geoosctl import client, output
from geoosctl.cli import Verb, settings
from geoosctl.commands.state import read
from geoosd.errors import GeoosError

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_SIDE = click.IntRange(16, 4096)


class _Picture(Struct):
    image: str
    media_type: str
    width: int
    height: int


@click.command(
    cls=Verb,
    examples=[
        "geoosctl snapshot map.png",
        "geoosctl snapshot wall.jpg --width 1920 --height 1080 --theme paper",
        "geoosctl snapshot - > map.png",
    ],
)
@click.argument("file")
@click.option("--width", type=_SIDE, metavar="PIXELS", help="Of the picture.")
@click.option("--height", type=_SIDE, metavar="PIXELS", help="Of the picture.")
@click.option("--theme", metavar="NAME", help="Another theme than the one in use.")
def snapshot(file: str, width: int | None, height: int | None, theme: str | None) -> None:
    """Write a picture of the map to FILE.

    FILE ends in .png, .jpg or .webp; - is standard output, as PNG.
    """
    kind = "png" if file == "-" else _FORMATS.get(Path(file).suffix.lower())
    if kind is None:
        raise click.UsageError(f"cannot tell the format of {file}: end it in .png, .jpg or .webp")
    options = settings()
    reply = client.call(
        options.control,
        "io.geoos.Control.Snapshot",
        {"width": width, "height": height, "theme": theme, "format": kind},
        timeout=options.wait(30.0),
    )
    picture = read(reply, _Picture)
    _write(file, picture.image)
    if file == "-":
        return
    if options.json:
        output.print_json(
            {
                "file": file,
                "media_type": picture.media_type,
                "width": picture.width,
                "height": picture.height,
            }
        )
    else:
        output.echo(f"{file}: {picture.width} × {picture.height}, {picture.media_type}")


def _write(file: str, image: str) -> None:
    try:
        data = base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise GeoosError(f"cannot read the picture: not base64: {error}") from None
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        raise GeoosError(f"cannot write {file}: {error.strerror}") from None
