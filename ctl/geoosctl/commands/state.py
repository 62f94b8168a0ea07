"""``status``: every daemon and what it is doing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from geoosctl import cells, journal, output, systemd
from geoosctl.asking import ask_for
from geoosctl.cli import Verb, settings
from geoosctl.reported import Daemons, Entry, how_to_start, without_control
from geoosd.errors import GeoosError, VarlinkError
from geoosd.wire import varlink as wire
from geoosd.wire.reports import DaemonStatus, Queue, Request

_SOME_NOT_ACTIVE = 3
_INDENT = 13


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
        entries = ask_for(Daemons, "GetStatus").daemons
    except VarlinkError as error:
        if error.error != wire.UNAVAILABLE:
            raise
        entries = without_control(path, error)
        if options.socket and not any(entry.status for entry in entries):
            raise
    manager = systemd.find(path, chosen=options.socket is not None)
    enabled = None if manager is None else _add_units(manager, entries)
    state = _overall(entries)
    if options.json:
        found = {"manager": manager, "enabled": enabled, "daemons": msgspec.to_builtins(entries)}
        output.print_json({"state": state, **found})
    elif state == "stopped":
        for line in _stopped_lines(entries, path):
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


def _stopped_lines(entries: Sequence[Entry], path: Path) -> Iterator[str]:
    """Nothing answers: why, where systemd knows, and how to start."""
    yield f"geoos is {output.colored('stopped', bold=True)}"
    for entry in entries:
        if entry.unit is not None and entry.unit.failed:
            yield f"{entry.name:<11}  {output.colored('failed')}"
            yield from _unit_lines(entry)
            if entry.remedy:
                yield f"{' ' * _INDENT}→ {output.visible(entry.remedy)}"
    yield f"start it: {how_to_start(path)}"


def _unit_lines(entry: Entry) -> Iterator[str]:
    """What systemd has to say about a daemon's unit, and the error before its last end."""
    if entry.unit is None:
        return
    if words := systemd.trouble(entry.unit):
        yield from _wrapped(words)
        if entry.unit.last_error:
            yield from _wrapped(f"last error: {entry.unit.last_error}")


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
            cells.shorten(output.visible(each.session), 12),
            output.visible(each.model or "–"),
            output.visible(each.upstream or "–"),
            output.visible(_phase(each)),
            str(each.tokens),
            "–" if each.tokens_per_second is None else output.number(each.tokens_per_second),
            output.ago(now - each.since),
        ]
        for each in requests
    ]
    head = ["REQUEST", "MODEL", "UPSTREAM", "PHASE", "TOKENS", "TOK/S", "FOR"]
    return output.table_within(head, rows, ["MODEL", "UPSTREAM"], align="<<<<>>>")


def _phase(request: Request) -> str:
    if request.position is not None and request.phase == "queued":
        return f"queued #{request.position}"
    if request.total and request.processed is not None and request.phase == "prefill":
        return f"prefill {100 * request.processed // request.total} %"
    return request.phase
