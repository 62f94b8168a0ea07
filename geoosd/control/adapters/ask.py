"""Asking one daemon over its Varlink socket, and saying why it did not answer.

A daemon that hangs costs its deadline and nothing more. What an absent daemon means for the whole
is :mod:`geoosd.control.core.rootcause`'s business.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from geoosd.control.adapters import units
from geoosd.control.adapters.host import remake
from geoosd.control.core.lifeline import Lifeline
from geoosd.control.core.rootcause import Absence
from geoosd.control.core.unit import how_to_start, unit_of
from geoosd.errors import VarlinkError
from geoosd.runtime import varlink

DEADLINE = 1.0
"""Seconds that a daemon has to say how it is."""

TELL_DEADLINE = 5.0
"""Seconds that it has to do what it is told, such as reading its configuration anew."""

T = TypeVar("T")


class Daemon:
    """One daemon as control knows it: where it listens and what was seen of its life."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.lifeline = Lifeline()
        self._manager = units.manager_of(path.parent)

    async def ask(
        self, method: str, kind: type[T], parameters: Mapping[str, Any] | None = None
    ) -> T | Absence:
        """Call a method of ``io.geoos.Daemon`` and read its reply as *kind*."""
        try:
            reply = await varlink.call(
                self.path, f"io.geoos.Daemon.{method}", parameters, timeout=DEADLINE
            )
            return msgspec.convert(reply, kind)
        except VarlinkError:
            return await self.absence()
        except msgspec.ValidationError as error:
            reason = f"cannot read its answer to {method}: {error}; it may be of another version"
            return Absence(reason, self._restart())

    async def tell(self, method: str, parameters: Mapping[str, Any]) -> VarlinkError | None:
        """Call a method that only does something; None, or why it was not done."""
        try:
            await varlink.call(
                self.path, f"io.geoos.Daemon.{method}", parameters, timeout=TELL_DEADLINE
            )
        except VarlinkError as error:
            return error
        return None

    async def absence(self) -> Absence:
        """Why nobody answers: systemd's word, else what knocking once more finds."""
        if self._manager and (known := await units.ask(self.name, self._manager)):
            return known
        answer = _knock(self.path)
        start = self._start()
        if answer == "no socket" and self.lifeline.pid and not self.lifeline.gone:
            reason = f"no socket: {self.path} is gone, although pid {self.lifeline.pid} runs"
            return Absence(reason, remake(self.path.parent, self.name))
        if answer == "no socket":
            return Absence(f"no socket: {self.path} does not exist", start)
        if answer == "refused":
            return Absence(f"refused: nobody listens on {self.path}", start)
        if answer == "forbidden":
            return Absence(
                f"forbidden: control may not open {self.path}", f"ls -l {self.path.parent}"
            )
        if self.lifeline.gone:
            reason = f"timed out: pid {self.lifeline.pid} has ended and no other answers yet"
            return Absence(reason, f"geoosctl logs --unit {self.name}")
        return Absence(f"timed out: no answer within {DEADLINE:g} s", self._restart())

    def _start(self) -> str:
        return how_to_start(self.name, self._manager) if self._manager else f"geoosd {self.name}"

    def _restart(self) -> str:
        if self._manager:
            scope = "--user " if self._manager == "user" else ""
            return f"systemctl {scope}restart {unit_of(self.name)}"
        # In the foreground the supervisor starts anew what has ended.
        pid = self.lifeline.pid
        return f"kill -9 {pid}" if pid else f"geoosctl logs --unit {self.name}"


def _knock(path: Path) -> str:
    """What connecting to *path* says: ``no socket``, ``refused``, ``forbidden`` or ``open``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, NotADirectoryError):
            return "no socket"
        except ConnectionRefusedError:
            return "refused"
        except PermissionError:
            return "forbidden"
        except BlockingIOError:
            return "open"  # its backlog is full: somebody listens, but does not accept
    return "open"
