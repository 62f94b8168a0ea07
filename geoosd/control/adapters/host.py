"""Looks at the machine for :mod:`geoosd.control.core.examine`: disk, memory, clock, sockets."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from geoosd import __version__
from geoosd.config import Paths
from geoosd.control.core.examine import Host, Socket
from geoosd.control.core.remedy import Place, remake

_SOCKETS: Final = {"compositor": ("ingest.sock", "feed.sock")}


def look(paths: Paths, state_dir: Path, daemons: Iterable[str], place: Place) -> Host:
    """What there is to see now; sockets are those of *daemons*, which *place* keeps.

    It takes microseconds: all of it is in the kernel's memory, and *state_dir* is on a file system
    that answered when we started.
    """
    available, total = _memory()
    return Host(
        wall=time.time(),
        monotonic=time.monotonic(),
        version=__version__,
        state_dir=str(state_dir),
        disk_free=_free(state_dir),
        memory_available=available,
        memory_total=total,
        sockets=[each for name in daemons for each in _sockets(paths, name)],
        group_needs_sockets=place.keeper == "system",
    )


def _free(path: Path) -> int | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _memory() -> tuple[int | None, int | None]:
    """Bytes available and in all (proc_meminfo(5)); None in a sandbox that hides it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None, None
    found = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    sizes = [found.get(name) for name in ("MemAvailable", "MemTotal")]
    available, total = (int(each[0]) * 1024 if each else None for each in sizes)
    return available, total


def _sockets(paths: Paths, daemon: str) -> Iterable[Socket]:
    for path in (paths.varlink(daemon), *map(paths.socket, _SOCKETS.get(daemon, ()))):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            mode = None
        yield Socket(str(path), mode, remake(daemon))
