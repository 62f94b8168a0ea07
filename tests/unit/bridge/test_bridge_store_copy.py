"""A copy of the database while it is written to: one moment of it, and nothing left behind."""

import contextlib
import sqlite3
import threading

import pytest

from geoosd.bridge.adapters.store import Store
from geoosd.bridge.adapters.store_copy import copy, remove_copy


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "sessions.db")
    with store.transaction() as connection:
        connection.execute("CREATE TABLE pair (a INTEGER, b BLOB)")
        connection.execute("INSERT INTO pair VALUES (0, zeroblob(8000000))")
        connection.execute("INSERT INTO pair VALUES (0, NULL)")
    yield store
    store.close()


def opened(content, path):
    path.write_bytes(content.read())
    content.close()
    return contextlib.closing(sqlite3.connect(path))


def nothing(*_pages):
    pass


def test_writers_do_not_wait_and_the_copy_is_one_moment(store, tmp_path):
    """Each transaction adds one to both rows: in no copy do they differ."""
    stop, written = threading.Event(), threading.Event()

    def write():
        while not stop.is_set():
            with store.transaction() as connection:
                connection.execute("UPDATE pair SET a = a + 1")
            written.set()

    def another_is_written(*_pages):
        written.clear()
        assert written.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            content = copy(store.path, another_is_written)
            with opened(content, tmp_path / f"copy{number}") as connection:
                (low, high) = connection.execute("SELECT min(a), max(a) FROM pair").fetchone()
                assert low == high
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        stop.set()
        writer.join()
    assert not list(tmp_path.glob(".*"))


def test_who_no_longer_wants_it_ends_it(store, tmp_path):
    def stop(*_pages):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(store.path, stop)
    assert not list(tmp_path.glob(".*"))


def test_what_a_crash_left_goes(store, tmp_path):
    left = tmp_path / ".sessions.db.copy"
    left.write_bytes(b"text" * 1000)
    copy(store.path, nothing).close()
    assert not left.exists()
    left.touch()
    remove_copy(store.path)
    assert not left.exists()


def test_it_can_be_opened_as_the_database(store, tmp_path):
    path = tmp_path / "again" / "sessions.db"
    path.parent.mkdir()
    with copy(store.path, nothing) as content:
        path.write_bytes(content.read())
    again = Store.open(path, check=True)
    assert again.size() > 8_000_000
    again.close()
