"""What a daemon reports of itself over Varlink: the types of ``io.geoos.Daemon``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

State = Literal["starting", "active", "reloading", "draining"]
Verdict = Literal["healthy", "warning", "critical", "unknown"]
Level = Literal["debug", "info", "warning", "error", "critical"]
QueuePolicy = Literal["drop_oldest", "conflate", "refuse", "wait"]

LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error", "critical")
"""From the most talkative to the most silent."""

SEVERITY: dict[Verdict, int] = {"healthy": 0, "unknown": 1, "warning": 2, "critical": 3}
"""Order of badness: the worst of several verdicts is theirs together."""

UNKNOWN: list[Verdict] = ["unknown"]
"""What is known where nothing was checked."""


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict of several checks together; ``unknown`` when there is none."""
    return max(verdicts or UNKNOWN, key=SEVERITY.__getitem__)


class Queue(Struct):
    """A bounded queue: how full it is, what it does when it is full, what it lost that way."""

    name: str
    depth: int
    capacity: int
    policy: QueuePolicy
    dropped: int = 0


class Link(Struct):
    """A connection to another daemon or server; ``since`` is seconds since the epoch."""

    name: str
    peer: str
    state: Literal["connected", "connecting", "down"]
    since: float
    reconnects: int = 0


class Request(Struct):
    """A request of a model's user, as the bridge sees it."""

    session: str
    model: str | None
    upstream: str | None
    phase: str
    position: int | None = None
    processed: int | None = None
    total: int | None = None
    tokens: int = 0
    tokens_per_second: float | None = None
    since: float = 0.0


class DaemonStatus(Struct):
    """One daemon. ``rates`` are per second; ``since`` is seconds since the epoch."""

    name: str
    state: State
    status: str
    pid: int
    version: str
    since: float
    memory_bytes: int
    addresses: list[str] = field(default_factory=list[str])
    rates: dict[str, float] = field(default_factory=dict[str, float])
    queues: list[Queue] = field(default_factory=list[Queue])
    links: list[Link] = field(default_factory=list[Link])
    requests: list[Request] = field(default_factory=list[Request])
    details: dict[str, str] = field(default_factory=dict[str, str])


class Check(Struct):
    """One health check: what was found and, unless healthy, what to do about it."""

    name: str
    status: Verdict
    summary: str
    remedy: str | None = None
    since: float = 0.0


class DaemonHealth(Struct):
    """All checks of one daemon and their worst verdict."""

    status: Verdict
    checks: list[Check]


class Structure(Struct):
    """The structure score (PAS) of a source tree as of ``at``, seconds since the epoch.

    ``score`` and ``dimensions`` are 0 to 1; docs/health.md has the formula.
    """

    root: str
    status: Verdict
    label: str
    at: float
    score: float | None = None
    dimensions: dict[str, float] = field(default_factory=dict[str, float])
    recommendations: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


class Record(Struct):
    """A structured log record. Text of prompts and tokens is never in it."""

    timestamp: float
    level: Level
    event: str
    daemon: str
    session: str | None = None
    upstream: str | None = None
    error: str | None = None
    fields: dict[str, str] = field(default_factory=dict[str, str])


class LogQuery(Struct, forbid_unknown_fields=True):
    """Parameters of ``GetLogs``."""

    lines: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    level: Level | None = None
    session: str | None = None
    follow: bool | None = None
