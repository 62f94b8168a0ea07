"""``health``: what is wrong, why, and what to do."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from geoosctl import cells, output, systemd
from geoosctl.asking import ask_for
from geoosctl.cli import Verb, settings
from geoosctl.reported import how_to_restart, how_to_start, without_control
from geoosd.errors import EX_SOFTWARE, GeoosError, VarlinkError
from geoosd.wire import varlink as wire
from geoosd.wire.alerting import Alert
from geoosd.wire.reports import Check, Structure, Verdict

_HEALTH_EXIT: dict[str, int] = {"healthy": 0, "warning": 1, "critical": 2, "unknown": 3}
_WATCH_SECONDS = 1.0
_TURNS = 5
_VERDICT = 10
"""Columns of a verdict with the space after it."""
_READABLE = 32
"""Columns that what a check found should have."""


class Past(Struct):
    """Health as it was from ``at`` on, seconds since the epoch."""

    at: float
    status: Verdict
    root_cause: str | None = None


class Health(Struct):
    """The answer of ``GetHealth``."""

    status: Verdict
    root_cause: str | None
    remedy: str | None
    checks: list[Check]
    structure: Structure | None = None
    alerts: list[Alert] = msgspec.field(default_factory=list[Alert])
    history: list[Past] = msgspec.field(default_factory=list["Past"])


@click.command(
    cls=Verb,
    examples=["geoosctl health", "geoosctl health --watch", "geoosctl health --json | jq .status"],
)
@click.option("--watch", is_flag=True, help="Look again every second, until interrupted.")
def health(watch: bool) -> int:
    """Say what is wrong, why, and what to do; then every check.

    Exit code 0 healthy, 1 warning, 2 critical, 3 unknown, as monitoring plugins do; 69 if nothing
    answers on the --socket that was given.
    """
    found = _health()
    _show_health(found, screen=watch)
    if watch:
        _watch_health(found)
    return _HEALTH_EXIT.get(found.status, EX_SOFTWARE)


def _watch_health(shown: Health) -> None:
    """Show health whenever it changed; a terminal is drawn anew, ages included."""
    pause = threading.Event()
    while not pause.wait(_WATCH_SECONDS):
        found = _health()
        if sys.stdout.isatty() or _gist(found) != _gist(shown):
            _show_health(found, screen=True)
            shown = found


def _gist(found: Health) -> object:
    return found.status, [(check.name, check.status) for check in found.checks]


def _health() -> Health:
    """Control's judgement, or ours when control itself is away."""
    options = settings()
    path = options.control
    try:
        return ask_for(Health, "GetHealth")
    except VarlinkError as error:
        if error.error != wire.UNAVAILABLE:
            raise
        alive = [entry.name for entry in without_control(path, error) if entry.status]
        if options.socket and not alive:
            raise
        return _health_without(path, error, alive)


def _health_without(path: Path, error: VarlinkError, alive: list[str]) -> Health:
    now = time.time()
    if not alive:
        return Health("unknown", "geoos is not running", how_to_start(path), [])
    others = [Check(f"{name}: process", "healthy", "answers", None, now) for name in alive]
    if remedy := _how_to_start_stopped_control(path):
        check = Check("control: process", "warning", "stopped", remedy, now)
        cause = "control is stopped; what the others find is not known"
        return Health("warning", cause, remedy, [check, *others])
    remedy = how_to_restart(path, "control")
    check = Check("control: process", "critical", str(error), remedy, now)
    cause = f"control does not answer: {error}"
    return Health("critical", cause, remedy, [check, *others])


def _how_to_start_stopped_control(path: Path) -> str | None:
    """The command, if systemd says that somebody stopped control; else None."""
    try:
        manager = systemd.find(path, chosen=settings().socket is not None)
        unit = systemd.daemons(manager).get("control") if manager else None
    except GeoosError:
        return None
    if manager is None or unit is None or unit.active != "inactive":
        return None
    return systemd.remedy(unit, manager) or systemd.how_to_start(unit, manager)


def _show_health(found: Health, *, screen: bool) -> None:
    if settings().json:
        output.print_json(msgspec.to_builtins(found))
        return
    if screen and sys.stdout.isatty():
        click.clear()
    for line in _health_lines(found, time.time()):
        output.echo(line)
    sys.stdout.flush()


def _health_lines(found: Health, now: float) -> Iterator[str]:
    word = output.colored(found.status, bold=True)
    yield from output.hanging(f"{word}: ", found.root_cause or "everything works")
    if found.remedy:
        yield f"→ {output.visible(found.remedy)}"
    if not found.checks:
        return
    yield ""
    yield from _check_lines(found, now)
    yield from _alert_lines(found.alerts, now)
    yield from _history_lines(found.history, now)
    if found.structure is not None:
        yield ""
        yield from _structure_lines(found.structure, now)


def _check_lines(found: Health, now: float) -> Iterator[str]:
    """Every check; what was found stands beside its name, or below where there is no room."""
    longest = max(cells.width(output.visible(check.name)) for check in found.checks)
    beside = output.terminal_width() >= _VERDICT + longest + _READABLE
    for check in found.checks:
        name, label = output.visible(check.name), f"{_verdict(check.status)}  "
        if beside:
            label += f"{cells.pad(name, longest)}  "
        else:
            yield label + name
            label = " " * _VERDICT
        yield from output.hanging(label, _summary(check, now))
        if check.remedy and check.remedy != found.remedy:
            yield f"{' ' * _VERDICT}→ {output.visible(check.remedy)}"


def _alert_lines(alerts: Sequence[Alert], now: float) -> Iterator[str]:
    """What fires; docs/alerts.md."""
    for number, each in enumerate(alerts):
        if not number:
            yield ""
        word = output.colored("warning")
        yield from output.hanging(f"{word}   alert {each.rule}  ", each.summary)
        yield f"{' ' * 10}for {output.ago(now - each.since)} → {output.visible(each.remedy)}"


def _history_lines(history: Sequence[Past], now: float) -> Iterator[str]:
    """The last turns, if health has taken one."""
    if len(history) < 2:
        return
    yield ""
    for past in history[-_TURNS:]:
        ago = f"{output.ago(now - past.at)} ago"
        yield from output.hanging(
            f"{_verdict(past.status)}  since {ago:<10}  ", past.root_cause or "–"
        )


def _structure_lines(found: Structure, now: float) -> Iterator[str]:
    """The structure score, which stands beside health."""
    score = "" if found.score is None else f" {found.score:.3f}"
    label = f"{output.colored(found.status)}{output.visible(found.label[len(found.status) :])}"
    yield f"structure (PAS){score}: {label}"
    yield from output.wrapped(f"{found.root}, looked at {output.ago(now - found.at)} ago", 2)
    if found.status != "healthy":
        yield f"  → geoosctl structure --debug {output.visible(found.root)}"


def _verdict(word: str) -> str:
    return output.colored(word) + " " * (8 - len(word))


def _summary(check: Check, now: float) -> str:
    """What was found and, of a fault, for how long."""
    if check.status == "healthy" or not 0 < check.since < now:
        return check.summary
    age = output.ago(now - check.since).replace(" ", "\N{NO-BREAK SPACE}")
    return f"{check.summary}, for {age}"
