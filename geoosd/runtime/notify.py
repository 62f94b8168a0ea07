"""Telling the service manager how we are: sd_notify(3), by the ``sdnotify`` package.

Outside a service manager (no ``NOTIFY_SOCKET``) every call does nothing. ``geoosd up`` is a service
manager too: it sets the same variables.
"""

from __future__ import annotations

import os
import time

import sdnotify

_SEND_TIMEOUT = 1.0
"""Seconds after which a manager that does not read its socket is given up on."""


class Notifier:
    """One datagram socket to the service manager."""

    def __init__(self) -> None:
        self._manager = sdnotify.SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        if self._manager is not None and self._manager.socket is not None:
            self._manager.socket.settimeout(_SEND_TIMEOUT)

    def _send(self, *lines: str) -> None:
        if self._manager is not None:
            self._manager.notify("\n".join(lines))

    def ready(self, status: str) -> None:
        """``READY=1``: start-up or a reload is done."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """``STATUS=``: the line that ``systemctl status`` shows."""
        self._send(f"STATUS={_one_line(text)}")

    def reloading(self) -> None:
        """``RELOADING=1`` with the monotonic time that Type=notify-reload asks for."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={usec}")

    def stopping(self) -> None:
        """``STOPPING=1``."""
        self._send("STOPPING=1", "STATUS=draining")

    def watchdog(self) -> None:
        """``WATCHDOG=1``: alive."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket; later calls do nothing."""
        if self._manager is not None and self._manager.socket is not None:
            self._manager.socket.close()
        self._manager = None


def watchdog_interval() -> float | None:
    """Seconds within which the manager wants a sign of life (``WATCHDOG_USEC``), else None."""
    pid = os.environ.get("WATCHDOG_PID")
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6


def _one_line(text: str) -> str:
    return " ".join(text.split())
