"""Health checks of one daemon: set when something happens, or probed when asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from geoosd.wire.reports import SEVERITY, Check, DaemonHealth, Verdict, worst

Finding: TypeAlias = tuple[Verdict, str, str | None]
"""Verdict, one line of what was found, the remedy (None when healthy)."""


class HealthRegistry:
    """The checks by name. ``since`` of a check is when its verdict last changed."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._probes: dict[str, Callable[[], Finding]] = {}

    def set(self, name: str, verdict: Verdict, summary: str, remedy: str | None = None) -> None:
        """Record what is known of check *name* now."""
        old = self._checks.get(name)
        since = old.since if old is not None and old.status == verdict else self._clock()
        self._checks[name] = Check(name, verdict, summary, remedy, since)

    def add_probe(self, name: str, probe: Callable[[], Finding]) -> None:
        """Have *probe* called, quickly and without blocking, whenever health is asked for."""
        self._probes[name] = probe

    def remove(self, name: str) -> None:
        """Forget a check that no longer applies."""
        self._checks.pop(name, None)
        self._probes.pop(name, None)

    def report(self) -> DaemonHealth:
        """All checks, worst first; ``unknown`` while there are none."""
        for name, probe in self._probes.items():
            self.set(name, *probe())
        checks = sorted(
            self._checks.values(), key=lambda check: (-SEVERITY[check.status], check.name)
        )
        return DaemonHealth(worst([check.status for check in checks]), checks)
