"""Structured logs: structlog to the journal's own fields, to JSON lines or to the console.

Every record also enters a ring that ``GetLogs`` streams. Nothing here ever sees the text of a
prompt or of a token: callers do not log it.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, TextIO, TypeAlias, cast

import trio

from geoosd.runtime import journal
from geoosd.wire.reports import LEVELS, Level, Record


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let what is imported meanwhile not find *module*."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


# It would load rich, 4 MB of each daemon, for tracebacks that none shows. The others take Log from
# here, so that nothing loads structlog before.
with _hidden("rich"):
    import structlog
    from structlog.typing import FilteringBoundLogger

Log: TypeAlias = FilteringBoundLogger
"""What a daemon logs to."""

EventDict: TypeAlias = MutableMapping[str, Any]
_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_WELL_KNOWN = {
    "pathname": "CODE_FILE",
    "lineno": "CODE_LINE",
    "func_name": "CODE_FUNC",
    "message_id": "MESSAGE_ID",
    "exception": "GEOOS_EXCEPTION",
}
_OWN_FIELDS = ("session", "upstream", "error")
_HIDDEN = (*_WELL_KNOWN, "level", "event", "timestamp", "daemon", *_OWN_FIELDS)
RING_SIZE = 2000


class LogRing:
    """The newest records of this process, and a wake-up for whoever follows them.

    May be appended to from any thread; followed from one trio loop.
    """

    def __init__(self, size: int = RING_SIZE) -> None:
        self._records: collections.deque[tuple[int, Record]] = collections.deque(maxlen=size)
        self._next = 0
        self._lock = threading.Lock()
        self._loop: trio.lowlevel.TrioToken | None = None
        self._grown = trio.Event()

    def append(self, record: Record) -> None:
        """Keep *record*; the oldest goes when the ring is full."""
        with self._lock:
            self._records.append((self._next, record))
            self._next += 1
            loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.run_sync_soon(self._wake)
            except trio.RunFinishedError:
                return  # the last words of a process whose loop has ended

    def _wake(self) -> None:
        self._grown.set()
        self._grown = trio.Event()

    def newest(self, lines: int, keep: Callable[[Record], bool]) -> tuple[list[Record], int]:
        """At most *lines* of the newest records that *keep* accepts, oldest first, and the position
        from which to follow on without a gap."""
        with self._lock:
            kept = [record for _, record in self._records if keep(record)]
            position = self._next
        return kept[len(kept) - min(lines, len(kept)) :], position

    async def follow(self, position: int) -> AsyncGenerator[Record, None]:
        """Records from *position* on, for ever; what the ring forgot unread is skipped."""
        while True:
            with self._lock:
                fresh = [record for number, record in self._records if number >= position]
                position = self._next
                if not fresh:
                    self._loop = trio.lowlevel.current_trio_token()
                grown = self._grown
            for record in fresh:
                yield record
            if not fresh:
                await grown.wait()


class Threshold:
    """The level below which records are dropped; may be changed while running."""

    def __init__(self, level: Level) -> None:
        self.level: Level = level

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """structlog processor."""
        if LEVELS.index(event["level"]) < LEVELS.index(self.level):
            raise structlog.DropEvent
        return event


class Logs:
    """The logging of one process: its ring, its threshold and the logger to bind from."""

    def __init__(self, daemon: str, level: Level) -> None:
        self.ring = LogRing()
        self.threshold = Threshold(level)
        self._daemon = daemon

    def remember(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """structlog processor: put the record into the ring."""
        own = {key: str(event[key]) for key in _OWN_FIELDS if event.get(key) is not None}
        fields = {
            key: str(value)
            for key, value in event.items()
            if value is not None and key not in _HIDDEN and not key.startswith("_")
        }
        self.ring.append(
            Record(
                timestamp=time.time(),
                level=event["level"],
                event=str(event.get("event", "")),
                daemon=self._daemon,
                fields=fields,
                **cast("dict[str, Any]", own),
            )
        )
        return event

    def logger(self) -> Log:
        """A logger bound to the daemon's name."""
        return cast("Log", structlog.get_logger().bind(daemon=self._daemon))

    def set_level(self, level: Level) -> Level:
        """Change the threshold; returns the previous one."""
        previous, self.threshold.level = self.threshold.level, level
        return previous


def configure(
    daemon: str, level: Level, output: Literal["auto", "json", "console"] = "auto"
) -> Logs:
    """Set up structlog and stdlib logging for this process; called once, by the runtime."""
    logs = Logs(daemon, level)
    to_journal = journal.stderr_is_journal()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        logs.threshold,
        structlog.processors.format_exc_info,
        _without_nothing,
        logs.remember,
    ]
    if to_journal:
        sink = journal.JournalSocket()
        atexit.register(sink.flush)
        render_json = output == "json"
        processors += [_callsite(), _JournalRenderer(f"geoos-{daemon}", render_json)]
        factory: Any = lambda *_: _JournalLogger(sink)  # noqa: E731
    else:
        processors += _json_lines() if output == "json" else [_console()]
        factory = structlog.PrintLoggerFactory(cast("TextIO", Lossy(sys.stderr)))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_LibraryHandler(logs)], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    return logs


class Lossy:
    """A stream for people's eyes. One that takes no more, such as a file on a full disk or a pipe
    that nobody reads any longer, loses what is written: nothing ends for that."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write *text*, or lose it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Let it be seen."""
        with suppress(OSError):
            self._stream.flush()


def _without_nothing(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Leave out what is None: callers may name every field they might know."""
    return {key: value for key, value in event.items() if value is not None}


def _callsite() -> Any:
    parameter = structlog.processors.CallsiteParameter
    return structlog.processors.CallsiteParameterAdder(
        [parameter.PATHNAME, parameter.LINENO, parameter.FUNC_NAME]
    )


def _json_lines() -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(default=str, sort_keys=True),
    ]


def _console() -> Any:
    colors = not os.environ.get("NO_COLOR") and (
        bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()
    )
    renderer = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)

    def render(logger: Any, method: str, event: EventDict) -> Any:
        for key in ("daemon", "message_id"):
            event.pop(key, None)
        return renderer(logger, method, stamp(logger, method, event))

    return render


class _JournalRenderer:
    """Last processor: the record as journal fields."""

    def __init__(self, identifier: str, as_json: bool) -> None:
        self._identifier = identifier
        self._json = _json_lines() if as_json else None

    def __call__(self, logger: Any, method: str, event: EventDict) -> dict[str, Any]:
        known = {key: value for key, value in event.items() if value is not None}
        fields: dict[str, object] = {
            "MESSAGE": self._message(logger, method, dict(known)),
            "PRIORITY": _PRIORITY.get(event["level"], 6),
            "SYSLOG_IDENTIFIER": self._identifier,
        }
        for key, value in known.items():
            if key not in ("level", "timestamp") and not key.startswith("_"):
                fields[_WELL_KNOWN.get(key) or journal.field_name(key)] = value
        return {"fields": fields}

    def _message(self, logger: Any, method: str, event: EventDict) -> str:
        if self._json is not None:
            for key in ("pathname", "lineno", "func_name"):
                event.pop(key, None)
            stamper, render = self._json
            return str(render(logger, method, stamper(logger, method, event)))
        shown = [
            f"{key}={value}"
            for key, value in event.items()
            if key not in _WELL_KNOWN and key not in ("level", "event", "daemon", "timestamp")
        ]
        return " ".join([str(event.get("event", "")), *shown])


class _JournalLogger:
    """What structlog calls with the rendered record."""

    def __init__(self, sink: journal.JournalSocket) -> None:
        self._sink = sink

    def msg(self, fields: dict[str, object]) -> None:
        self._sink.send(fields)

    debug = info = warning = error = critical = msg


class _LibraryHandler(logging.Handler):
    """Records of libraries that use stdlib logging become ours."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        log = self._logs.logger().bind(library=record.name)
        method = getattr(log, level if level in LEVELS else "warning")
        method(record.getMessage(), exc_info=record.exc_info or None)


@contextmanager
def unconfigured(daemon: str, level: Level = "info") -> Iterator[Logs]:
    """Logs for a service that runs inside a test: records enter the ring alone."""
    before = structlog.get_config()
    logs = Logs(daemon, level)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            logs.remember,
            _discard,
        ],
        cache_logger_on_first_use=False,
    )
    try:
        yield logs
    finally:
        structlog.configure(**before)


def _discard(_logger: object, _method: str, _event: EventDict) -> EventDict:
    raise structlog.DropEvent
