"""Sessions in the database: writing batches, listing, reading, deleting (:mod:`.store`)."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from geoosd.bridge.adapters.store import Store
from geoosd.bridge.core.recording import Batch, Line, SessionRecord
from geoosd.bridge.core.replay import kind_of
from geoosd.wire.sessions import Recorded, Session, Timed, Turn

PART: Final = 1000
"""Messages in one part of a session, unless fewer are asked for."""

MAX_PART_BYTES: Final = 4 << 20
"""Of messages in one part: a Varlink reply holds 16 MiB."""

_COLUMNS: Final = (
    "id, model, upstream, path, dialect, choices, started, ended, duration, time_to_first_token, "
    "tokens_per_second, tokens, prompt_tokens, completion_tokens, total_tokens, finish_reason, "
    "error, record, messages, lost, provenance"
)
_OPEN: Final = """
    INSERT INTO session (id, model, upstream, path, dialect, choices, record, started, prompt,
      system, turns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET id = id RETURNING number
"""
_CLOSE: Final = f"""
    UPDATE session SET {", ".join(f"{name} = ?" for name in Line._fields)},
      provenance = ?, messages = ?, lost = ?
    WHERE number = ?
"""
_encoder = msgspec.json.Encoder()


class SessionQuery(Struct, forbid_unknown_fields=True):
    """Parameters of ``ListSessions``: the newest *limit* sessions, or those before number *before*,
    of *model*, that began at *since* (seconds since the epoch) or later."""

    model: str | None = None
    since: float | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    before: Annotated[int, Meta(ge=0)] | None = None


def write(store: Store, batch: Batch) -> None:
    """Write a batch in one transaction; sessions learn their numbers."""
    with store.transaction() as connection:
        for record in batch.opened:
            (record.number,) = connection.execute(_OPEN, _opening(record)).fetchone()
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?)",
            (
                (
                    record.number,
                    ordinal,
                    round(after, 6),
                    kind_of(payload),
                    _encoder.encode(payload).decode(),
                )
                for record, ordinal, after, payload in batch.said
                if record.full
            ),
        )
        connection.executemany(_CLOSE, [_closing(record) for record in batch.closed])


def _opening(record: SessionRecord) -> tuple[Any, ...]:
    return (
        record.id,
        record.model,
        record.upstream,
        record.path,
        record.dialect,
        record.choices,
        "full" if record.full else "metadata",
        record.started,
        record.prompt,
        record.system,
        _encoder.encode(record.turns).decode() if record.turns else None,
    )


def _closing(record: SessionRecord) -> tuple[Any, ...]:
    provenance = _encoder.encode(record.provenance).decode()
    messages = record.messages if record.full else 0
    return (*(record.line or ()), provenance, messages, record.lost, record.number)


def list_sessions(store: Store, query: SessionQuery) -> tuple[list[Session], int | None]:
    """The newest first, and where to go on: the number to give as ``before``, or None."""
    limit = 100 if query.limit is None else query.limit
    where, values = ["TRUE"], list[Any]()
    for condition, value in (
        ("model = ?", query.model),
        ("started >= ?", query.since),
        ("number < ?", query.before),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    with store.reading() as connection:
        rows = connection.execute(
            f"SELECT number, {_COLUMNS} FROM session WHERE {' AND '.join(where)} "
            "ORDER BY number DESC LIMIT ?",
            (*values, limit + 1),
        ).fetchall()
    more = rows[limit - 1][0] if len(rows) > limit else None
    return [_session(row[1:]) for row in rows[:limit]], more


def find(store: Store, session: str) -> Session | None:
    """One session's line."""
    with store.reading() as connection:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM session WHERE id = ?", (session,)
        ).fetchone()
    return _session(row) if row else None


def read(store: Store, session: str, *, after: int = 0, limit: int = PART) -> Recorded | None:
    """A session with up to *limit* of its messages from number *after* on; their payloads are
    msgspec.Raw."""
    with store.reading() as connection:
        row = connection.execute(
            f"SELECT number, prompt, system, turns, {_COLUMNS} FROM session WHERE id = ?",
            (session,),
        ).fetchone()
        if row is None:
            return None
        number, prompt, system, turns, *rest = row
        said = msgspec.json.decode(turns, type=list[Turn]) if turns else []
        part = Recorded(_session(tuple(rest)), [], prompt, system, said)
        size = 0
        for ordinal, seconds, kind, body in connection.execute(
            "SELECT ordinal, after, kind, body FROM message WHERE session = ? AND ordinal >= ? "
            "ORDER BY ordinal",
            (number, after),
        ):
            if len(part.messages) == limit or size > MAX_PART_BYTES:
                part.next = ordinal
                break
            size += len(body)
            part.messages.append(Timed(seconds, kind, msgspec.Raw(body.encode())))
    return part


def delete(store: Store, session: str) -> bool:
    """Delete a session, its messages and its feedback from the disk; False where there is none."""
    with store.transaction(durable=True) as connection:
        connection.execute(
            "DELETE FROM message WHERE session = (SELECT number FROM session WHERE id = ?)",
            (session,),
        )
        found = connection.execute("DELETE FROM session WHERE id = ?", (session,)).rowcount
        found += connection.execute("DELETE FROM feedback WHERE session = ?", (session,)).rowcount
    if found:
        store.empty_wal()
    return bool(found)


def _session(row: tuple[Any, ...]) -> Session:
    *values, provenance = row
    names = [name.strip() for name in _COLUMNS.split(",")][:-1]
    session = Session(**dict(zip(names, values, strict=True)))
    session.provenance = msgspec.json.decode(provenance, type=dict[str, str])
    if session.ended is None:
        session.state = "interrupted" if session.error else "running"
    return session
