"""Requests to become a WebSocket (RFC 6455 §4.2.1), checked before trio-websocket sees a byte.

wsproto decodes some headers as ASCII, and what it raises for others ends the task that reads; so
nothing but a handshake that it takes is handed on.
"""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

import h11

from geoosd.broadcaster.adapters.http import Refused, Request, failure
from geoosd.wire.access import Doorkeeper

_KEY_BYTES = 16


class Upgrade(NamedTuple):
    """A connection on its way to be a viewer's: all that is kept of its request while it lasts.

    ``head`` is what was read so far, the request's head first; ``key`` and ``subprotocols`` are
    those of its headers; ``expires`` is its token's; ``client`` is the address it counts for,
    ``address`` the one to show.
    """

    sock: socket.socket
    head: bytes
    query: str
    key: str
    subprotocols: str
    expires: float | None
    client: str
    address: str


UpgradeHandler: TypeAlias = Callable[[Upgrade], Awaitable[None]]


def is_upgrade(head: h11.Request) -> bool:
    """Whether a request wants to be a WebSocket, if perhaps not in a way that can be granted."""
    headers = dict(head.headers)
    return head.method == b"GET" and headers.get(b"upgrade", b"").lower() == b"websocket"


def check_upgrade(head: h11.Request, request: Request, door: Doorkeeper) -> None:
    """Raises :class:`Refused` for what trio-websocket must not or cannot be given."""
    headers = request.headers
    if request.path != "/neural":
        raise Refused(failure(404, "not_found", "cannot find this path; viewers use /neural"))
    if not all(value.isascii() for _name, value in head.headers):
        raise _bad("headers that are not ASCII")
    if headers.get("sec-websocket-version") != "13":
        version = ("sec-websocket-version", "13")
        text = "cannot speak this version of WebSocket"
        raise Refused(failure(426, "upgrade_required", text, version))
    tokens = [token.strip().lower() for token in headers.get("connection", "").split(",")]
    if "upgrade" not in tokens:
        raise _bad("an upgrade without Connection: Upgrade")
    if not _is_key(headers.get("sec-websocket-key", "")):
        raise _bad("a Sec-WebSocket-Key that is not base64 of 16 bytes")
    names = [name for name, _value in head.headers if name.startswith(b"sec-websocket-")]
    has_body = "content-length" in headers or "transfer-encoding" in headers
    if len(names) != len(set(names)) or has_body:
        raise _bad("a handshake with a body, or with a header twice")
    if not door.welcomes_origin(headers.get("origin"), headers["host"]):
        text = "cannot let this origin watch; add it to [broadcaster] origins"
        raise Refused(failure(403, "forbidden", text))


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _bad(what: str) -> Refused:
    return Refused(failure(400, "bad_request", f"cannot take {what}"))
