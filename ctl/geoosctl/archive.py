"""A backup: one tar file, compressed by zstd, that says what it is first and what is in it last.

::

    geoos-backup.json     format, its version, who made it and when
    etc/geoos.toml        the configuration, and etc/themes/*.json
    state/DAEMON/...      what each daemon gave of its state
    manifest.json         path, size and SHA-256 of every file above: without it nothing is taken

``tar --zstd -tf FILE`` lists it. Reading trusts nothing: only plain files, with plain names, of the
places above. :func:`write` and :func:`read` stream; no file is ever whole in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import sys
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from geoosd import __version__
from geoosd.errors import GeoosError, reason_of

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdError, ZstdFile
else:
    from backports.zstd import CompressionParameter, ZstdError, ZstdFile

FORMAT: Final = "geoos-backup"
VERSION: Final = 1
WITH_STATE: Final = ("compositor", "bridge")
"""The daemons that have a state worth keeping."""

_HEADER: Final = "geoos-backup.json"
_MANIFEST: Final = "manifest.json"
_MAX_JSON: Final = 1 << 20
_PIECE: Final = 1 << 18
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}"
_ALLOWED: Final = re.compile(
    rf"etc/geoos\.toml|etc/themes/{_NAME}\.json|state/(?:{'|'.join(WITH_STATE)})/{_NAME}(?:/{_NAME})?"
)
_OPTIONS: Final[dict[int, int]] = {CompressionParameter.checksum_flag: 1}


class Header(Struct):
    """``geoos-backup.json``; ``created`` is seconds since the epoch."""

    format: str
    version: int
    geoos: str = ""
    created: float = 0.0


class Entry(Struct, frozen=True):
    """A file of the backup; ``path`` is relative to the archive."""

    path: str
    size: int
    sha256: str


class Contents(Struct):
    """What a backup has in it."""

    header: Header
    files: list[Entry]

    @property
    def bytes(self) -> int:
        """Of all files, as they will lie on the disk."""
        return sum(each.size for each in self.files)


class _Manifest(Struct):
    files: list[Entry]


class Incoming(Struct):
    """A file on its way in: its pieces add up to ``size`` bytes."""

    path: str
    size: int
    pieces: Iterable[bytes]


def write(target: BinaryIO, files: Iterable[Incoming], created: float) -> Contents:
    """Write a backup of *files*. Raises :class:`GeoosError` where a file is not as announced, and
    what *files* and *target* raise."""
    header = Header(FORMAT, VERSION, __version__, created)
    entries: list[Entry] = []
    with (
        ZstdFile(target, "wb", options=_OPTIONS) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add(tar, _HEADER, created, msgspec.json.encode(header))
        for each in files:
            if not _ALLOWED.fullmatch(each.path):
                raise GeoosError(f"cannot keep {each.path!r} in a backup: no such place in it")
            source = _Counted(each)
            tar.addfile(_info(each.path, each.size, created), source)
            source.finish()
            entries.append(Entry(each.path, each.size, source.digest.hexdigest()))
        _add(tar, _MANIFEST, created, msgspec.json.encode(_Manifest(entries)))
    return Contents(header, entries)


def _info(path: str, size: int, created: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = size, int(created), 0o600
    return info


def _add(tar: tarfile.TarFile, path: str, created: float, data: bytes) -> None:
    tar.addfile(_info(path, len(data), created), io.BytesIO(data))


class _Counted(io.RawIOBase):
    """A file's pieces as a file that can be read once; counts and hashes them."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._pieces = iter(incoming.pieces)
        self._rest = b""
        self._read = 0
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Up to *size* bytes; fewer than that at the end alone."""
        while len(self._rest) < size and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        self._read += len(data)
        if len(data) < size:
            self._refuse()
        self.digest.update(data)
        return data

    def finish(self) -> None:
        """Have nothing left over."""
        if self._rest or any(self._pieces):
            self._refuse()

    def _refuse(self) -> None:
        raise GeoosError(
            f"cannot back up {self._incoming.path}: it has not the {self._incoming.size} bytes "
            "that were announced"
        )


# -- reading ---------------------------------------------------------------------------------------

Sink = Callable[[Entry, Iterator[bytes]], None]
"""Takes a file as it is read: its entry (with no digest yet) and its pieces."""


def read(path: Path, sink: Sink | None = None) -> Contents:
    """Read the whole backup at *path* and verify it; each file goes through *sink* meanwhile.

    Raises :class:`GeoosError` that says what is wrong with it. What *sink* was given counts only
    when this returns.
    """
    try:
        with (
            path.open("rb") as file,
            ZstdFile(file, "rb") as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            contents = _read(path, tar, sink)
            while packed.read(_PIECE):  # to the end, where zstd's own checksum is
                pass
            return contents
    except OSError as error:
        if error.strerror is None:  # tarfile's, of a damaged stream
            raise _damaged(path, str(error)) from None
        raise GeoosError(f"cannot read {path}: {reason_of(error)}") from None
    except (ZstdError, EOFError, tarfile.TarError, UnicodeError, ValueError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> GeoosError:
    return GeoosError(f"cannot use {path}: no whole backup of geoos: {why}; take another one")


def _read(path: Path, tar: tarfile.TarFile, sink: Sink | None) -> Contents:
    members = iter(tar)
    header = _header(path, tar, next(members, None))
    found: dict[str, Entry] = {}
    for member in members:
        if not member.isreg():
            raise _damaged(path, f"{member.name!r} is no plain file")
        if member.name == _MANIFEST:
            _compare(path, found, _small(path, tar, member))
            if next(members, None) is not None:
                raise _damaged(path, "something follows its manifest")
            return Contents(header, list(found.values()))
        if not _ALLOWED.fullmatch(member.name) or member.name in found:
            raise _damaged(path, f"{member.name!r} has no place in it")
        found[member.name] = _take(tar, member, sink)
    raise _damaged(path, "its manifest is missing, so it was cut off")


def _header(path: Path, tar: tarfile.TarFile, first: tarfile.TarInfo | None) -> Header:
    if first is None or first.name != _HEADER or not first.isreg():
        raise _damaged(path, f"it does not begin with {_HEADER}")
    header = msgspec.json.decode(_small(path, tar, first), type=Header)
    if header.format != FORMAT:
        raise _damaged(path, f"its format is {header.format!r}")
    if header.version > VERSION:
        raise GeoosError(
            f"cannot use {path}: made by a newer geoos ({header.geoos}; format {header.version}, "
            f"this one reads {VERSION}); install that version first"
        )
    return header


def _small(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _MAX_JSON:
        raise _damaged(path, f"{member.name} is too long")
    return b"".join(_pieces(tar, member))


def _pieces(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    content = tar.extractfile(member)
    assert content is not None, "a plain file has content"
    left = member.size
    while left:
        piece = content.read(min(_PIECE, left))
        if not piece:
            raise EOFError(f"{member.name} is cut off")
        left -= len(piece)
        yield piece


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, sink: Sink | None) -> Entry:
    digest = hashlib.sha256()

    def hashed() -> Generator[bytes, None, None]:
        for piece in _pieces(tar, member):
            digest.update(piece)
            yield piece

    pieces = hashed()
    with contextlib.closing(pieces):
        if sink is not None:
            sink(Entry(member.name, member.size, ""), pieces)
        for _rest in pieces:
            pass
    return Entry(member.name, member.size, digest.hexdigest())


def _compare(path: Path, found: dict[str, Entry], manifest: bytes) -> None:
    listed = msgspec.json.decode(manifest, type=_Manifest).files
    for each in listed:
        if each.path not in found:
            raise _damaged(path, f"{each.path} is missing")
        if found[each.path] != each:
            raise _damaged(path, f"{each.path} is not as it was: its checksum differs")
    if surplus := found.keys() - {each.path for each in listed}:
        raise _damaged(path, f"{min(surplus)} is not in its manifest")
