"""A remedy as the command that is right where geoos runs.

A remedy is a command, or words and "then: " or "else: " before a command. Whoever finds a fault
names it as an administrator thinks of it: ``geoosctl restart bridge``. What has to be typed depends
on who keeps the daemons running: systemd, for the whole machine or for one user, or ``geoosd up``
in a terminal, which starts anew what has ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Keeper: TypeAlias = Literal["system", "user", "foreground"]

_COMMAND: Final = r"(?:^|(?<=; )|(?<=&& )|(?<=then: )|(?<=else: ))"
"""Where a command begins: a remedy is commands, or words and then a command."""
_NEEDS_ROOT: Final = re.compile(
    _COMMAND + r"(?=(?:chmod|install|journalctl|systemctl)\b"
    r"|geoosctl (?:start|stop|restart|reload|restore)\b)"
)
_OF_USER: Final = re.compile(_COMMAND + r"(systemctl|journalctl) ")
_REMAKE: Final = re.compile(_COMMAND + r"geoosctl stop (\w+) && geoosctl start \1\b")
_CHANGE: Final = re.compile(_COMMAND + r"geoosctl (start|restart)(?: (\w+))?(?=;| &&|$)")


def remake(daemon: str) -> str:
    """The remedy for sockets of *daemon* that are gone: they live longer than it does."""
    return f"geoosctl stop {daemon} && geoosctl start {daemon}"


@dataclass(frozen=True)
class Place:
    """Where geoos runs. ``supervisor`` is the pid of ``geoosd up``, 0 under systemd."""

    keeper: Keeper
    supervisor: int = 0

    def command(self, remedy: str, ends: Mapping[str, str]) -> str:
        """*remedy* as it has to be typed here.

        *ends* are the commands that end the processes of daemons, by name; one without a process
        has none.
        """
        if self.keeper == "system":
            return _NEEDS_ROOT.sub("sudo ", remedy)
        if self.keeper == "user":
            return _OF_USER.sub(r"\1 --user ", remedy)
        again = f"kill -INT {self.supervisor}; geoosd up"

        def change(found: re.Match[str]) -> str:
            verb, daemon = found.groups()
            if daemon is None:
                return "geoosd up" if verb == "start" else again
            return f"geoosd {daemon}" if verb == "start" else ends.get(daemon, again)

        return _CHANGE.sub(change, _REMAKE.sub(again, remedy))
