"""How much a peer may ask of us: a bucket that fills at a steady rate.

The generic cell rate algorithm (ITU-T I.371): one number says until when what was spent is spent.
"""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """*rate* units a second for ever, *burst* units at once."""

    rate: float
    burst: float


class Allowance:
    """What one peer has left of its pace; all times are of one monotonic clock, in seconds."""

    __slots__ = ("_pace", "_spent_until")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._spent_until = 0.0

    def spend(self, units: float, now: float) -> float:
        """Spend *units*; the seconds until they are earned, 0.0 while within the allowance."""
        rate, burst = self._pace
        self._spent_until = max(self._spent_until, now) + units / rate
        return max(0.0, self._spent_until - now - burst / rate)
