"""One daemon as control found it, and what that says of its process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from geoosd.wire.reports import Check, DaemonHealth, DaemonStatus, Verdict

SLOW: Final = 0.4
"""Seconds from which on an answer is slow; it takes milliseconds otherwise."""


@dataclass(frozen=True)
class Absence:
    """Why a daemon does not answer, and the command that should mend it.

    ``stopped``: somebody wanted it so. That is told, and is no fault.
    """

    reason: str
    remedy: str
    stopped: bool = False


@dataclass(frozen=True)
class Observation:
    """One daemon as control found it: it answered (``status`` and ``health``) or is ``absent``.

    ``restarted_ago`` is seconds since its last restart if that is still news, ``wanted`` whether
    somebody asked for that one, ``restarts`` how many there were that nobody asked for, ``took``
    how many seconds each of its last answers took at least.
    """

    name: str
    status: DaemonStatus | None = None
    health: DaemonHealth | None = None
    absent: Absence | None = None
    restarted_ago: float | None = None
    wanted: bool = False
    restarts: int = 0
    took: float = 0.0


def process(observation: Observation, now: float) -> Check:
    """Control's own check of a daemon: does it answer, and since when."""
    if observation.absent is not None:
        absent = observation.absent
        verdict: Verdict = "warning" if absent.stopped else "critical"
        return Check("process", verdict, absent.reason, absent.remedy, now)
    if observation.restarted_ago is not None and not observation.wanted:
        ago = observation.restarted_ago
        return Check(
            "process",
            "warning",
            f"restarted {ago:.0f} s ago",
            f"geoosctl logs --unit {observation.name}",
            now - ago,
        )
    status, health = observation.status, observation.health
    if status is None or health is None:
        return Check("process", "unknown", "has not been asked yet", None, now)
    if observation.took >= SLOW:
        text = f"is slow: its answers take {observation.took:.1f} s"
        return Check("process", "warning", text, f"top -b -n 1 -H -p {status.pid}", now)
    if status.state == "starting":
        return Check("process", "warning", f"is starting: {status.status}", None, status.since)
    if not health.checks:
        return Check("process", "unknown", "answers, but reports no checks", None, status.since)
    text = f"{status.state}, pid {status.pid}"
    if observation.restarted_ago is not None:
        text += f"; restarted {observation.restarted_ago:.0f} s ago, as was asked"
    return Check("process", "healthy", text, None, status.since)
