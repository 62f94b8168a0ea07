"""What systemd says of the unit of a daemon that does not answer, in our words. Pure.

:mod:`geoosd.control.adapters.units` asks ``systemctl show`` (systemctl(1)) for :data:`PROPERTIES`.
"""

from __future__ import annotations

from typing import Final

from geoosd.control.core.observation import Absence
from geoosd.errors import EX_CONFIG

PROPERTIES: Final = ("LoadState", "ActiveState", "ExecMainStatus", "StatusText")
RESTARTS: Final = "NRestarts"


def unit_of(daemon: str) -> str:
    """The service unit of a daemon."""
    return f"geoos-{daemon}.service"


def absence(daemon: str, shown: str) -> Absence | None:
    """Why *daemon* is away, from the ``Key=value`` lines of ``systemctl show``.

    None where systemd means it to run, or does not know it: then what was found at its socket is
    the better account.
    """
    pairs = (line.partition("=") for line in shown.splitlines())
    fields = {key: value for key, _, value in pairs}
    start = f"geoosctl start {daemon}"
    if fields.get("LoadState") == "masked":
        return Absence("masked", f"systemctl unmask {unit_of(daemon)}", stopped=True)
    if fields.get("LoadState") != "loaded":
        return None
    if fields.get("ActiveState") == "inactive":
        return Absence("stopped", start, stopped=True)
    if fields.get("ActiveState") == "failed":
        if fields.get("ExecMainStatus") == str(EX_CONFIG):
            return refused(fields.get("StatusText", ""), start)
        reason = "it failed too often in a short time, and systemd has given it up"
        return Absence(reason, start)
    return None


def was_asked_for(shown: str) -> bool:
    """Whether the process that runs was started by a job and not by ``Restart=``.

    *shown* is the unit's ``NRestarts`` (systemd.service(5)): it counts the restarts of systemd's
    own, and begins anew when somebody starts or restarts the unit.
    """
    return shown.strip() == f"{RESTARTS}=0"


def refused(why: str, start: str) -> Absence:
    """Of a daemon that ended with 78, and said *why*."""
    if not why:
        return Absence("it cannot start", f"geoosctl config check && {start}")
    return Absence(f"it cannot start: {why}", f"mend that; then: {start}")
