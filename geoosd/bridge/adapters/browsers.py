"""What the proxy does about browsers: the check of Host, and CORS where it is configured.

A page of any site can have a browser ask localhost. Its script cannot read the answer, unless its
name was rebound to this machine: on a loopback listener a Host that is not ours is refused
(:mod:`geoosd.wire.access`). Pages of the origins in ``[bridge] origins`` may read it: they get the
fields of the Fetch standard's CORS protocol, and preflights are answered here. Of other origins
nothing is said: what the upstream answers to them passes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable

from geoosd.bridge.adapters.http_connection import ClientRequest
from geoosd.bridge.adapters.http_fields import Fields, first, host_of
from geoosd.config import Address
from geoosd.wire.access import Doorkeeper

ANY = "*"
_MAX_AGE = b"600"
_EXPOSED = b"x-geoos-session, x-geoos-upstream, retry-after"


class Browsers:
    """The rules of one listener, *listen*, and of the *origins* whose pages may read answers."""

    def __init__(self, listen: Address, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._door = Doorkeeper.of(listen.host, self._origins) if listen.is_loopback else None

    def welcomes(self, request: ClientRequest) -> bool:
        """Whether the host that the request is for is a name of ours; HTTP/1.0 may tell none."""
        host = host_of(request.target, request.headers)
        if self._door is None or host is None:
            return True
        return self._door.welcomes_host(host.decode("latin-1"))

    def fields(self, request: ClientRequest) -> Fields:
        """What every answer to the request gets; nothing where its origin is not configured."""
        origin = first(request.headers, b"origin")
        if origin is None or not self._origins:
            return []
        if ANY not in self._origins and origin.decode("latin-1").lower() not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        ]


def preflight(request: ClientRequest) -> Fields | None:
    """What to allow in answer to a CORS preflight; None where the request is none."""
    method = first(request.headers, b"access-control-request-method")
    if request.method != b"OPTIONS" or method is None:
        return None
    fields: Fields = [
        (b"access-control-allow-methods", method),
        (b"access-control-max-age", _MAX_AGE),
    ]
    if (names := first(request.headers, b"access-control-request-headers")) is not None:
        fields.append((b"access-control-allow-headers", names))
    if first(request.headers, b"access-control-request-private-network") == b"true":
        fields.append((b"access-control-allow-private-network", b"true"))
    return fields
