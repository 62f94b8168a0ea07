"""``snapshot``: a picture of a view, or a recording of it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
from msgspec import Struct

from geoosctl import completion, film, output
from geoosctl.asking import ask_for
from geoosctl.cli import Verb, settings
from geoosctl.floats import FloatRange
from geoosd.errors import GeoosError, reason_of

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_SIDE = click.IntRange(16, 4096)


class Picture(Struct):
    """A reply."""

    image: str
    media_type: str
    width: int
    height: int


class Look(NamedTuple):
    """What to draw; the parameters of ``io.geoos.Control.Snapshot``."""

    width: int | None
    height: int | None
    theme: str | None
    view: str | None
    zoom: float | None
    center: tuple[float, float] | None
    labels: bool
    dpr: float | None

    def parameters(self, kind: str) -> dict[str, Any]:
        """As the call takes them, for a picture of that format; what is not given is left out."""
        x, y = self.center or (None, None)
        given = {**self._asdict(), "center_x": x, "center_y": y, "format": kind}
        del given["center"]
        return {name: value for name, value in given.items() if value not in (None, False)}


class Center(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """``COLUMN,ROW``."""

    name = "COLUMN,ROW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, float]:
        """Two numbers."""
        try:
            column, row = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not COLUMN,ROW, for example 512,300", param, ctx)
        return column, row


@click.command(
    cls=Verb,
    examples=[
        "geoosctl snapshot map.png",
        "geoosctl snapshot wall.jpg --width 1920 --height 1080 --theme paper",
        "geoosctl snapshot attention.png --view attention --dpr 2",
        "geoosctl snapshot near.webp --zoom 4 --labels",
        "geoosctl snapshot - > map.png",
        "geoosctl snapshot film.webp --seconds 10 --fps 15",
    ],
)
@click.argument("file")
@click.option(
    "--view", metavar="NAME", help="activation, memory, confidence, models, attention, layers."
)
@click.option("--zoom", type=FloatRange(0.01, 1024), metavar="FACTOR", help="Of a map.")
@click.option("--center", type=Center(), help="Where on the map; else around what is active.")
@click.option("--labels", is_flag=True, help="The newest tokens' texts beside them.")
@click.option("--width", type=_SIDE, metavar="PIXELS", help="Of the picture.")
@click.option("--height", type=_SIDE, metavar="PIXELS", help="Of the picture.")
@click.option("--dpr", type=FloatRange(1, 4), metavar="RATIO", help="Device pixels a pixel.")
@click.option("--theme", metavar="NAME", shell_complete=completion.themes,
              help="Another theme than the one in use.")  # fmt: skip
@click.option("--seconds", type=FloatRange(0.1, 3600), help="Record for so long.")
@click.option("--fps", type=FloatRange(0.1, 60), default=10.0, show_default=True,
              metavar="N", help="Pictures a second of a recording.")  # fmt: skip
def snapshot(file: str, seconds: float | None, fps: float, **wanted: Any) -> None:
    """Write a picture to FILE, or with --seconds a recording.

    A picture's FILE ends in .png, .jpg or .webp; - is standard output, as PNG. A recording's
    ends in .webp, .apng or .mp4; Ctrl-C ends it early and keeps what there is.
    """
    look = Look(**wanted)
    if seconds is not None:
        record(look, file, seconds, fps)
        return
    kind = "png" if file == "-" else _FORMATS.get(Path(file).suffix.lower())
    if kind is None:
        hint = "; with --seconds it is a recording" if Path(file).suffix in film.FORMATS else ""
        raise click.UsageError(
            f"cannot tell the format of {file}: end it in .png, .jpg or .webp{hint}"
        )
    picture = take(look, kind)
    _write(file, picture.image)
    if file == "-":
        return
    if settings().json:
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


def take(look: Look, kind: str) -> Picture:
    """One picture of that format."""
    return ask_for(Picture, "Snapshot", look.parameters(kind), seconds=30.0)


def record(look: Look, file: str, seconds: float, fps: float) -> None:
    """Take pictures for so long, or until Ctrl-C, and write the film."""
    path = Path(file)
    suffix = path.suffix.lower()
    if suffix not in film.FORMATS:
        raise click.UsageError(f"cannot record to {file}: end it in .webp, .apng or .mp4")
    if suffix == ".mp4":
        film.video()  # say now what would be missing at the end
    if not path.resolve().parent.is_dir():
        raise GeoosError(f"cannot write {file}: no such directory")
    reel = film.Film()
    kind = "png" if suffix == ".apng" else "jpeg"
    failure: GeoosError | None = None
    try:
        with _Bar(seconds) as bar, contextlib.suppress(KeyboardInterrupt):
            _expose(reel, bar, (look, kind), seconds, 1 / fps)
    except GeoosError as error:
        failure = error
    if len(reel):
        reel.write(path)
    if failure is not None:
        raise failure
    if not len(reel):
        raise GeoosError("nothing was recorded")
    told = {"file": file, "pictures": len(reel), "seconds": round(reel.seconds, 3)}
    if settings().json:
        output.print_json(told)
    else:
        output.echo(f"{file}: {len(reel)} pictures, {reel.seconds:.1f} s")


def _expose(
    reel: film.Film, bar: _Bar, what: tuple[Look, str], seconds: float, pause: float
) -> None:
    """Pictures at an even pace; where they take longer than that, as fast as they come."""
    wait = threading.Event().wait
    began = time.monotonic()
    due = 0.0
    try:
        while (at := time.monotonic() - began) < seconds:
            picture = _decoded(take(*what).image)
            reel.add(picture, at)
            bar.show(at)
            due = max(due + pause, time.monotonic() - began)
            wait(max(0.0, min(due, seconds) - (time.monotonic() - began)))
    finally:
        reel.end(time.monotonic() - began)


class _Bar:
    """How far a recording is, on a terminal."""

    def __init__(self, seconds: float) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = TextColumn("recording"), BarColumn(), TextColumn("{task.completed:.1f} s")
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=seconds)

    def __enter__(self) -> _Bar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, at: float) -> None:
        """*at* seconds are done."""
        if self._bar:
            self._bar.update(self._task, completed=at)


def _decoded(image: str) -> bytes:
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise GeoosError(f"cannot read the picture: not base64: {error}") from None


def _write(file: str, image: str) -> None:
    data = _decoded(image)
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        raise GeoosError(f"cannot write {file}: {reason_of(error)}") from None
