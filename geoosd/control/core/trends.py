"""How much counters grew of late: loss and restarts are bad only while they go on."""

from __future__ import annotations

from collections import deque


class Increase:
    """Growth of counters, by name, within the last *window* seconds.

    Times are of one monotonic clock. A counter that falls has begun anew at nothing, as
    Prometheus' ``increase()`` takes it. What was counted before the first look is no growth.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._last: dict[str, float] = {}
        self._grown: dict[str, deque[tuple[float, float]]] = {}

    def take(self, name: str, value: float, now: float) -> float:
        """The counter stands at *value* now; how much it grew within the window."""
        last = self._last.get(name, value)
        self._last[name] = value
        marks = self._grown.setdefault(name, deque())
        grown = value - last if value >= last else value
        if grown:
            marks.append((now, grown))
        while marks and now - marks[0][0] > self._window:
            marks.popleft()
        return sum(amount for _, amount in marks)
