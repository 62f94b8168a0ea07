"""What became of the jobs that timers start, from what systemd keeps of their units. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from geoosd.wire.reports import Check

JOBS: Final = {"geoos-backup.service": "backup", "geoos-structure.service": "structure job"}
"""The units, each with a timer, and the names of their checks."""

PROPERTIES: Final = ("Id", "Result", "ExecMainStatus", "ExecMainExitTimestampMonotonic")


def ended(shown: str, monotonic: float) -> Iterator[Check]:
    """A check for each job that has ended since the machine booted, where systemd remembers it: it
    keeps what failed, and what an active timer starts.

    *shown* is what ``systemctl show`` printed: lines ``Key=value``, a blank line between units;
    *monotonic* is now, in seconds of the clock that systemd uses (CLOCK_MONOTONIC).
    """
    for block in shown.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines())
        fields = {key: value for key, _, value in pairs}
        unit, at = fields.get("Id", ""), fields.get("ExecMainExitTimestampMonotonic", "")
        if unit not in JOBS or not at.isdigit() or not int(at):
            continue
        minutes = (monotonic - int(at) / 1e6) / 60
        ago = f"{minutes:.0f} min ago" if minutes < 120 else f"{minutes / 60:.0f} h ago"
        if fields.get("Result") == "success":
            yield Check(JOBS[unit], "healthy", f"done {ago}")
        else:
            text = f"failed {ago} with exit code {fields.get('ExecMainStatus')}"
            yield Check(JOBS[unit], "warning", text, f"journalctl -n 20 -u {unit}")
