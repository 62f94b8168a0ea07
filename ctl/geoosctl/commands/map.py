"""``map``: places that mean something, built from a model's own embeddings, and taken into use.

The order is :mod:`geoosd.gguf.layout`'s; it is built once for a vocabulary and kept in the user's
cache, since it takes a minute. The compositor takes it in parts: a call has an end.
"""

from __future__ import annotations

import hashlib
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click
import msgspec
from msgspec import Struct

from geoosctl import completion, output
from geoosctl.asking import ask_for
from geoosctl.cli import VerbGroup, settings
from geoosd.errors import GeoosError, reason_of
from geoosd.gguf.locate import local_models

if TYPE_CHECKING:
    from geoosd.gguf.tensor import Matrix

EMBEDDINGS: Final = "token_embd.weight"
_LARGEST: Final = 1 << 20
"""Cells of a district: what has more ids is placed by hashing."""
_WIDTH: Final = 4
_PART: Final = 1 << 17
"""Places in one call: 683 KiB of base64."""


class _Adopted(Struct):
    layout: int | None
    changed: bool


class _Built(NamedTuple):
    file: Path
    data: bytes
    fresh: bool


@click.group("map", cls=VerbGroup)
def map_() -> None:
    """Have tokens of like meaning lie together."""


@map_.command(
    "build",
    examples=["geoosctl map build", "geoosctl map build model.gguf --out layout.i32"],
)
@click.argument("model", required=False)
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Where to; else into the cache.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Build it although it is in the cache.")
def build(model: str | None, out: Path | None, fresh: bool) -> None:
    """Lay out the vocabulary of MODEL so that tokens of like meaning are neighbours.

    MODEL is a GGUF file, or a name of: geoosctl models --local. Without one, the only one there
    is. The result is one int32 for each token id, little-endian: its place on the Hilbert curve.
    It takes about a minute for 262,144 tokens; a second time it comes from the cache.
    """
    source = _source(model)
    with _explained(source):
        built = _layout(source, fresh=fresh)
        if out is not None:
            out.write_bytes(built.data)
    file, tokens = out or built.file, len(built.data) // _WIDTH
    if settings().json:
        output.print_json(
            {"model": str(source), "file": str(file), "tokens": tokens, "built": built.fresh}
        )
    else:
        whence = "built" if built.fresh else "from the cache"
        output.echo(f"{file}: {tokens} tokens, {whence}")


@map_.command(
    "adopt",
    examples=[
        "geoosctl map adopt gemma-3-270m-it",
        "geoosctl map adopt gemma-3-270m-it layout.i32",
        "geoosctl map adopt gemma-3-270m-it --by-id",
    ],
)
@click.argument("model", shell_complete=completion.models)
@click.argument("layout", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--by-id", is_flag=True, help="Give the layout up: by token id again.")
def adopt(model: str, layout: Path | None, by_id: bool) -> None:
    """Place the tokens of MODEL by LAYOUT from now on, after a restart too.

    MODEL is the name that geoosctl models shows; LAYOUT a file from geoosctl map build. Without
    LAYOUT, that of the file in geoosctl models --local whose name begins so, built if need be. What
    lies on the map stays where it is: another layout makes another district.
    """
    if by_id and layout is not None:
        raise click.UsageError("give LAYOUT or --by-id, not both")
    source = None if by_id else layout or _source(model)
    data = b"" if source is None else _read_layout(source, build_it=layout is None)
    adopted = _send(model, data)
    if settings().json:
        tokens = len(data) // _WIDTH
        output.print_json({"model": model, "tokens": tokens, **msgspec.to_builtins(adopted)})
        return
    how = "by their ids" if source is None else f"as {source} says"
    already = "from now on" if adopted.changed else "already"
    output.echo(output.visible(f"{model}: tokens lie {how}, {already}"))


def _read_layout(source: Path, *, build_it: bool) -> bytes:
    """What is to be sent: the layout in a file, or that of a model. Raises :class:`GeoosError`."""
    with _explained(source):
        if build_it:
            return _layout(source).data
        with source.open("rb") as file:
            data = file.read(_WIDTH * _LARGEST + 1)
    if not data or len(data) % _WIDTH:
        raise GeoosError(f"cannot use {source}: it is no layout; make one: geoosctl map build")
    return data


@contextmanager
def _explained(source: Path) -> Iterator[None]:
    """An OSError inside names the file, *source* where it has none of its own."""
    try:
        yield
    except OSError as error:
        named = error.filename or source
        raise GeoosError(f"cannot use {named}: {reason_of(error)}") from None


def _send(model: str, data: bytes) -> _Adopted:
    """Have the compositor take *data*; none of it: by id."""
    tokens = len(data) // _WIDTH
    adopted = _Adopted(None, changed=False)
    for first in range(0, max(tokens, 1), _PART):
        part = data[first * _WIDTH : (first + _PART) * _WIDTH]
        asked = {
            "model": model,
            "tokens": tokens,
            "first": first,
            "places": b64encode(part).decode(),
        }
        adopted = ask_for(_Adopted, "AdoptLayout", asked, seconds=30.0)
    return adopted


def _layout(source: Path, *, fresh: bool = False) -> _Built:
    """The layout of the model in *source*, from the cache if there. GeoosError or OSError."""
    try:
        from geoosd.gguf import tensor

        matrix = tensor.find_matrix(source, EMBEDDINGS)
        if matrix.rows > _LARGEST:
            raise ValueError(
                f"cannot lay out {source}: {matrix.rows} tokens, a district has {_LARGEST} cells"
            )
        kept = _cache() / f"{_digest(matrix)}.i32"
        if not fresh and kept.is_file() and kept.stat().st_size == _WIDTH * matrix.rows:
            return _Built(kept, kept.read_bytes(), fresh=False)
        data = _build(matrix)
    except ValueError as error:
        raise GeoosError(str(error)) from None
    _keep(kept, data)
    return _Built(kept, data, fresh=True)


def _source(model: str | None) -> Path:
    """The file that *model* names. Raises :class:`click.UsageError`."""
    if model is not None and Path(model).is_file():
        return Path(model)
    found = local_models()
    chosen = [each for each in found if model in (None, each.name)]
    if not chosen and model is not None:
        # A server shortens: gemma-3-270m is gemma-3-270m-q4_k_m.gguf.
        begins = model.casefold()
        chosen = [each for each in found if each.path.name.casefold().startswith(begins)]
    if len(chosen) == 1:
        return chosen[0].path
    if chosen:
        names = ", ".join(output.visible(each.name) for each in chosen)
        raise click.UsageError(f"name one of {len(chosen)} models: {names}")
    if model is not None:
        raise click.UsageError(f"cannot find {model!r}: no file, and no name of models --local")
    raise click.UsageError("no model of another program is here: name a GGUF file")


def _digest(matrix: Matrix) -> str:
    """Of the embeddings themselves: the same vocabulary under any name has the same layout."""
    digest = hashlib.blake2b(f"{matrix.kind} {matrix.rows} {matrix.columns}".encode())
    for data in matrix.raw():
        digest.update(data)
    return digest.hexdigest()[:32]


def _build(matrix: Matrix) -> bytes:
    from geoosd.gguf import layout

    ranks = layout.build(matrix.chunks, _bar())
    return ranks.astype("<i4").tobytes()


def _bar() -> Callable[[float], None]:
    """A bar on a terminal's standard error; elsewhere nothing."""
    if settings().json or not sys.stderr.isatty():
        return lambda _part: None

    def show(part: float) -> None:
        filled = round(part * 40)
        end = "\n" if part >= 1 else ""
        bar = f"{'█' * filled}{'░' * (40 - filled)} {100 * part:3.0f} %"
        click.echo(f"\r\x1b[K{bar}{end}", nl=False, err=True)

    return show


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(path)


def _cache() -> Path:
    """The user's cache folder (XDG base directory specification)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = named if named.is_absolute() else Path("~/.cache").expanduser()
    return root / "geoos" / "layouts"
