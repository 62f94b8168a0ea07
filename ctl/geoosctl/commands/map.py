"""``map``: places that mean something, built from a model's own embeddings.

The order is :mod:`geoosd.gguf.layout`'s; it is built once for a vocabulary and kept in the user's
cache, since it takes a minute.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from geoosctl import output
from geoosctl.cli import VerbGroup, settings
from geoosd.errors import GeoosError
from geoosd.gguf.locate import local_models

if TYPE_CHECKING:
    from geoosd.gguf.tensor import Matrix

EMBEDDINGS: Final = "token_embd.weight"
_LARGEST: Final = 1 << 20
"""Cells of a district: what has more ids is placed by hashing."""


@click.group("map", cls=VerbGroup)
def map_() -> None:
    """Build places that mean something."""


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
    try:
        from geoosd.gguf import tensor

        matrix = tensor.find_matrix(source, EMBEDDINGS)
        if matrix.rows > _LARGEST:
            raise ValueError(
                f"cannot lay out {source}: {matrix.rows} tokens, a district has {_LARGEST} cells"
            )
        kept = _cache() / f"{_digest(matrix)}.i32"
        built = fresh or not kept.is_file() or kept.stat().st_size != 4 * matrix.rows
        data = _build(matrix) if built else kept.read_bytes()
        if built:
            _keep(kept, data)
        if out is not None:
            out.write_bytes(data)
    except ValueError as error:
        raise GeoosError(str(error)) from None
    except OSError as error:
        named = error.filename or source
        raise GeoosError(f"cannot use {named}: {(error.strerror or '').lower()}") from None
    file = out or kept
    if settings().json:
        members = {"model": str(source), "file": str(file), "tokens": matrix.rows, "built": built}
        output.print_json(members)
    else:
        whence = "built" if built else "from the cache"
        output.echo(f"{file}: {matrix.rows} tokens, {whence}")


def _source(model: str | None) -> Path:
    """The file that *model* names. Raises :class:`click.UsageError`."""
    if model is not None and Path(model).is_file():
        return Path(model)
    found = local_models()
    chosen = [each for each in found if model in (None, each.name)]
    if len(chosen) == 1:
        return chosen[0].path
    if model is not None:
        raise click.UsageError(f"cannot find {model!r}: no file, and no name of models --local")
    if found:
        names = ", ".join(output.visible(each.name) for each in found)
        raise click.UsageError(f"name one of {len(found)} models: {names}")
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
