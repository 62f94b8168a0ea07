"""Where the daemons are that are meant: the system's, the user's, or the foreground's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from geoosd.config import DAEMONS, SYSTEM_RUNTIME_DIR, Paths, paths


def control_socket(explicit: str | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The control socket: *explicit*, else the environment's, else the system's where any daemon of
    it has its socket, else the foreground's."""
    env = os.environ if environ is None else environ
    if explicit:
        return Path(explicit)
    if not env.get("GEOOS_RUNTIME_DIR") and system_runs():
        return SYSTEM_RUNTIME_DIR / "control.sock"
    return paths(env).socket("control.sock")


def system_runs() -> bool:
    """Whether any daemon of the system's units has its socket."""
    system = Paths(SYSTEM_RUNTIME_DIR, SYSTEM_RUNTIME_DIR)
    return any(system.varlink(each).exists() for each in DAEMONS)
