"""What the canary tells: a probe that goes the whole data path, with its time at every hop.

The bridge lets one go every :data:`INTERVAL` seconds; compositor, broadcaster and a viewer that the
broadcaster keeps for it each write down when it passed (wall-clock seconds since the epoch). So
health judges the path by what came through it, not by what each daemon thinks of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from geoosd.wire.reports import Verdict

HOPS: Final = ("bridge", "compositor", "broadcaster", "viewer")
"""The way, in order."""

INTERVAL: Final = 2.0
"""Seconds between two canaries."""

PATIENCE: Final = 10.0
"""Seconds without one after which the path counts as broken."""

SLOW: Final = 1.0
"""Seconds from the bridge to the viewer from which on it counts as slow."""

_STEP: Final = -0.05
"""Seconds between two hops below which a clock has been set meanwhile."""


def passed(at: float | None) -> dict[str, str]:
    """The detail of a daemon's status that says when the last canary passed it."""
    return {} if at is None else {"canary": f"{at:.3f}"}


class Journey(NamedTuple):
    """One canary that arrived: ``total`` seconds, and ``legs``, the seconds to each hop."""

    id: str
    total: float
    legs: dict[str, float]

    @property
    def slowest(self) -> str:
        """The hop that it took the longest to reach."""
        return max(self.legs, key=self.legs.__getitem__)

    @property
    def is_sane(self) -> bool:
        """Whether the hops are in order: not if the clock was set on the way."""
        return all(seconds >= _STEP for seconds in self.legs.values())


def journey(id_: str, hops: Mapping[str, float]) -> Journey | None:
    """The way of a canary that has passed all :data:`HOPS`; None for any other."""
    if any(hop not in hops for hop in HOPS):
        return None
    legs = {after: round(hops[after] - hops[before], 6) for before, after in pairwise(HOPS)}
    return Journey(id_, round(hops[HOPS[-1]] - hops[HOPS[0]], 6), legs)


class Watch:
    """Judges the path by the canaries that arrive. Times are of one monotonic clock."""

    def __init__(self) -> None:
        self.last: Journey | None = None
        self._since: float | None = None
        self._at = 0.0

    def opened(self, now: float) -> None:
        """From now on canaries may come."""
        self._since = now

    def closed(self) -> None:
        """The way to us is known to be broken; another check says so."""
        self._since = None

    def arrived(self, canary: Journey, now: float) -> None:
        """One has come through."""
        self.last, self._at = canary, now
        self._since = now

    def silent(self, now: float) -> float:
        """Seconds since the last one, or since the way is open; 0 while it is not."""
        return 0.0 if self._since is None else now - self._since

    def finding(self, now: float) -> tuple[Verdict, str, str | None]:
        """Verdict, what was found, and what to do."""
        silent = self.silent(now)
        if silent > PATIENCE:
            text = f"no canary came through from the bridge for {silent:.0f} s"
            return "critical", text, "geoosctl status"
        if self.last is None:
            return "healthy", "waits for the first canary", None
        if not self.last.is_sane:
            return "warning", "the clock was set while a canary was on its way", "date; timedatectl"
        if self.last.total >= SLOW:
            slowest = self.last.slowest
            text = (
                f"a canary took {self.last.total:.1f} s from the bridge to a viewer, "
                f"{self.last.legs[slowest]:.1f} s of them to the {slowest}"
            )
            return "warning", text, f"geoosctl logs --unit {_DAEMON_OF.get(slowest, slowest)}"
        milliseconds = self.last.total * 1000
        return "healthy", f"bridge to viewer in {milliseconds:.1f} ms", None


_DAEMON_OF: Final = {"viewer": "broadcaster"}
