"""A viewer over a plain socket: the texts of one connection to ``/neural`` (RFC 6455, by wsproto).

The server pings who is silent; a connection that says nothing for longer than that is dead.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from urllib.parse import urlencode, urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import CloseConnection, Ping, RejectConnection, Request, TextMessage
from wsproto.utilities import ProtocolError

from geoosd.errors import GeoosError

SILENT_SECONDS = 60.0
_RECEIVE = 1 << 16
_ABNORMAL = 1006


class Lost(GeoosError):
    """The connection has ended, or there was none; ``code`` is a close code, 1006 without one."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Unauthorized(GeoosError):
    """The server wants a token, or another one: trying again does not help."""


def texts(
    url: str, query: Mapping[str, str], token: str | None, connect_seconds: float
) -> Iterator[str]:
    """The messages of one connection to the broadcaster at *url* (http or https), as they come.

    Ends by raising :class:`Lost`, or :class:`Unauthorized` when it is not let in.
    """
    parts = urlsplit(url)
    headers = [(b"Authorization", b"Bearer " + token.encode())] if token else []
    target = f"/neural?{urlencode(query)}" if query else "/neural"
    request = Request(
        host=parts.netloc, target=target, subprotocols=["geoos.v1"], extra_headers=headers
    )
    try:
        with closing(_connect(url, connect_seconds)) as sock:
            sock.settimeout(SILENT_SECONDS)
            websocket = WSConnection(ConnectionType.CLIENT)
            sock.sendall(websocket.send(request))
            yield from _received(sock, websocket)
    except TimeoutError:
        raise Lost(_ABNORMAL, f"no word from {url} for too long") from None
    except (OSError, ProtocolError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Lost(_ABNORMAL, f"cannot reach {url}: {reason.lower()}") from None


def _connect(url: str, seconds: float) -> socket.socket:
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    sock = socket.create_connection((host, parts.port or (443 if secure else 80)), seconds)
    if not secure:
        return sock
    try:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    except OSError:
        sock.close()
        raise


def _received(sock: socket.socket, websocket: WSConnection) -> Iterator[str]:
    parts: list[str] = []
    while True:
        websocket.receive_data(sock.recv(_RECEIVE) or None)
        for event in websocket.events():
            match event:
                case TextMessage():
                    parts.append(event.data)
                    if event.message_finished:
                        yield "".join(parts)
                        parts.clear()
                case Ping():
                    sock.sendall(websocket.send(event.response()))
                case RejectConnection():
                    _refuse(event.status_code)
                case CloseConnection():
                    with suppress(OSError, ProtocolError):
                        sock.sendall(websocket.send(event.response()))
                    raise Lost(event.code, event.reason or "the server has gone")
                case _:
                    pass


def _refuse(status: int) -> None:
    if status in (401, 403):
        raise Unauthorized(
            f"cannot watch: the server answers {status}; give a token: geoosctl token create, "
            "then GEOOS_TOKEN=TOKEN geoosctl watch"
        )
    raise Lost(_ABNORMAL, f"the server answers {status}")
