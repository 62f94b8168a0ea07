"""``start``, ``stop`` and ``restart``: the systemd units, each daemon's outcome shown."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from geoosctl import journal, output, systemd
from geoosctl.cli import Verb, settings
from geoosd.config import DAEMONS, paths
from geoosd.errors import EX_CONFIG, EX_SOFTWARE, VarlinkError
from geoosd.wire import varlink as wire

_ENGINE = "engine"
_PATIENCE = 90.0
_AT_REST = ("inactive", "failed")
_UNITS = click.argument("daemons", metavar="[DAEMON]...", nargs=-1, type=click.Choice(DAEMONS))


@click.command(cls=Verb, examples=["sudo geoosctl start", "sudo geoosctl start bridge"])
@_UNITS
def start(daemons: Sequence[str]) -> int:
    """Start all daemons, or those named.

    Returns when they are ready; the engine may take longer and goes on by itself. Exit code 78
    if a daemon refused its configuration, 70 if one failed otherwise.
    """
    manager = _manager("start")
    names = [systemd.service(name) for name in daemons or DAEMONS]
    _forget_failures(manager, [*names, *_sockets(daemons)], _AT_REST)
    complaint = _change(manager, "start", names if daemons else [systemd.TARGET])
    return _show(manager, daemons, complaint, up=True)


@click.command(cls=Verb, examples=["sudo geoosctl stop", "sudo geoosctl stop engine"])
@_UNITS
def stop(daemons: Sequence[str]) -> int:
    """Stop all daemons, or those named.

    The sockets that would start them again are stopped too. Returns when the processes have ended.
    What is enabled starts again at the next boot.
    """
    manager = _manager("stop")
    # Stopping the target alone returns before the services have ended: name every unit.
    names = [systemd.service(name) for name in daemons or systemd.daemons(manager)]
    targets = [] if daemons else [systemd.TARGET]
    every = [*targets, *_sockets(daemons), *names]
    complaint = _change(manager, "stop", every)
    return _show(manager, daemons, complaint, up=False)


@click.command(cls=Verb, examples=["sudo geoosctl restart", "sudo geoosctl restart compositor"])
@_UNITS
def restart(daemons: Sequence[str]) -> int:
    """Restart all daemons, or those named.

    Their sockets stay, so that nobody is turned away meanwhile. Exit codes as of start.
    """
    manager = _manager("restart")
    chosen = daemons or [
        name
        for name, unit in systemd.daemons(manager).items()
        if unit.load == "loaded" and (name != _ENGINE or unit.active == "active")
    ]
    names = [systemd.service(name) for name in chosen]
    _forget_failures(manager, [*names, *_sockets(daemons)], (*_AT_REST, "active"))
    complaint = _change(manager, "restart", names)
    if not daemons:
        complaint = _change(manager, "start", [systemd.TARGET]) or complaint
    return _show(manager, daemons, complaint, up=True)


def _manager(verb: str) -> systemd.Manager:
    """Who has the units. Raises :class:`VarlinkError` (unavailable) that says what else to do."""
    options = settings()
    manager = systemd.find(options.control, chosen=options.socket is not None)
    if manager is not None:
        return manager
    pid = systemd.foreground_pid(paths().runtime_dir)
    if pid is not None:
        reason = (
            f"cannot {verb}: geoosd up runs in the foreground; "
            f"stop it with Ctrl-C in its terminal or with: kill {pid}"
        )
    elif options.socket is not None:
        reason = f"cannot {verb}: {options.socket} is no socket of the installed units"
    else:
        reason = (
            f"cannot {verb}: the systemd units are not installed; "
            "sudo make install, or run in the foreground: geoosd up"
        )
    raise VarlinkError(wire.UNAVAILABLE, {"reason": reason})


def _forget_failures(manager: systemd.Manager, names: Sequence[str], states: Sequence[str]) -> None:
    """A unit that failed too often in a short time would refuse even this start.

    Not while it is on its way down: systemd forgets the result that it has so far as well, and an
    engine that is just being skipped would count as one that ended, and be started again.
    """
    chosen = [unit.name for unit in systemd.show(manager, names) if unit.active in states]
    if chosen:
        _change(manager, "reset-failed", chosen)


def _change(manager: systemd.Manager, verb: str, names: Sequence[str]) -> str | None:
    """See :func:`systemd.change`."""
    context = click.get_current_context()
    asked = " ".join([context.info_name or verb, *context.params["daemons"]])
    wait = settings().wait(_PATIENCE) or _PATIENCE
    return systemd.change(manager, verb, names, wait, asked=asked)


def _sockets(daemons: Sequence[str]) -> list[str]:
    return [socket for name in daemons or DAEMONS for socket in systemd.SOCKETS[name]]


def _show(
    manager: systemd.Manager, daemons: Sequence[str], complaint: str | None, *, up: bool
) -> int:
    """Show what became of each daemon; the exit code."""
    units = systemd.daemons(manager)
    shown = {name: unit for name, unit in units.items() if not daemons or name in daemons}
    for name, unit in shown.items():
        if unit.failed:
            unit.last_error = journal.last_error(manager, name) or unit.last_error
    if settings().json:
        output.print_json({"units": {name: msgspec.to_builtins(it) for name, it in shown.items()}})
    else:
        for name, unit in shown.items():
            _line(manager, name, unit)
    wrong = [
        unit for name, unit in shown.items() if _is_wrong(name, unit, named=name in daemons, up=up)
    ]
    if complaint and (wrong or not shown) and not any(unit.failed for unit in wrong):
        output.echo(f"geoosctl: {output.visible(complaint)}", err=True)
    if any(unit.exit_code == EX_CONFIG and unit.failed for unit in wrong):
        return EX_CONFIG
    return EX_SOFTWARE if wrong or (complaint and not shown) else 0


def _is_wrong(name: str, unit: systemd.Unit, *, named: bool, up: bool) -> bool:
    """Whether a unit is not as it was asked to be; an engine that nobody wants may be down."""
    if not up:
        return unit.active not in ("inactive", "failed")
    if unit.load == "masked" or (name == _ENGINE and not named):
        return unit.failed
    return unit.active != "active"


def _line(manager: systemd.Manager, name: str, unit: systemd.Unit) -> None:
    pid = f"  pid {unit.pid}" if unit.pid else ""
    word = "failed" if unit.failed else unit.active
    output.echo(f"{name:<11}  {output.colored(word)}{pid}")
    if not unit.failed and unit.load != "masked":
        return
    for words in (systemd.trouble(unit), unit.last_error):
        for line in output.wrapped(words or "", 13):
            output.echo(line)
    if advice := systemd.remedy(unit, manager):
        output.echo(f"{'':<13}→ {advice}")
