"""How often a change may be told: each at once, until there are too many of them.

A server that comes and goes every second is one fact, not a record a second in the journal.
"""

from __future__ import annotations

from collections import deque


class HoldOff:
    """At most *burst* records within *window* seconds; further changes are held, and counted.

    ``if hold.changed(now): log(...)`` at each change, and from time to time
    ``if n := hold.due(now): log(f"changed {n} times; now it is ...")``.
    """

    def __init__(self, burst: int = 4, window: float = 60.0) -> None:
        self._told: deque[float] = deque(maxlen=burst)
        self._burst = burst
        self._window = window
        self._held = 0

    def changed(self, now: float) -> bool:
        """Something changed; whether to tell it now."""
        if not self._held and self._has_room(now):
            self._told.append(now)
            return True
        self._held += 1
        return False

    def due(self, now: float) -> int:
        """How many held changes are to be told in one record now; 0: none, or not yet."""
        if not self._held or not self._has_room(now):
            return 0
        held, self._held = self._held, 0
        self._told.append(now)
        return held

    def _has_room(self, now: float) -> bool:
        return len(self._told) < self._burst or now - self._told[0] > self._window
