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

from geoosd.config import Paths
from geoosd.control.adapters import units
from geoosd.control.core.lifeline import Lifeline
from geoosd.control.core.observation import Absence
from geoosd.control.core.remedy import Place, remake
from geoosd.errors import VarlinkError
from geoosd.runtime import varlink

DEADLINE = 1.0
"""Seconds that a daemon has to say how it is."""

TELL_DEADLINE = 5.0
"""Seconds that it has to do what it is told, such as reading its configuration anew."""

T = TypeVar("T")


class Daemon:
    """One daemon as control knows it: where it listens and what was seen of its life."""

    def __init__(self, name: str, paths: Paths, place: Place) -> None:
        self.name = name
        self.path = paths.varlink(name)
        self._paths = paths
        self.lifeline = Lifeline()
        self.keeper = place.keeper

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
            return Absence(reason, f"geoosctl restart {self.name}")

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
        if known := await units.ask(self.name, self.keeper, self._paths):
            return known
        answer = _knock(self.path)
        start = f"geoosctl start {self.name}"
        if answer == "no socket" and self.lifeline.pid and not self.lifeline.gone:
            reason = f"no socket: {self.path} is gone, although pid {self.lifeline.pid} runs"
            return Absence(reason, remake(self.name))
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
            # In the foreground its log went with it; ``geoosd up`` says at its start what is wrong.
            again = self.keeper == "foreground"
            return Absence(
                reason, "geoosctl restart" if again else f"geoosctl logs --unit {self.name}"
            )
        return Absence(
            f"timed out: no answer within {DEADLINE:g} s", f"geoosctl restart {self.name}"
        )

    def how_to_end(self, *, answers: bool) -> str | None:
        """The command that ends its process; one that does not answer would not hear of SIGTERM."""
        pid = self.lifeline.pid
        if pid is None or self.lifeline.gone:
            return None
        return f"kill {pid}" if answers else f"kill -9 {pid}"


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
