"""A synchronous Varlink client over a plain socket (https://varlink.org/Method-Call).

It has what a command line needs: one call at a time, a deadline for each answer, errors that name
the socket. The daemons' own client is :mod:`geoosd.runtime.varlink`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geoosd.config import SYSTEM_RUNTIME_DIR
from geoosd.errors import FrameTooLarge, MessageError, VarlinkError, reason_of
from geoosd.wire import varlink as wire

_RECEIVE = 1 << 16
CONNECT_TIMEOUT = 5.0
"""Seconds until a connection must stand, where no other time is given."""


def call(
    path: Path,
    method: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = 5.0,
) -> dict[str, Any]:
    """Call *method* once and return the parameters of its reply.

    *timeout* is seconds for the answer, None waits for ever. Raises :class:`VarlinkError`: the
    peer's, ``io.geoos.Unavailable`` when nobody answers in time or what comes is no reply, or
    ``io.geoos.PermissionDenied`` when the socket may not be opened.
    """
    message = wire.Call(method, _given(parameters))
    with _connect(path, timeout) as connection:
        return next(_replies(connection, path, message))


def stream(
    path: Path,
    method: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Call *method* with ``more``: its replies as they come.

    *timeout* is seconds between two replies. Raises as :func:`call` does.
    """
    message = wire.Call(method, _given(parameters), more=True)
    with _connect(path, timeout) as connection:
        yield from _replies(connection, path, message)


def _given(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The parameters that have a value: an optional one that is missing is null."""
    return {key: value for key, value in (parameters or {}).items() if value is not None}


def _connect(path: Path, timeout: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_TIMEOUT if timeout is None else timeout)
        connection.connect(os.fspath(path))
        connection.settimeout(timeout)
    except PermissionError:
        connection.close()
        reason = (
            f"cannot open {path}: permission denied; use sudo, or: "
            "sudo usermod -aG geoos $USER, and log in again"
        )
        raise VarlinkError(wire.PERMISSION_DENIED, {"reason": reason}) from None
    except OSError as error:
        connection.close()
        why = reason_of(error)
        raise _unavailable(
            f"cannot reach {path}: {why}; start geoos: {how_to_start(path)}"
        ) from None
    return connection


def _replies(connection: socket.socket, path: Path, message: wire.Call) -> Iterator[dict[str, Any]]:
    splitter = wire.Splitter()
    try:
        connection.sendall(wire.encode(message))
        while chunk := connection.recv(_RECEIVE):
            for raw in splitter.receive(chunk):
                reply = wire.decode_reply(raw)
                if reply.error is not None:
                    raise VarlinkError(reply.error, reply.parameters)
                yield reply.parameters or {}
                if not reply.continues:
                    return
    except TimeoutError:
        waited = connection.gettimeout()
        raise _unavailable(
            f"cannot call {message.method}: no answer from {path} within {waited:g} s"
        ) from None
    except (OSError, FrameTooLarge, MessageError) as error:
        raise _unavailable(f"cannot call {message.method} on {path}: {error}") from None
    raise _unavailable(f"cannot call {message.method}: {path} closed the connection")


def how_to_start(path: Path) -> str:
    """The command that starts what should listen on *path*."""
    return "sudo systemctl start geoos.target" if path.parent == SYSTEM_RUNTIME_DIR else "geoosd up"


def _unavailable(reason: str) -> VarlinkError:
    return VarlinkError(wire.UNAVAILABLE, {"reason": reason})
