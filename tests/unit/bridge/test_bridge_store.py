"""``sessions.db``: what is in it, what is nowhere in it, older, newer, broken and full ones."""

import hashlib
import sqlite3

import pytest

from geoosd.bridge.adapters import store_feedback, store_sessions
from geoosd.bridge.adapters.store import Damaged, Store, read_header, set_aside
from geoosd.bridge.adapters.store_feedback import FeedbackCall, FeedbackQuery
from geoosd.bridge.adapters.store_schema import APPLICATION_ID, STEPS, VERSION
from geoosd.bridge.adapters.store_sessions import SessionQuery
from geoosd.bridge.core.recording import Recording
from geoosd.errors import ConfigError
from geoosd.wire.messages import SessionEnded, TokenVisualizationUpdate, Usage
from geoosd.wire.sessions import Turn

SECRET = "xylophone-quartz"


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "sessions.db")
    yield store
    store.connection.close()


def record(store, session, *, mode="full", words=("a", "b"), model="m", wall=1000.0, error=None):
    recording = Recording(mode)
    recording.open(
        session,
        model=model,
        upstream="u",
        dialect="chat",
        path="/v1/chat/completions",
        choices=1,
        now=0.0,
        wall=wall,
    )
    recording.prompt(session, f"prompt {SECRET}", None, (Turn("user", f"before {SECRET}"),))
    for position, word in enumerate(words):
        token = TokenVisualizationUpdate(
            word, position, token_id=77, session=session, provenance={"token_id": "measured"}
        )
        recording.take(session, [token], 0.1 * position)
    ended = SessionEnded(
        session, "stop", Usage(5, len(words), 5 + len(words)), 0.25, 9.0, error=error
    )
    recording.close(session, ended, model=model, upstream="u", tokens=len(words), now=2.0)
    store_sessions.write(store, recording.batch())


def on_disk(store):
    """Every byte of the database and of what SQLite keeps beside it."""
    path = store.path
    return b"".join(
        each.read_bytes() for each in path.parent.iterdir() if each.name.startswith(path.name)
    )


def test_a_session_is_read_as_it_was(store):
    record(store, "one", words=("Hé", "llo"))
    (session,), more = store_sessions.list_sessions(store, SessionQuery())
    assert more is None
    assert (session.id, session.state, session.tokens, session.messages) == ("one", "ended", 2, 2)
    assert (session.prompt_tokens, session.completion_tokens, session.total_tokens) == (5, 2, 7)
    assert (session.started, session.ended, session.duration) == (1000.0, 1002.0, 2.0)
    assert session.provenance == {"token_id": "measured"}
    part = store_sessions.read(store, "one", limit=1)
    assert part.prompt == f"prompt {SECRET}"
    assert part.turns == [Turn("user", f"before {SECRET}")]
    assert part.next == 1
    rest = store_sessions.read(store, "one", after=1)
    assert rest.next is None
    assert rest.messages[0].after == 0.1
    assert b"llo" in bytes(rest.messages[0].payload)
    assert store_sessions.read(store, "none") is None
    assert store_sessions.find(store, "one") == session
    assert store_sessions.find(store, "none") is None


def test_metadata_has_no_text_and_no_token_id_anywhere(store):
    record(store, "one", mode="metadata", words=(SECRET,), error=f"{SECRET} is forbidden")
    assert SECRET.encode() not in on_disk(store)
    store.close()
    assert SECRET.encode() not in on_disk(store)
    assert b'"token_id":77' not in on_disk(store)
    # and the grep finds it where it is
    full = Store.open(store.path)
    record(full, "two", words=(SECRET,))
    assert SECRET.encode() in on_disk(full)
    full.close()


@pytest.mark.parametrize("how", ["delete", "forget", "retain"])
def test_what_is_deleted_is_nowhere(store, how):
    record(store, "one", words=(SECRET,) * 500)
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert SECRET.encode() in on_disk(store)
    if how == "delete":
        assert store_sessions.delete(store, "one")
        assert not store_sessions.delete(store, "one")
    elif how == "forget":
        assert store.forget_text() == 1
        assert store.forget_text() == 0
        assert store_sessions.find(store, "one").tokens == 500
    else:
        assert store.retain(oldest=2000.0, max_bytes=1 << 30) == 1
    assert SECRET.encode() not in on_disk(store)


def test_lists_are_in_the_order_of_beginning_not_of_the_clock(store):
    for at, session in enumerate(["first", "second", "third"]):
        record(store, session, wall=3000.0 - 1000.0 * at, model="m" if at else "other")
    listed, more = store_sessions.list_sessions(store, SessionQuery(limit=2))
    assert [each.id for each in listed] == ["third", "second"]
    rest, _ = store_sessions.list_sessions(store, SessionQuery(before=more))
    assert [each.id for each in rest] == ["first"]
    assert [e.id for e in store_sessions.list_sessions(store, SessionQuery(since=2500.0))[0]] == [
        "first"
    ]
    of_m, _ = store_sessions.list_sessions(store, SessionQuery(model="m"))
    assert len(of_m) == 2


def test_age_and_size_are_bounded(store):
    for number in range(40):
        record(store, f"s{number}", words=("word" * 50,) * 100, wall=1000.0 + number)
    assert store.retain(oldest=1010.0, max_bytes=1 << 30) == 10
    before = store.size()
    assert store.retain(oldest=0.0, max_bytes=before // 2) > 0
    assert store.size() <= before // 2
    assert store.path.stat().st_size <= before // 2 + 65536
    left, _ = store_sessions.list_sessions(store, SessionQuery())
    assert left[0].id == "s39"
    # nothing is left to delete, and it ends
    store.retain(oldest=0.0, max_bytes=1)
    assert store_sessions.list_sessions(store, SessionQuery())[0] == []


def test_running_sessions_stay_and_a_crash_interrupts_them(store):
    recording = Recording("metadata")
    recording.open(
        "r", model=None, upstream=None, dialect="chat", path="p", choices=1, now=0.0, wall=1.0
    )
    store_sessions.write(store, recording.batch())
    assert store.retain(oldest=1e12, max_bytes=1) == 0
    assert store_sessions.find(store, "r").state == "running"
    store.connection.close()
    again = Store.open(store.path, check=True)
    assert store_sessions.find(again, "r").state == "interrupted"
    again.close()


def test_feedback(store):
    record(store, "one", words=("a", "b", "c"))
    record(store, "two", model="n", error="broken")
    first = store_feedback.add(store, FeedbackCall("one", 4, "good", 1, 2), 5.0)
    assert (first.rating, first.comment, first.success, first.tokens) == (4, "good", True, 3)
    assert (first.prompt, first.response) == (f"prompt {SECRET}", "bc")
    assert first.latency == 0.25
    store_feedback.add(store, FeedbackCall("one", 5), 6.0)
    store_feedback.add(store, FeedbackCall("two", 1), 7.0)
    assert store_feedback.add(store, FeedbackCall("none", 1), 8.0) is None
    found, models, more = store_feedback.list_feedback(store, FeedbackQuery(limit=2))
    assert [each.id for each in found] == [3, 2]
    assert more == 2
    assert [(each.model, each.count, each.rating) for each in models] == [
        ("m", 2, 4.5),
        ("n", 1, 1.0),
    ]
    assert models[0].ratings == [0, 0, 0, 1, 1]
    assert (models[0].success, models[1].success) == (1.0, 0.0)
    rest, models, _ = store_feedback.list_feedback(store, FeedbackQuery(model="m", before=2))
    assert [each.id for each in rest] == [1]
    assert models[0].count == 2
    store.forget_text()
    assert store_feedback.list_feedback(store, FeedbackQuery(session="one"))[0][0].response is None
    store.retain(oldest=1e9, max_bytes=1 << 30)
    assert len(store_feedback.list_feedback(store, FeedbackQuery())[0]) == 3
    assert store_sessions.delete(store, "one")  # its feedback alone is left, and goes
    assert len(store_feedback.list_feedback(store, FeedbackQuery())[0]) == 1


# -- other files -----------------------------------------------------------------------------------


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made_by(path, version, application=APPLICATION_ID):
    connection = sqlite3.connect(path, isolation_level=None)
    for step in STEPS[:version]:
        connection.executescript(step)
    connection.execute(f"PRAGMA application_id={application}")
    connection.execute(f"PRAGMA user_version={version}")
    return connection


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_schema_is_brought_forward(tmp_path, version):
    path = tmp_path / "sessions.db"
    connection = made_by(path, version)
    connection.execute(
        "INSERT INTO session (id, path, dialect, choices, record, started, ended) "
        "VALUES ('old', 'p', 'chat', 1, 'metadata', 1.0, 2.0)"
    )
    connection.close()
    store = Store.open(path)
    assert read_header(path).version == VERSION
    assert store_sessions.find(store, "old").started == 1.0
    assert store_feedback.add(store, FeedbackCall("old", 3), 5.0).rating == 3
    store.close()


def test_a_failed_migration_changes_nothing(tmp_path):
    path = tmp_path / "sessions.db"
    connection = made_by(path, 1)
    connection.execute("CREATE TABLE feedback (in_the_way TEXT)")
    connection.close()
    before = digest(path)
    with pytest.raises(sqlite3.OperationalError):
        Store.open(path)
    assert digest(path) == before


def test_a_newer_schema_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "sessions.db"
    connection = made_by(path, VERSION)
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    before = digest(path)
    with pytest.raises(ConfigError, match="written by a newer geoos"):
        Store.open(path)
    assert digest(path) == before
    assert [each.name for each in tmp_path.iterdir()] == ["sessions.db"]


@pytest.mark.parametrize("content", [b"x" * 4096, b"short", b"SQLite format 3\0"])
def test_what_is_no_database_is_damaged(tmp_path, content):
    path = tmp_path / "sessions.db"
    path.write_bytes(content)
    with pytest.raises(Damaged):
        Store.open(path)


def test_another_programs_database_is_damaged(tmp_path):
    path = tmp_path / "sessions.db"
    made_by(path, 1, application=1).close()
    with pytest.raises(Damaged, match="another program"):
        Store.open(path)


def test_a_broken_page_is_damage_and_is_set_aside(tmp_path):
    path = tmp_path / "sessions.db"
    store = Store.open(path)
    record(store, "one", words=("word" * 100,) * 200)
    store.close()
    data = bytearray(path.read_bytes())
    data[4096 : 4096 * 8] = b"\xff" * (4096 * 7)
    path.write_bytes(data)
    with pytest.raises(Damaged):
        Store.open(path, check=True)
    path.with_name("sessions.db-wal").write_bytes(b"")
    assert set_aside(path).name == "sessions.db.unreadable"
    assert not path.exists()
    assert (tmp_path / "sessions.db.unreadable-wal").exists()


def test_a_full_disk_rolls_back_and_goes_on_later(store):
    record(store, "one")
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        record(store, "two", words=("word" * 100,) * 200)
    assert store_sessions.find(store, "two") is None
    store.connection.execute("PRAGMA max_page_count=1000000")
    record(store, "two")
    assert store_sessions.find(store, "two").messages == 2


def test_the_file_is_private(store):
    assert store.path.stat().st_mode & 0o077 == 0
