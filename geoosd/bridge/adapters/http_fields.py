"""Header fields and paths on their way through the proxy (RFC 9110 §7.6.1, RFC 9112 §3.2).

Names keep the case in which they came. No ``Via`` is added: to its users the bridge is to look like
the server behind it. Used by :mod:`.proxy`, :mod:`.http_client`; the server is
:mod:`.http_server`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

import h11

Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields in order, names as sent."""

Parsed: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Header fields as h11 gives them: names in lowercase."""


class ParsedHead(Protocol):
    """The headers of an h11 event: iterated in lowercase, with the names as sent beside."""

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...

    def raw_items(self) -> Fields: ...


_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade")
)
_NEVER_DROPPED: Final = frozenset((b"host", b"content-length"))
"""A ``Connection`` header that names these would break the framing or the routing."""


def end_to_end(headers: ParsedHead, drop: Iterable[bytes] = ()) -> Fields:
    """The fields that go on: without the hop-by-hop ones, those that ``Connection`` names, and
    *drop* (lowercase names)."""
    unwanted = {*_HOP_BY_HOP, *(_tokens(headers, b"connection") - _NEVER_DROPPED), *drop}
    return [(name, value) for name, value in headers.raw_items() if name.lower() not in unwanted]


def first(headers: Parsed, wanted: bytes) -> bytes | None:
    """The first value of a field (lowercase name) of an h11 head; None where there is none."""
    return next((value for name, value in headers if name == wanted), None)


def is_chunked(headers: Parsed) -> bool:
    """Whether the message came in chunks of no announced length."""
    return b"chunked" in _tokens(headers, b"transfer-encoding")


def takes_trailers(headers: Parsed) -> bool:
    """Whether the client says that it reads trailers (RFC 9110 §10.1.4)."""
    return b"trailers" in _tokens(headers, b"te")


def _tokens(headers: Parsed, wanted: bytes) -> set[bytes]:
    """The comma-separated tokens of a field, in lowercase."""
    return {
        token.strip().lower()
        for name, value in headers
        if name == wanted
        for token in value.split(b",")
    }


def origin_form(target: bytes) -> bytes | None:
    """A request target as path and query: a server takes absolute-form too (RFC 9112 §3.2.2).

    None for what has no path (``*``, CONNECT's authority).
    """
    scheme, slashes, rest = target.partition(b"://")
    if slashes and scheme.lower() in (b"http", b"https"):
        _authority, slash, path = rest.partition(b"/")
        return slash + path if slash else b"/"
    return target if target.startswith(b"/") else None


def host_of(target: bytes, headers: Parsed) -> bytes | None:
    """The host that a request is for: a target that names one counts before the field ``Host``
    (RFC 9112 §3.2.2). None where neither does."""
    scheme, slashes, rest = target.partition(b"://")
    if slashes and scheme.lower() in (b"http", b"https"):
        return rest.partition(b"/")[0]
    return first(headers, b"host")


def climbs(path: bytes) -> bool:
    """Whether a path holds ``.`` or ``..`` segments, plain or percent-encoded.

    A server that resolves them would serve what lies outside of ``/v1`` and ``/api``.
    """
    return any(segment in (b".", b"..") for segment in unquote_to_bytes(path).split(b"/"))


def what_is_wrong(error: h11.RemoteProtocolError) -> str:
    """h11's reason, without the bytes that it quotes: they may be of a text or of a key."""
    if "_SWITCH" in str(error):
        return "it changes to another protocol, which was not asked for"
    return re.split(r":? *(?:bytearray\()?b['\"]|:? *\{!r\}", str(error), maxsplit=1)[0]
