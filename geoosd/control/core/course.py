"""Health over time: what comes and goes is held, and what was is remembered.

A check that goes bad counts at once. One that was bad :data:`FLAPS` times within
:data:`FLAP_SECONDS` is believed to be well again only after :data:`CALM_SECONDS` of calm, so that
whoever looks in between sees it, and nobody is told of every turn.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from geoosd.wire.reports import SEVERITY, Check, Verdict

FLAPS: Final = 3
FLAP_SECONDS: Final = 300.0
CALM_SECONDS: Final = 30.0
MAX_HISTORY: Final = 100
_MAX_CHECKS: Final = 1000
_BAD: Final = SEVERITY["warning"]
_NUMBER: Final = re.compile(r"[0-9][0-9.,]*")


class Past(Struct, frozen=True):
    """Health as it was from ``at`` (seconds since the epoch) on."""

    at: float
    status: Verdict
    root_cause: str | None = None


@dataclass
class _Memory:
    """One check: when it went bad, and its last bad finding with the time it was seen."""

    turns: deque[float] = field(default_factory=lambda: deque[float](maxlen=64))
    bad: bool = False
    last: Check | None = None
    seen: float = 0.0


class Course:
    """Times named ``now`` are of one monotonic clock."""

    def __init__(self) -> None:
        self._checks: dict[str, _Memory] = {}
        self._history: deque[Past] = deque(maxlen=MAX_HISTORY)

    @property
    def history(self) -> list[Past]:
        """The turns of health as a whole, oldest first."""
        return list(self._history)

    def damp(self, name: str, check: Check, now: float) -> Check:
        """The check as it counts: as it is, or as it was while it comes and goes."""
        memory = self._checks.get(name)
        if memory is None:
            if len(self._checks) >= _MAX_CHECKS:
                del self._checks[next(iter(self._checks))]
            memory = self._checks[name] = _Memory()
        bad = SEVERITY[check.status] >= _BAD
        if bad and not memory.bad:
            memory.turns.append(now)
        memory.bad = bad
        while memory.turns and now - memory.turns[0] > FLAP_SECONDS:
            memory.turns.popleft()
        if bad:
            memory.last, memory.seen = check, now
            return check
        last = memory.last
        if last is None or len(memory.turns) < FLAPS or now - memory.seen >= CALM_SECONDS:
            return check
        text = (
            f"comes and goes, {len(memory.turns)} times within {FLAP_SECONDS / 60:.0f} minutes: "
            f"{last.summary}"
        )
        return Check(check.name, last.status, text, last.remedy, last.since)

    def note(self, status: Verdict, root_cause: str | None, at: float) -> bool:
        """Remember how it stands at *at*, wall clock; True if that is another verdict than before.

        Another root cause under the same verdict is a turn, too.
        """
        before = self._history[-1] if self._history else None
        same = before is not None and before.status == status
        if before is not None and same and _gist(before.root_cause) == _gist(root_cause):
            return False
        self._history.append(Past(at, status, root_cause))
        return not same


def _gist(root_cause: str | None) -> str:
    """A root cause without the numbers in it, which change all the time."""
    return _NUMBER.sub("#", root_cause or "")
