"""Files of the state: read with a bound, set aside when they cannot be used.

Everything here blocks; call it in a worker thread.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from geoosd.errors import reason_of

FORMAT: Final = "geoos-compositor"


class NewerFormat(Exception):
    """A file that a later version of geoos wrote; ``version`` is its format's."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def check_version(found_format: str, version: int, known: int) -> None:
    """Raises :class:`NewerFormat`, or ValueError for a file that is none of ours."""
    if found_format == FORMAT and version > known:
        raise NewerFormat(version)
    if found_format != FORMAT or version < 1:
        raise ValueError(
            f"it is {found_format[:64]!r} version {version}, not {FORMAT} version {known}"
        )


def read_file(path: Path, limit: int) -> bytes:
    """All of a file. Raises OSError, and ValueError for one that is larger than *limit* bytes or
    no file at all: a pipe would keep us waiting, a device would never end."""
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        if found.st_size > limit:
            raise ValueError(f"it is larger than {limit} bytes")
        # Not more than is there: a buffer of *limit* bytes would be made for the smallest file.
        return file.read(found.st_size)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def set_aside(path: Path, reason: str) -> list[str]:
    """Rename a file that cannot be used; the lines to say about it."""
    away = aside(path)
    try:
        path.replace(away)
    except OSError as error:
        return [f"cannot use {path}: {reason}; cannot rename it either: {reason_of(error)}"]
    return [f"cannot use {path}: {reason}; kept as {away.name}, starting without it"]


def aside(path: Path) -> Path:
    """Where *path* is kept when it cannot be used."""
    return path.with_name(f"{path.name}.unreadable")
