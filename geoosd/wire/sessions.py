"""What is kept of sessions, and what people thought of them: the types of ``ListSessions``,
``GetSession`` and ``ListFeedback``.

Shared by the bridge, which keeps them (:mod:`geoosd.bridge.adapters.store`), and geoosctl.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct, field

MAX_COMMENT: Final = 4096
"""Characters of a comment on an answer."""

RATINGS: Final = range(1, 6)
"""From useless to excellent."""


class Session(Struct):
    """One recorded session. Never any text: that is in the messages, with ``record = "full"``.

    ``started`` and ``ended`` are seconds since the epoch and order nothing: lists are in the order
    in which sessions began. ``duration`` and ``time_to_first_token`` are seconds of a clock that
    does not jump. ``error`` is a code such as ``client_gone`` or ``http_400``. ``provenance`` says
    for each field the weakest of its tokens. ``tokens`` were made, as far as the server or its
    answer tells. ``messages`` are kept for replay; ``lost`` could not
    be kept.
    """

    id: str
    model: str | None = None
    upstream: str | None = None
    path: str = ""
    dialect: str = ""
    choices: int = 1
    state: Literal["running", "ended", "interrupted"] = "ended"
    started: float = 0.0
    ended: float | None = None
    duration: float | None = None
    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    tokens: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    record: Literal["metadata", "full"] = "metadata"
    messages: int = 0
    lost: int = 0
    provenance: dict[str, str] = field(default_factory=dict[str, str])


class Timed(Struct):
    """A recorded message; ``after`` is seconds since its session started."""

    after: float
    message_type: str
    payload: Any


class Turn(Struct, frozen=True):
    """Something that was said to a model, or by one, before the prompt; ``role`` is the request's
    own word for who said it."""

    role: str
    text: str


class Recorded(Struct):
    """A session with a part of its messages; ``next`` is where to go on, None at the end.

    ``prompt``, ``system`` and ``turns`` (what was said before the prompt, oldest first) are there
    only where they were recorded.
    """

    session: Session
    messages: list[Timed]
    prompt: str | None = None
    system: str | None = None
    turns: list[Turn] = field(default_factory=list[Turn])
    next: int | None = None


class Feedback(Struct):
    """What somebody thought of a session, or of its tokens ``first`` to ``last``.

    ``rating`` is 1 (useless) to 5 (excellent). ``success``, ``tokens``, ``latency`` (seconds to the
    first token) and ``duration`` are the session's, kept with the feedback. ``prompt`` and
    ``response`` are the recording's, as long as there is one.
    """

    id: int
    session: str
    at: float
    rating: int
    comment: str | None = None
    first: int | None = None
    last: int | None = None
    model: str | None = None
    success: bool = True
    tokens: int = 0
    latency: float | None = None
    duration: float | None = None
    prompt: str | None = None
    response: str | None = None


class ModelFeedback(Struct):
    """All feedback on one model. ``ratings`` counts those of 1 to 5; the rest are means."""

    model: str | None
    count: int
    rating: float
    ratings: list[int]
    success: float
    tokens: float
    latency: float | None = None
