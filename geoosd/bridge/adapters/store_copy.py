"""A copy of ``sessions.db`` for a backup, made while the bridge goes on writing.

SQLite's online backup (https://sqlite.org/backup.html) in one read transaction: the copy is the
database at one moment, and in WAL mode no writer waits for it. It has a name only until it is
whole; a name that a crash left behind is removed at the next start. Blocks: call it in a thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

_PAGES = 1024
"""Pages between two calls of *on_step*."""


def copy(path: Path, on_step: Callable[..., None]) -> BinaryIO:
    """Copy the database *path*; an open file of which only we know.

    *on_step* is called now and then, and may raise to end it. Raises :class:`sqlite3.Error` and
    OSError, such as for a full disk; then nothing is left.
    """
    remove_copy(path)
    name = _name(path)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(name)) as target,
        ):
            # It is a copy: what becomes of it in a crash is of no interest.
            target.execute("PRAGMA journal_mode=OFF")
            target.execute("PRAGMA synchronous=OFF")
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(target, pages=_PAGES, progress=on_step)
        return name.open("rb")
    finally:
        remove_copy(path)


def remove_copy(path: Path) -> None:
    """Remove what a crash left of a copy of *path*."""
    _name(path).unlink(missing_ok=True)


def _name(path: Path) -> Path:
    return path.with_name(f".{path.name}.copy")
