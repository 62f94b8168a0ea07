"""Asking systemd about the unit of a daemon that does not answer (``systemctl show``).

That needs no privilege. Without systemd, or when it is slow, nothing is known and nothing is said.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import trio

from geoosd.config import SYSTEM_RUNTIME_DIR
from geoosd.control.core.rootcause import Absence
from geoosd.control.core.unit import PROPERTIES, Manager, absence, unit_of

_DEADLINE = 0.5
"""Seconds that systemd has to answer."""


def manager_of(runtime_dir: Path) -> Manager | None:
    """The systemd that started this process (systemd.exec(5)); None in the foreground."""
    if os.environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()):
        return None
    return "system" if runtime_dir == SYSTEM_RUNTIME_DIR else "user"


async def ask(daemon: str, manager: Manager) -> Absence | None:
    """Why *daemon* is away, where systemd knows."""
    scope = ["--user"] if manager == "user" else []
    wanted = f"--property={','.join(PROPERTIES)}"
    with trio.move_on_after(_DEADLINE):
        try:
            done = await trio.run_process(
                ["systemctl", *scope, "--no-pager", "show", wanted, "--", unit_of(daemon)],
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        except OSError:
            return None
        return absence(daemon, manager, done.stdout.decode("utf-8", "replace"))
    return None
