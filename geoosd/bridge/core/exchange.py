"""One request and its answer as seen on the wire: upstream bytes in, messages for the map out.

Both ways through the bridge end here: geoos's own ``Prompt`` (:mod:`..adapters.upstream`) and the
tap of the proxy (:mod:`..adapters.proxy`). Whatever an upstream sends, nothing is raised: what
cannot be read is counted in ``errors`` and noted, and the session still ends.

The caller's duties, in this order::

    exchange = Exchange(session, model=..., upstream=..., dialect="chat", since=wall_clock)
    publish(exchange.started(now))                         # SessionStarted
    publish(exchange.queued(position, now))                # where it waits; any number of times
    publish(exchange.answered(status, content_type, now))  # the head of the answer
    publish(exchange.receive(data, now))                   # the body without its chunked framing
    publish(exchange.finish(now, error))                   # always, when it is over; idempotent

*now* is one monotonic clock in seconds, of which only differences are used.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from geoosd.bridge.core import chunks
from geoosd.bridge.core.dialects import Decode, Dialect, dialect_of, reading_of
from geoosd.bridge.core.inflate import CannotInflate, Inflate, inflating
from geoosd.bridge.core.ndjson import NDJSONParser
from geoosd.bridge.core.pieces import Chunk
from geoosd.bridge.core.sse import SSEParser
from geoosd.bridge.core.tokens import TokenStream
from geoosd.errors import MessageError, SSETooLarge
from geoosd.wire import reports
from geoosd.wire.messages import (
    Payload,
    Phase,
    SessionEnded,
    SessionProgress,
    SessionStarted,
    Usage,
)

__all__ = ["MAX_ANSWER", "MAX_CHOICES", "MAX_ERROR_BODY", "Dialect", "Exchange", "dialect_of"]

MAX_ANSWER: Final = 16 << 20
"""Bytes kept of an answer that is not a stream; a longer one is not read."""

MAX_ERROR_BODY: Final = 64 << 10
MAX_CHOICES: Final = 128
_MAX_NAME: Final = 256
_MAX_COUNT: Final = 1 << 53

_Reading: TypeAlias = Literal["nothing", "events", "lines", "whole", "error"]


class Exchange:
    """The life of one request. ``since`` is wall-clock seconds, for the request table alone;
    *replay_of* is the session whose answer is given again.

    ``tokens`` counts the token messages made, ``errors`` what could not be read of the answer and
    ``error`` is the upstream's own error, where it reported one.
    """

    def __init__(
        self,
        session: str,
        *,
        model: str | None,
        upstream: str | None,
        dialect: Dialect,
        choices: int = 1,
        since: float = 0.0,
        replay_of: str | None = None,
    ) -> None:
        self.session = session
        self.replay_of = replay_of
        self.model = model[:_MAX_NAME] if model else None
        self.upstream = upstream
        self.tokens = 0
        self.errors = 0
        self.error: str | None = None
        self.ended = False
        self._dialect: Dialect = dialect
        self._choices = choices
        self._since = since
        self._phase: Phase = "queued"
        self._position: int | None = None
        self._told_upstream: str | None = None
        self._progress: tuple[int, int] | None = None
        self._reading: _Reading = "nothing"
        self._status = 0
        self._decode: Decode = chunks.decode
        self._parser = SSEParser()
        self._lines = NDJSONParser()
        self._body = bytearray()
        self._inflate: Inflate | None = None
        self._streams: dict[int, TokenStream] = {}
        self._finished: dict[int, str] = {}
        self._usage: Usage | None = None
        self._made = 0
        self._speed: float | None = None
        self._predicted: dict[int, int] = {}
        self._done = False
        self._began: float | None = None
        self._first_token: float | None = None
        self._last_token: float | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the answer has ended, was understood to its end, and was no error."""
        whole = self._done or bool(self._finished)
        return self.ended and whole and self.error is None and not self.errors

    @property
    def is_told(self) -> bool:
        """Whether the answer has said that it is at its end: what may follow is figures and
        framing, for which not every client waits."""
        asked = max(self._choices, len(self._streams))
        return self.error is None and (self._done or len(self._finished) >= asked)

    @property
    def has_answer(self) -> bool:
        """Whether the head of an answer has come: then no other upstream may be asked."""
        return self._status != 0

    @property
    def status(self) -> int:
        """The status of the answer; 0 before it has come."""
        return self._status

    # -- what happens to it, in order --------------------------------------------------------------

    def started(self, now: float) -> list[Payload]:
        """The request was accepted."""
        self._began = now
        self._told_upstream = self.upstream
        return [
            SessionStarted(
                self.session, self.model, self.upstream, self._choices, replay_of=self.replay_of
            )
        ]

    def queued(self, position: int, now: float) -> list[Payload]:
        """It waits for its upstream; *position* 0 is next."""
        self._position = position
        return [self._tell("queued", position=position)]

    def sent(self) -> None:
        """Its turn has come: it waits for the answer, and for nobody else."""
        self._position = None

    def answered(
        self,
        status: int,
        content_type: str,
        now: float,
        *,
        content_encoding: str | None = None,
    ) -> list[Payload]:
        """The head of the answer has come: it says how the body is to be read."""
        self._status = status
        self._position = None
        encoding = (content_encoding or "identity").strip().lower()
        self._inflate = inflating(encoding)
        if self._inflate is None and encoding != "identity":
            self.errors += 1  # cannot be read here; the client still gets it whole
            return self._prefill(None)
        if status >= 400:
            self._reading = "error"
            return [] if self.upstream == self._told_upstream else [self._tell(self._phase)]
        reading = reading_of(self._dialect, content_type)
        if reading is not None:
            self._reading, self._decode = reading
        return self._prefill(None)

    def receive(self, data: bytes, now: float) -> list[Payload]:
        """The next bytes of the body, cut anywhere."""
        if not self._reads():
            return []
        if self._inflate is None:
            return self._read(data, now)
        payloads: list[Payload] = []
        try:
            for plain in self._inflate(data):
                payloads += self._read(plain, now)
                if not self._reads():
                    break
        except CannotInflate:
            self._give_up()
        return payloads

    def finish(self, now: float, error: str | None = None) -> list[Payload]:
        """The answer is over; *error* says why if it was cut off. Only the first call counts."""
        if self.ended:
            return []
        payloads: list[Payload] = []
        if self._reading == "lines":
            self._decoded(self._lines.finish(), "message", now, payloads)
        if self._reading == "whole":
            payloads = self._whole_answer(now)
        elif self._reading == "error":
            said = chunks.error_of(bytes(self._body))
            self.error = f"the upstream answered {self._status}" + (f": {said}" if said else "")
        elif self._reading in ("events", "lines") and not (
            self._done or self._finished or self.error
        ):
            self.error = "the answer broke off"
        self.ended = True
        self._reading = "nothing"
        self._body.clear()
        reason = self._finished[min(self._finished)] if self._finished else None
        first, began = self._first_token, self._began
        ended = SessionEnded(
            self.session,
            finish_reason=reason[:_MAX_NAME] if reason else None,
            usage=self._usage,
            time_to_first_token=(
                max(0.0, first - began)
                if first is not None and began is not None and self.replay_of is None
                else None
            ),
            tokens_per_second=self._tokens_per_second(),
            error=_shortened(error or self.error),
        )
        payloads.append(ended)
        return payloads

    def request_row(self, now: float) -> reports.Request:
        """The line of the request table."""
        processed, total = self._progress or (None, None)
        return reports.Request(
            session=self.session,
            model=self.model,
            upstream=self.upstream,
            phase="ended" if self.ended else self._phase,
            position=self._position,
            processed=processed,
            total=total,
            tokens=self.tokens,
            tokens_per_second=self._tokens_per_second(),
            since=self._since,
        )

    # -- the body ----------------------------------------------------------------------------------

    def _reads(self) -> bool:
        """Whether what comes of the body is looked at."""
        return not self.ended and self._reading != "nothing"

    def _read(self, data: bytes, now: float) -> list[Payload]:
        if self._reading == "events":
            return self._events(data, now)
        if self._reading == "lines":
            return self._take_lines(data, now)
        limit = MAX_ANSWER if self._reading == "whole" else MAX_ERROR_BODY
        if len(self._body) + len(data) <= limit:
            self._body += data
        elif self._reading == "whole":
            self._give_up()
        return []

    def _events(self, data: bytes, now: float) -> list[Payload]:
        payloads: list[Payload] = []
        if (event := self._parser.whole(data)) is not None:
            self._decoded(event, "message", now, payloads)
            return payloads
        try:
            events = self._parser.receive(data)
        except SSETooLarge:
            self._give_up()
            return payloads
        for event, kind, _ in events:
            self._decoded(event, kind, now, payloads)
        return payloads

    def _take_lines(self, data: bytes, now: float) -> list[Payload]:
        try:
            lines = self._lines.receive(data)
        except SSETooLarge:
            self._give_up()
            return []
        payloads: list[Payload] = []
        for line in lines:
            self._decoded(line, "message", now, payloads)
        return payloads

    def _decoded(self, data: bytes, kind: str, now: float, payloads: list[Payload]) -> None:
        """Read one event, line or whole answer, and take what it says."""
        try:
            chunk = self._decode(data, kind)
        except MessageError:
            self.errors += 1
            return
        if chunk is not None:
            self._take(chunk, now, payloads)

    def _whole_answer(self, now: float) -> list[Payload]:
        payloads: list[Payload] = []
        self._decoded(bytes(self._body), "message", now, payloads)
        # All tokens came at once: the answer tells nothing of their times.
        self._first_token = self._last_token = None
        return payloads

    def _give_up(self) -> None:
        """Read no further; the traffic itself goes on."""
        self.errors += 1
        self.error = self.error or "the answer could not be read to its end"
        self._reading = "nothing"
        self._body.clear()

    # -- one chunk ---------------------------------------------------------------------------------

    def _take(self, chunk: Chunk, now: float, payloads: list[Payload]) -> None:
        if chunk.model and chunk.model != self.model:
            # The server knows best what it runs, and places depend on it.
            self.model = chunk.model[:_MAX_NAME]
        if chunk.partial:
            self.errors += 1
        if chunk.loading is not None:
            payloads += self._loading(chunk.loading)
        if chunk.progress is not None:
            payloads += self._prefill(chunk.progress)
        if chunk.pieces:
            self._take_pieces(chunk, now, payloads)
        self._take_counts(chunk)
        if chunk.finished:
            self._finished.update(chunk.finished)
        if chunk.error is not None:
            self.error = self.error or chunk.error
        self._done = self._done or chunk.done

    def _take_counts(self, chunk: Chunk) -> None:
        if (timings := chunk.timings) is not None:
            if timings.predicted is not None:
                self._predicted[chunk.choice] = timings.predicted
            if timings.speed is not None and timings.speed > 0.0:
                self._speed = timings.speed
        if chunk.usage is not None:
            alone = not chunk.pieces and not chunk.finished
            self._add_usage(self._of_all(chunk.usage) if alone else chunk.usage)

    def _take_pieces(self, chunk: Chunk, now: float, payloads: list[Payload]) -> None:
        if self._phase != "generating":
            self._phase = "generating"
            payloads.append(self._tell("generating"))
        if self._first_token is None:
            self._first_token = now
        self._last_token = now
        pieces = chunk.pieces
        predicted = chunk.timings.predicted if chunk.timings is not None else None
        before = self._predicted.get(chunk.choice, 0)
        if predicted is not None and predicted - before > len(pieces):
            # The server made more tokens than it shows: what it tells is of the last one only.
            for piece in pieces:
                piece.exact = False
        touched: dict[int, TokenStream] = {}
        for piece in pieces:
            stream = self._streams.get(piece.choice)
            if stream is None:
                if len(self._streams) >= MAX_CHOICES:
                    self.errors += 1
                    continue
                stream = self._streams[piece.choice] = TokenStream(self.session, piece.choice)
            messages = stream.tokens(piece, self.model)
            self.tokens += len(messages)
            payloads += messages
            touched[piece.choice] = stream
        for stream in touched.values():
            state = stream.state()
            if state is not None:
                payloads.append(state)

    def _loading(self, loading: tuple[int, int]) -> list[Payload]:
        """The server loads the model first: the request waits for that."""
        if self._phase == "generating":
            return []
        self._phase = "queued"
        self._progress = loading
        return [self._tell("queued", progress=loading)]

    def _prefill(self, progress: tuple[int, int] | None) -> list[Payload]:
        if self._phase == "generating" or (progress is not None and progress == self._progress):
            return []
        self._phase = "prefill"
        self._progress = progress
        return [self._tell("prefill", progress=progress)]

    def _tell(
        self,
        phase: Phase,
        *,
        position: int | None = None,
        progress: tuple[int, int] | None = None,
    ) -> SessionProgress:
        """Where the session is; with its upstream, if another took over since that was said."""
        moved = self.upstream != self._told_upstream
        self._told_upstream = self.upstream
        processed, total = progress or (None, None)
        upstream = self.upstream if moved else None
        return SessionProgress(self.session, phase, position, processed, total, upstream)

    def _of_all(self, usage: Usage) -> Usage:
        """The usage of all choices: llama.cpp tells each one's in a chunk of nothing else."""
        prompt, made = usage.prompt_tokens, usage.completion_tokens
        if made is None or len(self._streams) < 2:
            return usage
        self._made = min(self._made + made, _MAX_COUNT)
        total = None if usage.total_tokens is None else self._made + min(prompt or 0, _MAX_COUNT)
        return Usage(prompt, self._made, total)

    def _add_usage(self, usage: Usage) -> None:
        """Keep the largest counts: some servers send usage with every chunk, or once a choice."""
        old = self._usage
        if old is None:
            self._usage = usage
            return
        self._usage = Usage(
            _larger(old.prompt_tokens, usage.prompt_tokens),
            _larger(old.completion_tokens, usage.completion_tokens),
            _larger(old.total_tokens, usage.total_tokens),
        )

    def _tokens_per_second(self) -> float | None:
        """As the server measured it, else from the arrival of its tokens; None before the
        second."""
        if self._speed is not None:
            return self._speed
        first, last = self._first_token, self._last_token
        if first is None or last is None or last <= first or self.replay_of is not None:
            return None
        completion = self._usage.completion_tokens if self._usage is not None else None
        return max(0, (completion or self.tokens) - 1) / (last - first)


def _larger(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _shortened(error: str | None) -> str | None:
    return error[:1024] if error is not None else None
