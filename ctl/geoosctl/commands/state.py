"""``status`` and ``health``: how is geoos?"""

from __future__ import annotations

import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import msgspec
from msgspec import Struct

from geoosctl import client, journal, output, systemd
from geoosctl.cli import Verb, settings
from geoosd.config import DAEMONS
from geoosd.errors import EX_SOFTWARE, GeoosError, VarlinkError
from geoosd.wire import varlink as wire
from geoosd.wire.reports import Check, DaemonStatus, Queue, Request, State, Structure, Verdict

_SOME_NOT_ACTIVE = 3
_HEALTH_EXIT: dict[str, int] = {"healthy": 0, "warning": 1, "critical": 2, "unknown": 3}
_DIRECT_TIMEOUT = 1.0
_WATCH_SECONDS = 1.0
_INDENT = 13
_TURNS = 5

T = TypeVar("T")


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


class _Entries(Struct):
    daemons: list[Entry]


class _Status(Struct):
    status: DaemonStatus


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
    history: list[Past] = msgspec.field(default_factory=list["Past"])


def read(reply: Mapping[str, Any], kind: type[T]) -> T:
    """A reply as *kind*. Raises :class:`GeoosError` if it is not what it should be."""
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as error:
        raise GeoosError(
            f"cannot read the answer: {error}; geoosctl and the daemon may be of different versions"
        ) from None


# -- status ----------------------------------------------------------------------------------------


@click.command(
    cls=Verb,
    examples=["geoosctl status", "geoosctl status --json | jq -r .state"],
)
def status() -> int:
    """Show every daemon and what it is doing.

    Exit code 0 if all daemons are active, 3 if some or all are not, 69 if nothing answers on the
    --socket that was given.
    """
    options = settings()
    path = options.control
    try:
        reply = client.call(path, "io.geoos.Control.GetStatus", timeout=options.wait(5.0))
        entries = read(reply, _Entries).daemons
    except VarlinkError as error:
        if error.error != wire.UNAVAILABLE:
            raise
        entries = _without_control(path, error)
        if options.socket and not any(entry.status for entry in entries):
            raise
    manager = systemd.find(path, chosen=options.socket is not None)
    enabled = None if manager is None else _add_units(manager, entries)
    state = _overall(entries)
    if options.json:
        found = {"manager": manager, "enabled": enabled, "daemons": msgspec.to_builtins(entries)}
        output.print_json({"state": state, **found})
    elif state == "stopped":
        for line in _stopped_lines(entries, manager, path):
            output.echo(line)
    else:
        for line in _status_lines(entries, state, time.time()):
            output.echo(line)
        if enabled is False:
            output.echo("\nnot enabled: it will not start at the next boot")
            output.echo(f"→ {systemd.systemctl(manager or 'system')} enable {systemd.TARGET}")
    return 0 if state == "active" else _SOME_NOT_ACTIVE


def _add_units(manager: systemd.Manager, entries: list[Entry]) -> bool | None:
    """Add what systemd knows to *entries*; whether geoos starts at boot, None if nobody knows.

    A daemon that failed and that control does not tell of is added; what answers is not disturbed
    by a systemd that does not.
    """
    try:
        units = systemd.daemons(manager)
        target = systemd.show(manager, [systemd.TARGET])
    except GeoosError:
        return None
    known = {entry.name: entry for entry in entries}
    for name, unit in units.items():
        if unit.failed or unit.restarts:
            unit.last_error = journal.last_error(manager, name) or unit.last_error
            unit.last_exit = unit.last_exit or journal.last_exit(manager, name)
        if name not in known and unit.failed:
            known[name] = Entry(name, "unreachable")
            entries.append(known[name])
        if name in known:
            known[name].unit = unit
            _explain(known[name], unit, manager)
    return target[0].enabled in ("enabled", "enabled-runtime") if target else None


def _explain(entry: Entry, unit: systemd.Unit, manager: systemd.Manager) -> None:
    """Of a daemon that does not answer, systemd's account comes before that of who asked it."""
    remedy = systemd.remedy(unit, manager)
    if unit.failed:
        entry.remedy = remedy
    elif entry.status is None and unit.active == "inactive":
        entry.reason = None if unit.load == "masked" else "stopped by the administrator"
        entry.remedy = remedy or systemd.how_to_start(unit, manager)


def _stopped_lines(
    entries: Sequence[Entry], manager: systemd.Manager | None, path: Path
) -> Iterator[str]:
    """Nothing answers: why, where systemd knows, and how to start."""
    yield f"geoos is {output.colored('stopped', bold=True)}"
    for entry in entries:
        if entry.unit is not None and entry.unit.failed:
            yield f"{entry.name:<11}  {output.colored('failed')}"
            yield from _unit_lines(entry)
            if entry.remedy:
                yield f"{' ' * _INDENT}→ {output.visible(entry.remedy)}"
    start = f"{systemd.systemctl(manager)} start {systemd.TARGET}" if manager else None
    yield f"start it: {start or client.how_to_start(path)}"


def _unit_lines(entry: Entry) -> Iterator[str]:
    """What systemd has to say about a daemon's unit, and the error before its last end."""
    if entry.unit is None:
        return
    if words := systemd.trouble(entry.unit):
        yield from _wrapped(words)
        if entry.unit.last_error:
            yield from _wrapped(f"last error: {entry.unit.last_error}")


def _without_control(path: Path, error: VarlinkError) -> list[Entry]:
    """Ask the daemons beside a dead control themselves."""
    entries: list[Entry] = []
    for name in DAEMONS:
        socket_path = path.parent / f"{name}.varlink"
        if name == "control":
            entries.append(Entry(name, "unreachable", str(error), _start_control(path)))
        elif socket_path.exists():
            entries.append(_ask_directly(name, socket_path))
    return entries


def _start_control(path: Path) -> str:
    system = client.how_to_start(path).startswith("systemctl")
    return "systemctl restart geoos-control.service" if system else "geoosd control"


def _ask_directly(name: str, path: Path) -> Entry:
    timeout = settings().wait(_DIRECT_TIMEOUT)
    try:
        reply = client.call(path, "io.geoos.Daemon.GetStatus", timeout=timeout)
        found = read(reply, _Status).status
    except GeoosError as error:
        return Entry(name, "unreachable", str(error), client.how_to_start(path))
    return Entry(name, found.state, status=found)


def _overall(entries: Sequence[Entry]) -> str:
    """``active``, ``degraded`` or, when no daemon answers at all, ``stopped``."""
    if not any(entry.status for entry in entries):
        return "stopped"
    return "active" if all(entry.state == "active" for entry in entries) else "degraded"


def _status_lines(entries: Sequence[Entry], state: str, now: float) -> Iterator[str]:
    active = sum(entry.state == "active" for entry in entries)
    word = click.style(state, fg="green" if state == "active" else "red", bold=True)
    yield f"geoos is {word}: {active} of {len(entries)} daemons active"
    yield ""
    rows = [_row(entry, now) for entry in entries]
    head = ["DAEMON", "STATE", "SINCE", "PID", "MEMORY", "VERSION"]
    first, *lines = output.table(head, rows, align="<<>>><")
    yield first
    for entry, line in zip(entries, lines, strict=True):
        yield line
        yield from _details(entry, now)
    requests = [each for entry in entries if entry.status for each in entry.status.requests]
    if requests:
        yield ""
        yield from _request_table(requests, now)


def _row(entry: Entry, now: float) -> list[str]:
    name, state = entry.name, output.colored(_word(entry))
    found = entry.status
    if found is None:
        return [name, state, "–", "–", "–", "–"]
    since, memory = output.ago(now - found.since), output.mebibytes(found.memory_bytes)
    return [name, state, since, str(found.pid), memory, output.visible(found.version)]


def _word(entry: Entry) -> str:
    """The state in a word; of a unit that is down, systemd's."""
    if entry.status is not None or entry.unit is None:
        return entry.state
    if entry.unit.failed:
        return "failed"
    return "stopped" if entry.unit.active == "inactive" else entry.state


def _details(entry: Entry, now: float) -> Iterator[str]:
    """What does not fit into the row: why it is away, restarts, rates, queues, broken links."""
    failed = entry.unit is not None and entry.unit.failed
    if entry.reason and not failed:
        yield from _wrapped(entry.reason)
    yield from _unit_lines(entry)
    if entry.remedy:
        yield f"{' ' * _INDENT}→ {output.visible(entry.remedy)}"
    if entry.restarted is not None:
        words = f"restarted {output.ago(now - entry.restarted)} ago"
        yield " " * _INDENT + click.style(words, fg="yellow")
    if entry.status is not None:
        yield from _wrapped(_activity(entry.status), dim=True)
        for link in entry.status.links:
            if link.state != "connected":
                words = f"{link.name} {link.state} for {output.ago(now - link.since)}"
                yield " " * _INDENT + click.style(output.visible(words), fg="yellow")


def _activity(found: DaemonStatus) -> str:
    parts = [found.status] if found.status not in ("", found.state) else []
    parts += [f"{name} {output.number(rate)}/s" for name, rate in found.rates.items()]
    parts += [_queue(queue) for queue in found.queues]
    return " · ".join(parts)


def _queue(queue: Queue) -> str:
    lost = f" dropped {queue.dropped}" if queue.dropped else ""
    return f"{queue.name} {queue.depth}/{queue.capacity}{lost}"


def _wrapped(text: str, *, dim: bool = False) -> Iterator[str]:
    """*text* under a daemon's row, in the width of the terminal."""
    return output.wrapped(text, _INDENT, dim=dim)


def _request_table(requests: Sequence[Request], now: float) -> list[str]:
    rows = [
        [
            output.shorten(output.visible(each.session), 12),
            output.shorten(output.visible(each.model or "–"), 24),
            output.shorten(output.visible(each.upstream or "–"), 12),
            output.visible(_phase(each)),
            str(each.tokens),
            "–" if each.tokens_per_second is None else output.number(each.tokens_per_second),
            output.ago(now - each.since),
        ]
        for each in requests
    ]
    head = ["REQUEST", "MODEL", "UPSTREAM", "PHASE", "TOKENS", "TOK/S", "FOR"]
    return output.table(head, rows, align="<<<<>>>")


def _phase(request: Request) -> str:
    if request.position is not None and request.phase == "queued":
        return f"queued #{request.position}"
    if request.total and request.processed is not None and request.phase == "prefill":
        return f"prefill {100 * request.processed // request.total} %"
    return request.phase


# -- health ----------------------------------------------------------------------------------------


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
        reply = client.call(path, "io.geoos.Control.GetHealth", timeout=options.wait(5.0))
        return read(reply, Health)
    except VarlinkError as error:
        if error.error != wire.UNAVAILABLE:
            raise
        alive = [entry.name for entry in _without_control(path, error) if entry.status]
        if options.socket and not alive:
            raise
        return _health_without_control(path, error, alive)


def _health_without_control(path: Path, error: VarlinkError, alive: list[str]) -> Health:
    now = time.time()
    if not alive:
        return Health("unknown", "geoos is not running", client.how_to_start(path), [])
    others = [Check(f"{name}: process", "healthy", "answers", None, now) for name in alive]
    if remedy := _how_to_start_stopped_control(path):
        check = Check("control: process", "warning", "stopped", remedy, now)
        cause = "the control daemon is stopped; what the others find is not known"
        return Health("warning", cause, remedy, [check, *others])
    remedy = _start_control(path)
    check = Check("control: process", "critical", str(error), remedy, now)
    cause = f"the control daemon does not answer: {error}"
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
    yield from _hanging(f"{word}: ", found.root_cause or "everything works")
    if found.remedy:
        yield f"→ {output.visible(found.remedy)}"
    if not found.checks:
        return
    yield ""
    name_width = max(len(check.name) for check in found.checks)
    for check in found.checks:
        padded = output.visible(check.name).ljust(name_width)
        yield from _hanging(f"{_verdict(check.status)}  {padded}  ", _summary(check, now))
        if check.remedy and check.remedy != found.remedy:
            yield f"{' ' * 10}→ {output.visible(check.remedy)}"
    yield from _history_lines(found.history, now)
    if found.structure is not None:
        yield ""
        yield from _structure_lines(found.structure, now)


def _history_lines(history: Sequence[Past], now: float) -> Iterator[str]:
    """The last turns, if health has taken one."""
    if len(history) < 2:
        return
    yield ""
    for past in history[-_TURNS:]:
        ago = f"{output.ago(now - past.at)} ago"
        yield from _hanging(f"{_verdict(past.status)}  since {ago:<10}  ", past.root_cause or "–")


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


def _hanging(label: str, text: str) -> Iterator[str]:
    """*label* and *text*, whose further lines stand under its first."""
    margin = len(click.unstyle(label))
    width = max(24, min(120, shutil.get_terminal_size((80, 24)).columns) - margin)
    lines = textwrap.wrap(output.visible(text), width, break_on_hyphens=False) or [""]
    yield label + lines[0]
    for line in lines[1:]:
        yield " " * margin + line
