"""What is recorded of sessions, on its way to the disk: a bounded queue that is emptied in batches.

``record = "metadata"`` keeps one line a session and never a text or a token id; ``"full"`` also
every message, with its time, for replay. The caller's duties, in this order::

    recording.open(session, ..., now=monotonic, wall=seconds_since_the_epoch)
    recording.take(session, payloads, now)      # what was published of that session
    recording.close(session, ended, ...)        # once
    batch = recording.batch()                   # to be written in one transaction
    recording.written(batch) or recording.failed(batch)

When the queue is full, messages are refused and counted in their session as ``lost``; so are the
words of a request where those of the requests before it wait already. When the
disk refuses (:meth:`Recording.failed`), messages are given up, sessions' lines are kept and tried
again, and nothing else is taken until something was written. The writer is
:mod:`..adapters.recorder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from geoosd.wire.messages import (
    NeuralStateUpdate,
    Payload,
    Provenance,
    SessionEnded,
    SessionProgress,
    TokenVisualizationUpdate,
)
from geoosd.wire.sessions import Turn

Mode: TypeAlias = Literal["off", "metadata", "full"]

CAPACITY: Final = 8192
"""Messages that may wait: the tokens of 64 busy streams for over two seconds."""

MAX_PROMPT: Final = 1 << 18
"""Characters kept of a prompt of geoos's own; bytes of a proxied request of which the words are
kept."""

MAX_WORDS: Final = 1 << 25
"""Characters of requests that may wait for the disk together: 128 of the longest prompts."""

_KEPT: Final = (TokenVisualizationUpdate, NeuralStateUpdate, SessionProgress)
_RANK: Final[Mapping[Provenance, int]] = {"measured": 0, "derived": 1, "assumed": 2, "absent": 3}
_PLAIN_REASON: Final = re.compile(r"[a-z][a-z_]{0,31}\Z")
_STATUS: Final = re.compile(r"the upstream answered (\d{3})\b")
_CODES: Final = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (r"the client went away", "client_gone"),
        (r"the bridge stopped", "bridge_stopped"),
        (r"the answer broke off|the upstream broke off", "broke_off"),
        (r"the answer could not be read", "unreadable"),
        (r"took too long|no answer within", "upstream_timeout"),
        (r"cannot (?:ask|connect|find|reach|read)\b|no upstream\b", "upstream_unavailable"),
    )
)


class Line(NamedTuple):
    """How a session ended, as its line says it; codes and figures, no text of anybody's."""

    model: str | None
    upstream: str | None
    ended: float
    duration: float
    time_to_first_token: float | None
    tokens_per_second: float | None
    tokens: int
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    finish_reason: str | None
    error: str | None


class SessionRecord:
    """One session while it is recorded. ``number`` is the writer's name for it; ``line`` is there
    once it has ended."""

    __slots__ = (
        "began",
        "choices",
        "dialect",
        "full",
        "id",
        "line",
        "lost",
        "messages",
        "model",
        "number",
        "path",
        "prompt",
        "provenance",
        "seen",
        "started",
        "system",
        "turns",
        "upstream",
    )

    def __init__(
        self,
        session: str,
        *,
        model: str | None,
        upstream: str | None,
        dialect: str,
        path: str,
        choices: int,
        full: bool,
        began: float,
        started: float,
    ) -> None:
        self.id = session
        self.model = model
        self.upstream = upstream
        self.dialect = dialect
        self.path = path
        self.choices = choices
        self.full = full
        self.began = began
        self.started = started
        self.prompt: str | None = None
        self.system: str | None = None
        self.turns: tuple[Turn, ...] = ()
        self.messages = 0
        self.lost = 0
        self.number: int | None = None
        self.line: Line | None = None
        self.provenance: dict[str, Provenance] = {}
        self.seen: dict[str, Provenance] | None = None

    @property
    def words(self) -> int:
        """Characters that it holds of what was asked."""
        said = sum(len(turn.text) for turn in self.turns)
        return len(self.prompt or "") + len(self.system or "") + said

    def let_go(self) -> None:
        """Hold nothing of what was asked any longer."""
        self.prompt = self.system = None
        self.turns = ()

    def merge(self, provenance: dict[str, Provenance]) -> None:
        """Take another token's provenance: the weakest of each field stays."""
        self.seen = provenance
        for field, how in provenance.items():
            known = self.provenance.get(field, "measured")
            self.provenance[field] = max(known, how, key=_RANK.__getitem__)


Said: TypeAlias = tuple[SessionRecord, int, float, Payload]
"""A message: its session, its number there, seconds since the session began, and itself."""


class Batch(NamedTuple):
    """What one transaction writes, in this order."""

    opened: list[SessionRecord]
    said: list[Said]
    closed: list[SessionRecord]


class Statistics(NamedTuple):
    """``depth`` things wait; ``refused`` messages and sessions were not recorded in all."""

    depth: int
    capacity: int
    refused: int


class Recording:
    """The queue. *capacity* bounds the messages, and apart from them the sessions, that wait."""

    def __init__(self, mode: Mode, capacity: int = CAPACITY) -> None:
        self._mode: Mode = mode
        self._capacity = capacity
        self._live: dict[str, SessionRecord] = {}
        self._opened: list[SessionRecord] = []
        self._said: list[Said] = []
        self._closed: list[SessionRecord] = []
        self._refused = 0
        self._words = 0
        self._halted = False

    @property
    def waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._opened or self._said or self._closed)

    @property
    def halted(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._halted

    def set_mode(self, mode: Mode) -> None:
        """Record this much from now on: less at once, more from the next session on."""
        if mode != "full":
            for record in (*self._live.values(), *self._opened, *self._closed):
                self._forget(record)
            self._said.clear()
        self._mode = mode

    def open(
        self,
        session: str,
        *,
        model: str | None,
        upstream: str | None,
        dialect: str,
        path: str,
        choices: int,
        now: float,
        wall: float,
    ) -> None:
        """A session begins. *wall* is seconds since the epoch, *now* the caller's clock."""
        if self._mode == "off":
            return
        if len(self._opened) + len(self._closed) >= self._capacity:
            self._refused += 1
            return
        record = SessionRecord(
            session,
            model=model,
            upstream=upstream,
            dialect=dialect,
            path=path,
            choices=choices,
            full=self._mode == "full",
            began=now,
            started=wall,
        )
        self._live[session] = record
        self._opened.append(record)

    def prompt(
        self, session: str, prompt: str | None, system: str | None, turns: tuple[Turn, ...] = ()
    ) -> None:
        """What was asked, once and right after :meth:`open`, and what was said before it; kept in
        ``full`` alone."""
        record = self._live.get(session)
        if record is None or not record.full:
            return
        record.prompt = prompt[:MAX_PROMPT] if prompt else None
        record.system = system[:MAX_PROMPT] if system else None
        record.turns = turns
        if self._words + record.words > MAX_WORDS:
            record.let_go()
            record.lost += 1
            self._refused += 1
        self._words += record.words

    def take(self, session: str | None, payloads: list[Payload], now: float) -> bool:
        """What was published of *session*; whether there is something new to write."""
        record = self._live.get(session) if session is not None else None
        if record is None:
            return False
        for payload in payloads:
            if type(payload) is TokenVisualizationUpdate and payload.provenance != record.seen:
                record.merge(payload.provenance or {})
        if not record.full:
            return False
        after = now - record.began
        said, room = self._said, 0 if self._halted else self._capacity - len(self._said)
        for payload in payloads:
            if not isinstance(payload, _KEPT):
                continue
            if room <= 0:
                record.lost += 1
                self._refused += 1
                continue
            said.append((record, record.messages, after, payload))
            record.messages += 1
            room -= 1
        return bool(said)

    def close(
        self,
        session: str,
        ended: SessionEnded,
        *,
        model: str | None,
        upstream: str | None,
        tokens: int,
        now: float,
    ) -> None:
        """A session is over. *tokens* came as messages, which may be fewer than the server made: a
        whole answer without log-probabilities is one."""
        record = self._live.pop(session, None)
        if record is None:
            return
        usage = ended.usage
        duration = max(0.0, now - record.began)
        record.line = Line(
            model=model,
            upstream=upstream,
            ended=record.started + duration,
            duration=duration,
            time_to_first_token=ended.time_to_first_token,
            tokens_per_second=ended.tokens_per_second,
            tokens=max(tokens, (usage.completion_tokens or 0) if usage else 0),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            total_tokens=usage.total_tokens if usage else None,
            finish_reason=finish_code(ended.finish_reason),
            error=error_code(ended.error),
        )
        self._closed.append(record)

    def batch(self) -> Batch:
        """Everything that waits; it is the caller's now."""
        batch = Batch(self._opened, self._said, self._closed)
        self._opened, self._said, self._closed = [], [], []
        return batch

    def written(self, batch: Batch) -> None:
        """*batch* is safe."""
        self._halted = False
        for record in batch.opened:
            self._let_go(record)

    def failed(self, batch: Batch, *, anew: bool = False) -> None:
        """*batch* could not be written: keep the sessions' lines, give up the messages.

        *anew*: the place of all that was written before is gone too (:meth:`abandon`), so that only
        sessions which have begun and ended in *batch* can be kept.
        """
        self._halted = True
        for record, *_ in (*batch.said, *self._said):
            record.lost += 1
            record.messages -= 1
            self._refused += 1
        self._said.clear()
        if self._mode != "full":
            for record in (*batch.opened, *batch.closed):
                self._forget(record)
        opened, closed = batch.opened, batch.closed
        if anew:
            opened = closed = [record for record in batch.opened if record.line is not None]
            self._refused += len(batch.closed) - len(closed)
            for record in batch.opened:
                if record.line is None:
                    self._let_go(record)
        self._opened[:0] = opened
        self._closed[:0] = closed

    def abandon(self) -> None:
        """The place of all that was written is gone: what runs is not recorded to its end."""
        self._refused += len(self._live)
        self._live.clear()
        for record in self.batch().opened:
            self._let_go(record)

    def statistics(self) -> Statistics:
        """A copy of the counters."""
        depth = len(self._opened) + len(self._said) + len(self._closed)
        return Statistics(depth, self._capacity, self._refused)

    def _let_go(self, record: SessionRecord) -> None:
        """Hold nothing of what was asked in it."""
        self._words -= record.words
        record.let_go()

    def _forget(self, record: SessionRecord) -> None:
        """Keep no text of it from now on."""
        record.full = False
        self._let_go(record)


def finish_code(reason: str | None) -> str | None:
    """A finish reason that is a plain word; ``other`` for anything else a server may say."""
    if reason is None or _PLAIN_REASON.match(reason):
        return reason
    return "other"


def error_code(error: str | None) -> str | None:
    """A code for an error's words, which may quote the prompt: the words are never kept."""
    if error is None:
        return None
    if status := _STATUS.match(error):
        return f"http_{status[1]}"
    return next((code for said, code in _CODES if said.search(error)), "upstream_error")
