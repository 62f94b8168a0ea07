"""What control tells of daemons and models, and what can be known of daemons without it."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from msgspec import Struct, field

from geoosctl import client, systemd
from geoosctl.asking import read
from geoosctl.cli import settings
from geoosd.config import DAEMONS
from geoosd.errors import GeoosError, VarlinkError
from geoosd.wire.reports import DaemonStatus, State

_DIRECT_SECONDS: Final = 1.0


class Entry(Struct):
    """One daemon as control tells of it; see ``DaemonEntry`` in io.geoos.Control.varlink."""

    name: str
    state: State | Literal["unreachable"]
    reason: str | None = None
    remedy: str | None = None
    restarts: int = 0
    restarted: float | None = None
    status: DaemonStatus | None = None
    unit: systemd.Unit | None = None


class Daemons(Struct):
    """The answer of ``GetStatus``."""

    daemons: list[Entry]


class Model(Struct):
    """A model that an upstream offers; see io.geoos.Bridge.varlink."""

    id: str
    upstream: str
    upstream_url: str
    state: str
    chat: bool
    circuit: str = "closed"
    retry_in: float | None = None
    capabilities: dict[str, bool | None] = field(default_factory=dict)
    learnt: dict[str, str] = field(default_factory=dict)


class Models(Struct):
    """The answer of ``ListModels``."""

    models: list[Model]


class _Status(Struct):
    status: DaemonStatus


def without_control(path: Path, error: VarlinkError) -> list[Entry]:
    """The daemons beside a dead control, asked themselves; *error* is what came of asking it."""
    entries: list[Entry] = []
    for name in DAEMONS:
        socket_path = path.parent / f"{name}.varlink"
        if name == "control":
            entries.append(Entry(name, "unreachable", str(error), how_to_restart(path, "control")))
        elif socket_path.exists():
            entries.append(_ask_directly(name, socket_path))
    return entries


def how_to_restart(path: Path, daemon: str) -> str:
    """The command that ends a daemon that hangs, and has it started anew."""
    if (manager := _manager(path)) is not None:
        return systemd.how_to_restart(daemon, manager)
    # In the foreground ``geoosd up`` starts what has ended.
    pid = systemd.foreground_pid(path.parent, daemon)
    return f"kill -9 {pid}" if pid else "geoosd up"


def how_to_start(path: Path) -> str:
    """The command that starts all daemons."""
    manager = _manager(path)
    return f"{systemd.systemctl(manager)} start {systemd.TARGET}" if manager else "geoosd up"


def _manager(path: Path) -> systemd.Manager | None:
    return systemd.find(path, chosen=settings().socket is not None)


def _ask_directly(name: str, path: Path) -> Entry:
    timeout = settings().wait(_DIRECT_SECONDS)
    try:
        reply = client.call(path, "io.geoos.Daemon.GetStatus", timeout=timeout)
        found = read(reply, _Status).status
    except GeoosError as error:
        return Entry(name, "unreachable", str(error), how_to_restart(path, name))
    return Entry(name, found.state, status=found)
