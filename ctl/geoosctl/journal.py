"""Log records from systemd's journal, through ``journalctl -o json`` (journalctl(1)).

The daemons write native fields (:mod:`geoosd.runtime.journal`); here they become
:class:`~geoosd.wire.reports.Record` again. What systemd itself says about a unit ("Main process
exited") is a record too, and so are a hung daemon's last words on stderr.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from geoosctl.systemd import Manager, exit_in_words, service
from geoosd.config import DAEMONS
from geoosd.errors import GeoosError, reason_of
from geoosd.wire.reports import Level, Record

_DIRECTORIES = (Path("/var/log/journal"), Path("/run/log/journal"))
_PRIORITIES: Final[Mapping[str, str]] = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "err",
    "critical": "crit",
}
_OWN: Final = {"GEOOS_SESSION": "session", "GEOOS_UPSTREAM": "upstream", "GEOOS_ERROR": "error"}
_NOT_SHOWN = {*_OWN, "GEOOS_EVENT", "GEOOS_DAEMON", "GEOOS_EXCEPTION", "GEOOS_LOST"}
_LAST_ERROR_SECONDS = 5.0
_PROCESS_EXIT = "98e322203f7a4ed290d09fe03c09fe15"
"""systemd's message "Main process exited" (sd-messages(3))."""


def arguments(
    manager: Manager,
    daemons: Sequence[str],
    *,
    lines: int | None,
    level: str | None = None,
    session: str | None = None,
    since: float | None = None,
    follow: bool = False,
) -> list[str]:
    """The command line of journalctl that finds the records asked for."""
    option = "--user-unit" if manager == "user" else "--unit"
    command = ["journalctl", "--output=json", "--no-pager", "--quiet", "--all"]
    command += [f"{option}={service(name)}" for name in daemons]
    command += [] if lines is None else [f"--lines={lines}"]
    command += [] if level is None else [f"--priority={_PRIORITIES[level]}"]
    command += [] if since is None else [f"--since=@{since:.6f}"]
    command += ["--follow"] if follow else []
    command += ["--no-tail"] if follow and lines is None else []
    return command + ([] if session is None else [f"GEOOS_SESSION={session}"])


def record(entry: Mapping[str, Any]) -> Record | None:
    """A journal entry as a record; None for one without a time or a message."""
    stamp, message = _text(entry.get("__REALTIME_TIMESTAMP")), _text(entry.get("MESSAGE"))
    if not stamp or not stamp.isdigit() or message is None:
        return None
    fields = {
        key.removeprefix("GEOOS_").lower(): text
        for key, value in sorted(entry.items())
        if key.startswith("GEOOS_") and key not in _NOT_SHOWN and (text := _text(value)) is not None
    }
    own = {name: _text(entry.get(key)) for key, name in _OWN.items()}
    event = _text(entry.get("GEOOS_EVENT"))
    if event is None and _text(entry.get("SYSLOG_IDENTIFIER")) == "systemd":
        fields["by"] = "systemd"
    return Record(
        timestamp=int(stamp) / 1e6,
        level=_level(_text(entry.get("PRIORITY"))),
        event=message if event is None else event,
        daemon=_text(entry.get("GEOOS_DAEMON")) or _daemon(entry),
        fields=fields,
        **own,
    )


def _text(value: object) -> str | None:
    """A field's value: journalctl gives bytes that are not UTF-8 as a list of numbers, and a field
    that is there more than once as a list of values."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value).decode("utf-8", "replace")
    return _text(value[0])


def _level(priority: str | None) -> Level:
    known: Mapping[str, Level] = {"3": "error", "4": "warning", "7": "debug"}
    if priority in ("0", "1", "2"):
        return "critical"
    return known.get(priority or "", "info")


def _daemon(entry: Mapping[str, Any]) -> str:
    """The daemon whose unit the entry is from or about."""
    for key in ("UNIT", "USER_UNIT", "_SYSTEMD_USER_UNIT", "_SYSTEMD_UNIT"):
        name = (_text(entry.get(key)) or "").removeprefix("geoos-").removesuffix(".service")
        if name in DAEMONS:
            return name
    return "systemd"


# -- asking ----------------------------------------------------------------------------------------


def readable(manager: Manager) -> bool:
    """Whether this user may read the journal that has the daemons' records."""
    if shutil.which("journalctl") is None:
        return False
    names = ["system.journal"] + ([f"user-{os.getuid()}.journal"] if manager == "user" else [])
    files = (file for top in _DIRECTORIES for name in names for file in top.glob(f"*/{name}"))
    return any(os.access(file, os.R_OK) for file in files)


def read(command: Sequence[str]) -> Iterator[Record]:
    """The records that the journalctl *command* prints, as they come.

    Raises :class:`GeoosError` when journalctl cannot run or fails.
    """
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise GeoosError(f"cannot run journalctl: {reason_of(error)}") from None
    with process:
        try:
            assert process.stdout is not None  # a pipe, and so is the next
            assert process.stderr is not None
            yield from _records(process.stdout)
            said = process.stderr.read().decode("utf-8", "replace").strip()
        finally:
            process.terminate()
    # With --quiet nothing found is no error, but ends with 1 where a match is given.
    if process.returncode > 0 and said:
        raise GeoosError(f"cannot read the journal: {said.splitlines()[0]}")


def _records(lines: Iterator[bytes] | Any) -> Iterator[Record]:
    for line in lines:
        try:
            found = record(json.loads(line))
        except ValueError:
            continue  # a line cut off when journalctl was ended
        if found is not None:
            yield found


def last_exit(manager: Manager, daemon: str) -> str | None:
    """How the process before the present one ended, which ``systemctl show`` has forgotten."""
    if not readable(manager):
        return None
    unit = "USER_UNIT" if manager == "user" else "UNIT"
    command = ["journalctl", "--output=json", "--no-pager", "--quiet", "--lines=1"]
    command += [f"MESSAGE_ID={_PROCESS_EXIT}", f"{unit}={service(daemon)}"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_LAST_ERROR_SECONDS, check=False
        )
        entry = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    status = _text(entry.get("EXIT_STATUS")) or ""
    code = _text(entry.get("EXIT_CODE")) or ""
    return exit_in_words(code, int(status)) if status.isdigit() else None


def last_error(manager: Manager, daemon: str) -> str | None:
    """The newest error record of a daemon in one line; None when there is none to be read."""
    if not readable(manager):
        return None
    command = arguments(manager, [daemon], lines=20, level="error")
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_LAST_ERROR_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # systemd's own "Failed with result ..." says less than the daemon's words before it.
    found = [each for each in _records(done.stdout.splitlines()) if "by" not in each.fields]
    if not found:
        return None
    newest = found[-1]
    return f"{newest.event}: {newest.error}" if newest.error else newest.event
