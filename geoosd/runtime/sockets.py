"""Listening sockets: activation by name (sd_listen_fds_with_names(3)), else our own binding.

Whoever starts us, systemd or ``geoosd up``, hands Unix sockets over by ``LISTEN_FDS``; a socket
that was not handed over is bound here, and its file is removed again by us alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import trio

from geoosd.config import Address
from geoosd.errors import StartError, reason_of

_FIRST_FD = 3
_BACKLOG = 128
_TCP_BACKLOG = 4096
_LEAVING_SECONDS = 3.0
_LEAVING_POLL = 0.05
_TCP_LISTEN_STATE = "0A"


def take_listen_fds() -> dict[str, list[socket.socket]]:
    """The sockets handed to this process, by name; the environment's variables are removed.

    The order of ``LISTEN_FDNAMES`` varies with systemd: match by name only.
    """
    pid = os.environ.pop("LISTEN_PID", None)
    count = os.environ.pop("LISTEN_FDS", "0")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    taken: dict[str, list[socket.socket]] = {}
    for index in range(int(count)):
        fd = _FIRST_FD + index
        os.set_inheritable(fd, False)
        name = names[index] if index < len(names) and names[index] else "unknown"
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            taken.setdefault(name, []).append(socket.socket(fileno=fd))
    return taken


def bind_unix(path: Path) -> socket.socket:
    """Bind and listen on *path*, mode 0660; a dead predecessor's file is replaced.

    Raises :class:`StartError` when somebody listens there or the path cannot be used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_dead_socket(path):
            path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
        path.chmod(0o660)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"cannot listen on {path}: somebody does already; stop it (geoosctl stop) or set "
                "GEOOS_RUNTIME_DIR to another directory"
            ) from None
        raise StartError(f"cannot listen on {path}: {reason_of(error)}") from None
    return listener


def _is_dead_socket(path: Path) -> bool:
    """Whether *path* is a socket that nobody listens on any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


async def bind_tcp(address: Address, key: str) -> list[trio.SocketListener]:
    """Listen on *address*; *key* is its name in the configuration, for the error.

    Raises :class:`StartError` that names the port, who holds it and how to choose another.
    """
    try:
        return await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        raise _cannot_listen(address, key, error) from None


async def bind_shared(address: Address, key: str, count: int) -> list[list[socket.socket]]:
    """Sockets that listen on *address* for each of *count* processes: the kernel spreads the
    connections (socket(7), SO_REUSEPORT).

    The port is first taken as if it were for one: two strangers never share it without a word. A
    predecessor's processes that are just leaving are given a while. Raises as :func:`bind_tcp`.
    """
    deadline = trio.current_time() + _LEAVING_SECONDS
    while True:
        try:
            return await _bind_groups(address, count)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or trio.current_time() > deadline:
                raise _cannot_listen(address, key, error) from None
        await trio.sleep(_LEAVING_POLL)


async def _bind_groups(address: Address, count: int) -> list[list[socket.socket]]:
    groups: list[list[socket.socket]] = [[] for _ in range(count)]
    found = await trio.socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    unknown: OSError | None = None
    with contextlib.ExitStack() as undo:
        for family, _type, _protocol, _name, where in found:
            try:
                first = undo.enter_context(_listening(family, where, alone=True))
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                unknown = error  # as of IPv6 on a machine without it: the others will do
                continue
            groups[0].append(first)
            # Only what listens already may be joined, and by our own user alone.
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for group in groups[1:]:
                sock = _listening(family, first.getsockname(), alone=False)
                group.append(undo.enter_context(sock))
        if unknown is not None and not groups[0]:
            raise unknown
        undo.pop_all()
    return groups


def _listening(family: int, where: Any, *, alone: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not alone:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(_TCP_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _cannot_listen(address: Address, key: str, error: OSError) -> StartError:
    codes = {error.errno, *(getattr(each, "errno", None) for each in _parts(error))}
    if errno.EADDRINUSE in codes:
        holder = port_holder(address.port)
        who = f" by {holder}" if holder else ""
        return StartError(
            f"cannot listen on {address}: the port is taken{who}; stop that, or choose another "
            f"port: {key} in geoos.toml, or --set {key}={address.host}:PORT"
        )
    reason = reason_of(error)
    return StartError(f"cannot listen on {address} ({key}): {reason}")


def _parts(error: BaseException) -> tuple[BaseException, ...]:
    """The causes that trio groups under one OSError when every address of a host failed."""
    cause = error.__cause__
    return cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()


def port_holder(port: int) -> str | None:
    """Who listens on TCP *port*, as ``name (pid N)``; None where /proc does not tell us."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            for fd in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(fd.readlink()) in inodes:
                        name = (process / "comm").read_text().strip()
                        return f"{name} (pid {process.name})"
    return None


def _listening_inodes(port: int) -> set[str]:
    """``socket:[inode]`` of every listening TCP socket on *port* (proc_net_tcp(5))."""
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                local_port = int(columns[1].rpartition(":")[2], 16)
                if local_port == port and columns[3] == _TCP_LISTEN_STATE:
                    found.add(f"socket:[{columns[9]}]")
    return found
