"""The native protocol of systemd-journald (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).

Records go as fields, not as JSON text in MESSAGE, so that ``journalctl -p warning`` and
``journalctl GEOOS_SESSION=...`` find them. Never blocks the caller and loses nothing while journald
stalls or restarts, up to a bound; what is lost beyond it is counted and said.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
import threading
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
_BACKLOG = 10_000
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_FORBIDDEN = re.compile(r"[^A-Z0-9_]")


def stderr_is_journal() -> bool:
    """Whether stderr is the journal's stream.

    ``JOURNAL_STREAM`` is inherited by children whose stderr is something else, hence the comparison
    (systemd.exec(5)).
    """
    try:
        device, inode = map(int, os.environ["JOURNAL_STREAM"].split(":"))
        status = os.fstat(2)
    except (KeyError, ValueError, OSError):
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


def field_name(key: str) -> str:
    """A key of ours as a journal field, such as ``GEOOS_SESSION``."""
    name = _FORBIDDEN.sub("_", key.upper()).lstrip("_0123456789")
    return (name if name.startswith("GEOOS_") else f"GEOOS_{name}")[:64]


def encode(fields: Mapping[str, object]) -> bytes:
    """Fields in journald's wire format; a value that holds a newline goes with its length."""
    out = bytearray()
    for name, value in fields.items():
        data = str(value).encode("utf-8", "surrogateescape")
        if b"\n" in data:
            out += name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            out += name.encode() + b"=" + data + b"\n"
    return bytes(out)


class JournalSocket:
    """Sends records in order; a thread takes over while journald's short queue is full.

    Every datagram is addressed on its own, so a restarted journald is found again.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        self._backlog: collections.deque[bytes] = collections.deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.lost = 0

    def send(self, fields: Mapping[str, object]) -> None:
        """Send one record, now or from the backlog."""
        data = encode({**fields, "GEOOS_LOST": self.lost} if self.lost else fields)
        with self._changed:
            if not self._backlog and self._send_now(data):
                return
            if len(self._backlog) >= _BACKLOG:
                self.lost += 1
                return
            self._backlog.append(data)
            self.lost = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._drain, name="journal", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _send_now(self, data: bytes) -> bool:
        """Whether the record is done with; False when journald's queue is full."""
        try:
            self._write(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            self.lost += 1
            return True
        self.lost = 0
        return True

    def _write(self, data: bytes, flags: int) -> None:
        try:
            self._socket.sendto(data, flags, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._write_memfd(data, flags)

    def _write_memfd(self, data: bytes, flags: int) -> None:
        """A record too large for a datagram goes as a sealed memory file."""
        fd = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]
            self._socket.sendmsg([], rights, flags, self._path)
        finally:
            os.close(fd)

    def _drain(self) -> None:
        while True:
            with self._changed:
                while not self._backlog:
                    self._changed.wait()
                data = self._backlog[0]
            sent = True
            try:
                self._write(data, 0)
            except OSError:
                sent = False
            # Removed only once it is sent, so that the fast path cannot overtake it.
            with self._changed:
                self._backlog.popleft()
                self.lost += not sent
                self._changed.notify_all()

    def flush(self, timeout: float = 2.0) -> None:
        """Wait at most *timeout* seconds for the backlog to drain."""
        with self._changed:
            self._changed.wait_for(lambda: not self._backlog, timeout)
