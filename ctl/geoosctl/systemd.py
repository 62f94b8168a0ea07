"""What systemd knows of the daemons, asked through ``systemctl show`` (systemctl(1)).

One process for all units, with a deadline; all but :func:`find`, :func:`show` and :func:`run` is
pure. The units themselves are in ``units/``; the verbs that use this in
:mod:`geoosctl.commands.units` and :mod:`geoosctl.commands.state`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from geoosctl.place import system_runs
from geoosd.config import DAEMONS, SYSTEM_RUNTIME_DIR, paths
from geoosd.errors import EX_CONFIG, GeoosError, VarlinkError, reason_of
from geoosd.wire import varlink as wire

Manager: TypeAlias = Literal["system", "user"]
TARGET: Final = "geoos.target"
SOCKETS: Final[Mapping[str, tuple[str, ...]]] = {
    "bridge": ("geoos-bridge.socket",),
    "compositor": ("geoos-compositor.socket", "geoos-ingest.socket", "geoos-feed.socket"),
    "broadcaster": ("geoos-broadcaster.socket",),
    "control": ("geoos-control.socket",),
    "engine": (),
}
"""The socket units that would start a stopped daemon again."""

_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "NRestarts",
    "MainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "StatusText",
)
_BOOTED = Path("/run/systemd/system")
_ASK_SECONDS = 5.0
_EXITS: Final[Mapping[str, str]] = {"1": "exited", "2": "killed", "3": "dumped"}  # waitid(2)
_DENIED = ("authentication required", "access denied", "permission denied", "not permitted")


class Unit(Struct):
    """A unit as systemd sees it. ``last_exit`` is None while no process of it has ended;
    ``last_error`` is what a daemon that refused to start (78) told systemd of the reason."""

    name: str
    load: str
    active: str
    sub: str
    result: str = "success"
    enabled: str | None = None
    restarts: int = 0
    pid: int | None = None
    last_exit: str | None = None
    exit_code: int | None = None
    last_error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it is down although it should be up."""
        return self.active == "failed" or self.sub == "auto-restart"


def service(daemon: str) -> str:
    """The service unit of a daemon."""
    return f"geoos-{daemon}.service"


def parse(output: str) -> list[Unit]:
    """The units in what ``systemctl show`` printed: lines ``Key=value``, a blank line between
    units."""
    return [_unit(block) for block in _blocks(output)]


def _blocks(output: str) -> Iterator[dict[str, str]]:
    for block in output.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines())
        fields = {key: value for key, equals, value in pairs if equals}
        if fields.get("Id"):
            yield fields


def _unit(fields: Mapping[str, str]) -> Unit:
    code, status = fields.get("ExecMainCode", ""), _count(fields.get("ExecMainStatus"))
    exit_code = status if _EXITS.get(code) == "exited" else None
    return Unit(
        name=fields["Id"],
        load=fields.get("LoadState", ""),
        active=fields.get("ActiveState", ""),
        sub=fields.get("SubState", ""),
        result=fields.get("Result") or "success",
        enabled=fields.get("UnitFileState") or None,
        restarts=_count(fields.get("NRestarts")),
        pid=_count(fields.get("MainPID")) or None,
        last_exit=exit_in_words(_EXITS.get(code, ""), status),
        exit_code=exit_code,
        last_error=(fields.get("StatusText") or None) if exit_code == EX_CONFIG else None,
    )


def _count(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0


def exit_in_words(code: str, status: int) -> str | None:
    """How a process ended; *code* is ``exited``, ``killed`` or ``dumped``, else it did not."""
    if code == "exited":
        return f"exited with {status}"
    if code not in ("killed", "dumped"):
        return None
    try:
        name = signal.Signals(status).name
    except ValueError:
        name = f"signal {status}"
    return f"killed by {name}" if code == "killed" else f"dumped core on {name}"


_RESULTS: Final[Mapping[str, str]] = {
    "watchdog": "hung: the watchdog ended it",
    "oom-kill": "ran out of memory",
    "start-limit-hit": "too often in a short time",
    "timeout": "did not start or stop in time",
    "resources": "systemd could not start it: a resource is missing",
    "signal": "",
    "exit-code": "",
    "core-dump": "",
    "success": "",
}


_RESTARTED: Final = ("signal", "exit-code", "core-dump", "watchdog", "oom-kill")
"""Results after which systemd starts a unit again."""


def trouble(unit: Unit) -> str | None:
    """Why a unit is down or was restarted, in words; None when there is nothing to say."""
    result = _RESULTS.get(unit.result, unit.result)
    if unit.active == "failed" and unit.result in _RESTARTED and unit.exit_code != EX_CONFIG:
        # Restart=always would have brought it back; systemd keeps the first result that it had.
        result = ", ".join(part for part in (_RESULTS["start-limit-hit"], result) if part)
    why = ", ".join(part for part in (result, unit.last_exit) if part)
    if unit.load == "masked":
        return "masked: it is kept from starting"
    if unit.failed:
        state = "failed" if unit.active == "failed" else "waits for a restart"
        return f"{state}: {why}" if why else state
    if unit.restarts and unit.active != "inactive":
        times = "once" if unit.restarts == 1 else f"{unit.restarts} times"
        return f"systemd restarted it {times}" + (f" ({why})" if why else "")
    return None


def remedy(unit: Unit, manager: Manager) -> str | None:
    """What to do about a unit that is down; None for one that is not."""
    if unit.load == "masked":
        return f"{systemctl(manager)} unmask {unit.name}"
    if not unit.failed:
        return None
    if unit.exit_code == EX_CONFIG:
        first = "mend that" if unit.last_error else "geoosctl config check"
        return f"{first}; then: {how_to_start(unit, manager)}"
    daemon = unit.name.removeprefix("geoos-").removesuffix(".service")
    return f"geoosctl logs --unit {daemon}; then: {how_to_start(unit, manager)}"


def how_to_start(unit: Unit, manager: Manager) -> str:
    """The command that starts one daemon."""
    daemon = unit.name.removeprefix("geoos-").removesuffix(".service")
    return f"{_geoosctl(manager)} start {daemon}"


def how_to_restart(daemon: str, manager: Manager) -> str:
    """The command that restarts one daemon, also one that hangs."""
    return f"{_geoosctl(manager)} restart {daemon}"


def systemctl(manager: Manager) -> str:
    """How a person calls systemctl for *manager*."""
    return "systemctl --user" if manager == "user" else "sudo systemctl"


def _geoosctl(manager: Manager) -> str:
    return "geoosctl" if manager == "user" else "sudo geoosctl"


# -- asking ----------------------------------------------------------------------------------------


def find(socket_path: Path, *, chosen: bool) -> Manager | None:
    """The manager that has geoos installed and is responsible for *socket_path*.

    *chosen* says that the path was given by ``--socket``. A path that is given, or that follows
    from ``GEOOS_RUNTIME_DIR``, belongs to systemd only when it is the system's; otherwise the
    system's units come before the user's, and a ``geoosd up`` that runs comes before both.
    """
    if shutil.which("systemctl") is None:
        return None
    if chosen or os.environ.get("GEOOS_RUNTIME_DIR"):
        system_only = socket_path.parent == SYSTEM_RUNTIME_DIR
        return "system" if system_only and _installed("system") else None
    if foreground_pid(paths().runtime_dir) is not None:
        return None
    return installed()


def installed() -> Manager | None:
    """The manager that has the units: the system's before the user's, but for who is not root while
    the system's do not run."""
    candidates: tuple[Manager, ...] = ("system", "user")
    if os.getuid() != 0 and not system_runs():
        candidates = ("user", "system")
    return next((each for each in candidates if _installed(each)), None)


def _installed(manager: Manager) -> bool:
    private = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent", "systemd", "private")
    if not (_BOOTED if manager == "system" else private).exists():
        return False
    try:
        return any(unit.load == "loaded" for unit in show(manager, [TARGET]))
    except GeoosError:
        return False


def show(manager: Manager, names: Sequence[str]) -> list[Unit]:
    """The state of the units *names*. Raises :class:`GeoosError` when systemd does not answer."""
    wanted = f"--property={','.join(_PROPERTIES)}"
    done = run(manager, ["show", wanted, "--", *names], timeout=_ASK_SECONDS)
    if done.returncode != 0:
        raise GeoosError(f"cannot ask systemd: {_first_line(done.stderr)}")
    return parse(done.stdout)


def daemons(manager: Manager) -> dict[str, Unit]:
    """The service of each daemon that is installed, by the daemon's name."""
    units = {unit.name: unit for unit in show(manager, [service(name) for name in DAEMONS])}
    found = {name: units.get(service(name)) for name in DAEMONS}
    return {name: unit for name, unit in found.items() if unit and unit.load != "not-found"}


def change(
    manager: Manager,
    verb: str,
    names: Sequence[str],
    timeout: float,
    *,
    asked: str,
    options: Sequence[str] = (),
) -> str | None:
    """``systemctl VERB OPTIONS NAMES`` and wait for it. None, or what systemctl complained about.

    Raises :class:`VarlinkError` with ``io.geoos.PermissionDenied`` when it is not allowed; *asked*
    is what geoosctl was asked to do.
    """
    done = run(manager, [verb, "--no-ask-password", *options, "--", *names], timeout=timeout)
    if done.returncode == 0:
        return None
    reason = _first_line(done.stderr)
    if any(words in reason.lower() for words in _DENIED):
        said = f"cannot {asked}: systemd refuses it to you; use: sudo geoosctl {asked}"
        raise VarlinkError(wire.PERMISSION_DENIED, {"reason": said})
    return reason


def run(
    manager: Manager, arguments: Sequence[str], *, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run systemctl. Raises :class:`GeoosError` when it cannot run or takes longer than *timeout*
    seconds."""
    command = ["systemctl", *(["--user"] if manager == "user" else []), "--no-pager", *arguments]
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise GeoosError(
            f"cannot wait for systemctl {arguments[0]}: not done within {timeout:g} s; "
            "look: geoosctl status"
        ) from None
    except OSError as error:
        raise GeoosError(f"cannot run systemctl: {reason_of(error)}") from None


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")


def foreground_pid(runtime_dir: Path, daemon: str | None = None) -> int | None:
    """The process of the ``geoosd up`` that holds *runtime_dir*, or of a *daemon* of its; None
    without one.

    Looks, and does not try the lock: a ``geoosd up`` that starts right now would find it taken.
    """
    try:
        pid = _count((runtime_dir / "up.lock").read_text(encoding="ascii").strip())
        if b"geoosd" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return None
        if daemon is None:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return next((int(each) for each in children if _is_daemon(each, daemon)), None)
    except (OSError, UnicodeDecodeError):
        return None


def _is_daemon(pid: str, daemon: str) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return command[2:4] == [b"geoosd", daemon.encode()]
