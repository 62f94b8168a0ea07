"""What systemd says of the unit of a daemon that does not answer, in our words. Pure.

:mod:`geoosd.control.adapters.units` asks ``systemctl show`` (systemctl(1)) for :data:`PROPERTIES`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from geoosd.control.core.rootcause import Absence
from geoosd.errors import EX_CONFIG

Manager: TypeAlias = Literal["system", "user"]

PROPERTIES: Final = ("LoadState", "ActiveState", "ExecMainStatus", "StatusText")


def unit_of(daemon: str) -> str:
    """The service unit of a daemon."""
    return f"geoos-{daemon}.service"


def how_to_start(daemon: str, manager: Manager) -> str:
    """The command that starts a daemon."""
    return f"{'sudo ' if manager == 'system' else ''}geoosctl start {daemon}"


def absence(daemon: str, manager: Manager, shown: str) -> Absence | None:
    """Why *daemon* is away, from the ``Key=value`` lines of ``systemctl show``.

    None where systemd means it to run, or does not know it: then what was found at its socket is
    the better account.
    """
    pairs = (line.partition("=") for line in shown.splitlines())
    fields = {key: value for key, _, value in pairs}
    start = how_to_start(daemon, manager)
    if fields.get("LoadState") == "masked":
        systemctl = "sudo systemctl" if manager == "system" else "systemctl --user"
        return Absence("masked", f"{systemctl} unmask {unit_of(daemon)}", stopped=True)
    if fields.get("LoadState") != "loaded":
        return None
    if fields.get("ActiveState") == "inactive":
        return Absence("stopped", start, stopped=True)
    if fields.get("ActiveState") == "failed":
        return Absence(*_failed(fields, daemon, start))
    return None


def _failed(fields: dict[str, str], daemon: str, start: str) -> tuple[str, str]:
    """The reason and the remedy for one that systemd has given up."""
    why = fields.get("StatusText", "")
    if fields.get("ExecMainStatus") != str(EX_CONFIG):
        return "it failed too often in a short time, and systemd has given it up", start
    if not why:
        return "it cannot start", f"geoosctl config check; then: {start}"
    return f"it cannot start: {why}", f"mend that; then: {start}"
