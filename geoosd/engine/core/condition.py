"""The condition of the model server, from what is seen of it: a pure state machine.

The caller reports spawns, answers of ``GET /health`` (llama.cpp, tools/server: 200 ``ok``, 503
while it loads), ends and last lines; :meth:`Condition.finding` is the health check.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from geoosd.wire.reports import Verdict

Phase: TypeAlias = Literal["preparing", "loading", "ready", "silent", "down"]

KEEPS_ENDING: Final = 3
"""Ends in a row, without a good run between them, that make it critical."""
SILENT_AFTER: Final = 3
"""Unanswered probes in a row after which a server that was ready counts as silent."""
GOOD_RUN: Final = 10.0
"""Seconds of readiness after which earlier ends no longer count."""
_OK: Final = 200


class Condition:
    """What is known of the model server. ``since_ready`` and every *now* are monotonic seconds."""

    def __init__(self, model: str, url: str) -> None:
        self.model = model
        self.url = url
        self.phase: Phase = "preparing"
        self.doing = "starting"
        self.ends = 0
        self.total_ends = 0
        self._since_ready: float | None = None
        self._cause = ""
        self._last_line = ""
        self._unanswered = 0

    @property
    def ready(self) -> bool:
        """Whether it answers requests."""
        return self.phase == "ready"

    def preparing(self, what: str) -> None:
        """The model file is being put together; *what* says how far."""
        self.phase, self.doing = "preparing", what

    def spawned(self) -> None:
        """A new process runs; its model is not loaded yet."""
        self.phase, self._since_ready, self._unanswered = "loading", None, 0

    def answered(self, status: int, now: float) -> None:
        """``/health`` answered with HTTP *status*."""
        self._unanswered = 0
        if status != _OK:
            self.phase = "loading"
            return
        self.phase = "ready"
        if self._since_ready is None:
            self._since_ready = now
        if now - self._since_ready >= GOOD_RUN:
            self.ends = 0

    def unanswered(self) -> None:
        """``/health`` did not answer in time."""
        self._unanswered += 1
        if self.phase == "ready" and self._unanswered >= SILENT_AFTER:
            self.phase = "silent"

    def said(self, line: str) -> None:
        """The process wrote a line that is not empty: if it ends now, these are its last words."""
        self._last_line = line

    def ended(self, cause: str) -> None:
        """The process ended by itself; it will be started again."""
        self.phase, self._cause = "down", cause
        self.ends += 1
        self.total_ends += 1

    def finding(self) -> tuple[Verdict, str, str | None]:
        """Verdict, summary and remedy for the health check."""
        if self.phase == "ready":
            return "healthy", f"{self.model} answers on {self.url}", None
        if self.phase == "silent":
            return (
                "critical",
                f"the model server does not answer on {self.url}; it is restarted if that lasts",
                "geoosctl logs --unit engine",
            )
        if self.ends >= KEEPS_ENDING:
            words = f"; it said: {self._last_line}" if self._last_line else ""
            return (
                "critical",
                f"the model server keeps ending: {self._cause}{words}",
                "name another model file by engine.model; then: geoosctl restart engine",
            )
        return "warning", f"model loading: {self._progress()}", "geoosctl health --watch"

    def _progress(self) -> str:
        if self.phase == "preparing":
            return self.doing
        if self.phase == "down":
            return f"the model server {self._cause}"
        return self.model
