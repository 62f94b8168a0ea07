"""``sessions.db``: the SQLite file that recorded sessions and feedback are kept in.

WAL (https://sqlite.org/wal.html), one connection, one transaction a batch; what is deleted is
overwritten (``secure_delete``), and a deletion somebody asked for empties the WAL too. The schema
changes in rollback mode, so that byte 60 of the file itself always tells its version: a file from a
newer geoos is refused before SQLite touches it. A file that cannot be read raises :class:`Damaged`.

Everything here blocks and raises :class:`sqlite3.Error` or OSError where the disk refuses; call it
in a worker thread, one call at a time. Tables: :mod:`.store_schema`; what is in them:
:mod:`.store_sessions`, :mod:`.store_feedback`; when it is called: :mod:`.recorder`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from geoosd.bridge.adapters.store_schema import APPLICATION_ID, STEPS, VERSION
from geoosd.errors import ConfigError

_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = 100
_BUSY_SECONDS: Final = 2.0
_WAL_BYTES: Final = 4 << 20
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_EXPIRED_AT_ONCE: Final = 200
"""Sessions deleted in one transaction: the writer is not held up for longer."""

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Damaged(Exception):
    """The file is no database of ours, or is broken; the words say how."""


class Removed(Damaged):
    """The file is not there any more, or another one is: what is written would be lost with us."""


class Header(NamedTuple):
    """What the first bytes of a database say, without opening it."""

    application_id: int
    version: int


class Store:
    """One open database; ``path`` is its file."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._file = _file_at(path)

    @classmethod
    def open(cls, path: Path, *, check: bool = False) -> Store:
        """Open *path*, make it where it is missing, bring it to this version's schema.

        *check*: read the whole file for damage first, for after a crash. Raises
        :class:`ConfigError` where the file is newer than this program, :class:`Damaged`,
        :class:`sqlite3.Error`, OSError.
        """
        header = read_header(path)
        if header is not None and header.version > VERSION:
            raise ConfigError(
                f"cannot use {path}: written by a newer geoos (schema {header.version}, this one "
                f"knows {VERSION}); upgrade, or move it away"
            )
        if header is None:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        store = cls(path, connection)
        try:
            with store.reading():
                store._prepare(header, check)
        except BaseException:
            connection.close()
            raise
        return store

    def _prepare(self, header: Header | None, check: bool) -> None:
        execute = self.connection.execute
        execute("PRAGMA secure_delete=ON")
        execute("PRAGMA temp_store=MEMORY")
        execute("PRAGMA cache_size=-512")
        if check:
            (verdict,) = execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise Damaged(str(verdict))
        if header is None or header.version < VERSION:
            self._migrate(header.version if header else 0)
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=NORMAL")
        execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
        execute("UPDATE session SET error = 'interrupted' WHERE ended IS NULL AND error IS NULL")

    def _migrate(self, version: int) -> None:
        """Take the missing steps, all or none."""
        execute = self.connection.execute
        execute("PRAGMA journal_mode=DELETE")
        execute("PRAGMA synchronous=FULL")
        if version == 0:
            execute("PRAGMA auto_vacuum=INCREMENTAL")
        steps = "".join(STEPS[version:])
        try:
            self.connection.executescript(
                f"BEGIN EXCLUSIVE; PRAGMA application_id={APPLICATION_ID};"
                f"{steps} PRAGMA user_version={VERSION}; COMMIT;"
            )
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close; the WAL is written back into the file first."""
        with contextlib.suppress(sqlite3.Error):
            self.empty_wal()
        self.connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, with SQLite's words for a broken file as :class:`Damaged`.

        Raises :class:`Removed` too: SQLite does not see that its file has lost its name.
        """
        if self._file is None or _file_at(self.path) != self._file:
            raise Removed("it was removed while it was in use")
        try:
            yield self.connection
        except sqlite3.DatabaseError as error:
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED:
                raise Damaged(str(error)) from None
            raise

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing; *durable*: on disk when it returns, not with the next checkpoint."""
        with self.reading() as connection:
            if durable:
                connection.execute("PRAGMA synchronous=FULL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    # Some errors, such as a full disk, have rolled back already.
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous=NORMAL")

    def empty_wal(self) -> None:
        """Have nothing in the WAL: what was overwritten in the file is then nowhere."""
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        """Bytes in use, without pages that are free."""
        with self.reading() as connection:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        return int(page * (pages - free))

    def forget_text(self) -> int:
        """Delete every prompt, text and token id; sessions' lines stay. How many had some."""
        with self.transaction(durable=True) as connection:
            forgotten = connection.execute(
                "UPDATE session SET record = 'metadata', messages = 0, prompt = NULL, "
                "system = NULL, turns = NULL WHERE record = 'full'"
            ).rowcount
            connection.execute("DELETE FROM message")
        if forgotten:
            self._release()
        return forgotten

    def retain(self, *, oldest: float, max_bytes: int) -> int:
        """Delete sessions that started before *oldest* (seconds since the epoch), then the oldest
        until the file holds at most *max_bytes*; running ones stay. How many went."""
        gone = self._expire("AND started < ?", (oldest,))
        while (size := self.size()) > max_bytes:
            went = self._delete("", (), self._some(1 - max_bytes / size))
            if not went:
                break
            gone += went
        if gone:
            self._release()
        return gone

    def _some(self, part: float) -> int:
        """About *part* of all sessions, and not too many at once."""
        with self.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM session").fetchone()
        return min(max(1, int(count * part)), _EXPIRED_AT_ONCE)

    def _expire(self, which: str, values: tuple[object, ...]) -> int:
        gone = 0
        while went := self._delete(which, values, _EXPIRED_AT_ONCE):
            gone += went
        return gone

    def _delete(self, which: str, values: tuple[object, ...], limit: int) -> int:
        """Delete the oldest *limit* ended sessions that *which* names; how many there were."""
        with self.transaction() as connection:
            numbers = connection.execute(
                "SELECT number FROM session WHERE (ended IS NOT NULL OR error IS NOT NULL) "
                f"{which} ORDER BY number LIMIT ?",
                (*values, limit),
            ).fetchall()
            connection.executemany("DELETE FROM message WHERE session = ?", numbers)
            connection.executemany("DELETE FROM session WHERE number = ?", numbers)
        return len(numbers)

    def _release(self) -> None:
        """Give free pages back to the file system, and empty the WAL."""
        with self.reading() as connection:
            # Frees a page a step: a cursor would stop after the first.
            connection.executescript("PRAGMA incremental_vacuum")
        self.empty_wal()


def read_header(path: Path) -> Header | None:
    """The header of *path* by the file format's word; None where there is no file or it is empty.

    Raises :class:`Damaged` where it is no database of ours, OSError.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
    except FileNotFoundError:
        return None
    if not head:
        return None
    if len(head) < _HEADER or not head.startswith(_MAGIC):
        raise Damaged("it is no SQLite database")
    header = Header(int.from_bytes(head[68:72], "big"), int.from_bytes(head[60:64], "big"))
    if header.application_id != APPLICATION_ID:
        raise Damaged("it is another program's database")
    return header


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file has this name; None where none has."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def remove_side_files(path: Path) -> None:
    """Remove what SQLite has left beside a *path* that is gone. Raises OSError."""
    for suffix in _SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename *path* and what SQLite keeps beside it; the new name. Raises OSError."""
    aside = path.with_name(f"{path.name}.unreadable")
    for suffix in _SIDE_FILES:
        beside = path.with_name(path.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            beside.replace(aside.with_name(aside.name + suffix))
    path.replace(aside)
    return aside
