"""Asking who keeps the daemons running about one that does not answer.

That is systemd (``systemctl show``, which needs no privilege), or ``geoosd up``, which leaves a
note. Where they know nothing, or systemd is slow, nothing is said.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from geoosd.config import SYSTEM_RUNTIME_DIR, Paths
from geoosd.control.core import jobs
from geoosd.control.core.observation import Absence
from geoosd.control.core.remedy import Keeper, Place
from geoosd.control.core.unit import (
    PROPERTIES,
    RESTARTS,
    absence,
    refused,
    unit_of,
    was_asked_for,
)
from geoosd.runtime.health import HealthRegistry

JOBS_INTERVAL = 5.0
"""Seconds between two looks at what timers did."""

_DEADLINE = 0.5
"""Seconds that systemd has to answer."""


def place_of(runtime_dir: Path) -> Place:
    """Who started this process: systemd (systemd.exec(5)), or ``geoosd up`` in the foreground."""
    if os.environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()):
        return Place("foreground", os.getppid())
    return Place("system" if runtime_dir == SYSTEM_RUNTIME_DIR else "user")


async def ask(daemon: str, keeper: Keeper, paths: Paths) -> Absence | None:
    """Why *daemon* is away, where its *keeper* knows."""
    if keeper == "foreground":
        return _noted(paths.last_words(daemon))
    return absence(daemon, await _show(keeper, PROPERTIES, [unit_of(daemon)]))


async def restarted_as_asked(daemon: str, keeper: Keeper) -> bool:
    """Whether somebody asked for the restart of *daemon* that was just seen, as far as is known:
    ``geoosd up`` restarts only what has ended by itself."""
    if keeper == "foreground":
        return False
    return was_asked_for(await _show(keeper, [RESTARTS], [unit_of(daemon)]))


async def look_at_jobs(keeper: Keeper, health: HealthRegistry) -> None:
    """Keep the checks of what timers start up to date; runs until cancelled."""
    while keeper != "foreground":
        shown = await _show(keeper, jobs.PROPERTIES, list(jobs.JOBS))
        found = {check.name: check for check in jobs.ended(shown, time.monotonic())}
        for name in jobs.JOBS.values():
            if (check := found.get(name)) is not None:
                health.set(name, check.status, check.summary, check.remedy)
            else:
                health.remove(name)
        await trio.sleep(JOBS_INTERVAL)


async def _show(keeper: Keeper, properties: Sequence[str], units: Sequence[str]) -> str:
    """What ``systemctl show`` prints; nothing where there is no systemd, or where it is slow."""
    scope = ["--user"] if keeper == "user" else []
    wanted = f"--property={','.join(properties)}"
    with trio.move_on_after(_DEADLINE):
        try:
            done = await trio.run_process(
                ["systemctl", *scope, "--no-pager", "show", wanted, "--", *units],
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        except OSError:
            return ""
        return done.stdout.decode("utf-8", "replace")
    return ""


def _noted(note: Path) -> Absence | None:
    """What ``geoosd up`` says of one that has refused to start; only all of them start anew."""
    try:
        why = note.read_text(encoding="utf-8")
    except OSError:
        return None
    return refused(why, "geoosctl restart")
