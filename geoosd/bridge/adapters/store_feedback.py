"""Feedback in the database: what people thought of sessions (:mod:`.store`).

A rating keeps the session's figures, so that it counts after the session has expired. Prompt and
answer are not copied: they are read from the recording as long as there is one.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from geoosd.bridge.adapters.store import Store
from geoosd.wire.messages import TokenVisualizationUpdate
from geoosd.wire.sessions import MAX_COMMENT, RATINGS, Feedback, ModelFeedback

MAX_RESPONSE: Final = 1 << 16
"""Characters of an answer that are shown with its feedback."""

_Position = Annotated[int, Meta(ge=0)]
_COLUMNS: Final = (
    "number, session, at, rating, comment, first, last, model, success, tokens, latency, duration"
)
_TOKEN: Final = TokenVisualizationUpdate.__name__


class FeedbackCall(Struct, forbid_unknown_fields=True):
    """Parameters of ``AddFeedback``: *first* and *last* are token positions, both included."""

    session: str
    rating: Annotated[int, Meta(ge=RATINGS.start, lt=RATINGS.stop)]
    comment: Annotated[str, Meta(max_length=MAX_COMMENT)] | None = None
    first: _Position | None = None
    last: _Position | None = None


class FeedbackQuery(Struct, forbid_unknown_fields=True):
    """Parameters of ``ListFeedback``: the newest *limit*, of *session* or *model*."""

    session: str | None = None
    model: str | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    before: Annotated[int, Meta(ge=0)] | None = None


def add(store: Store, given: FeedbackCall, at: float) -> Feedback | None:
    """Keep a rating, on disk when this returns; None where the session is not recorded."""
    with store.transaction(durable=True) as connection:
        number = connection.execute(
            "INSERT INTO feedback (session, at, rating, comment, first, last, model, success, "
            "tokens, latency, duration) "
            "SELECT id, ?, ?, ?, ?, ?, model, error IS NULL, tokens, time_to_first_token, duration "
            "FROM session WHERE id = ? RETURNING number",
            (at, given.rating, given.comment, given.first, given.last, given.session),
        ).fetchone()
    return _some(store, "number = ?", list(number), 1)[0] if number else None


def list_feedback(
    store: Store, query: FeedbackQuery
) -> tuple[list[Feedback], list[ModelFeedback], int | None]:
    """The newest first; what was said of each model in all; where to go on."""
    limit = 100 if query.limit is None else query.limit
    where, values = ["TRUE"], list[Any]()
    for column, value in (("session", query.session), ("model", query.model)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    models = _models(store, " AND ".join(where), values)
    if query.before is not None:
        where.append("number < ?")
        values.append(query.before)
    found = _some(store, " AND ".join(where), values, limit + 1)
    more = found[limit - 1].id if len(found) > limit else None
    return found[:limit], models, more


def _models(store: Store, where: str, values: list[Any]) -> list[ModelFeedback]:
    counts = ", ".join(f"sum(rating = {rating})" for rating in RATINGS)
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT model, count(*), avg(rating), avg(success), avg(tokens), avg(latency), "
            f"{counts} FROM feedback WHERE {where} "
            "GROUP BY model ORDER BY avg(rating) DESC, count(*) DESC, model",
            values,
        ).fetchall()
    return [
        ModelFeedback(model, count, rating, ratings, success, tokens, latency)
        for model, count, rating, success, tokens, latency, *ratings in rows
    ]


def _some(store: Store, where: str, values: list[Any], limit: int) -> list[Feedback]:
    with store.reading() as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM feedback WHERE {where} ORDER BY number DESC LIMIT ?",
            (*values, limit),
        ).fetchall()
        found = [Feedback(*row) for row in rows]
        for feedback in found:
            feedback.success = bool(feedback.success)
            _add_text(connection, feedback)
    return found


def _add_text(connection: Any, feedback: Feedback) -> None:
    """The prompt, and the answer or the part of it that the feedback is about."""
    row = connection.execute(
        "SELECT number, prompt FROM session WHERE id = ? AND record = 'full'", (feedback.session,)
    ).fetchone()
    if row is None:
        return
    number, feedback.prompt = row
    parts, size = list[str](), 0
    for (body,) in connection.execute(
        "SELECT body FROM message WHERE session = ? AND kind = ? ORDER BY ordinal", (number, _TOKEN)
    ):
        token = msgspec.json.decode(body, type=TokenVisualizationUpdate)
        if token.role in (None, "answer") and not token.choice and _about(feedback, token):
            parts.append(token.current_token)
            size += len(token.current_token)
            if size > MAX_RESPONSE:
                break
    feedback.response = "".join(parts)[:MAX_RESPONSE]


def _about(feedback: Feedback, token: TokenVisualizationUpdate) -> bool:
    position = token.sequence_position
    return (feedback.first or 0) <= position and (
        feedback.last is None or position <= feedback.last
    )
