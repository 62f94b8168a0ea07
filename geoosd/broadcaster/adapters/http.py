"""Requests, responses and routes (RFC 9110), and who may use them.

The bytes are read and written by :mod:`.port`; what is served stands in the route table of
:mod:`.api`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec
import trio

from geoosd.errors import VarlinkError
from geoosd.wire.access import Doorkeeper
from geoosd.wire.varlink import INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE

SECURITY_HEADERS = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'self'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)
"""OBS shows the page top-level, not in a frame, so ``frame-ancestors 'self'`` does not hurt it."""

_STATUS_OF = {INVALID_ARGUMENT: 400, NOT_FOUND: 404, UNAVAILABLE: 503}
_LOOK_AT_CLOCK_SECONDS = 60.0
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")

T = TypeVar("T")
Access: TypeAlias = Literal["read", "change"]
"""``change`` needs the same origin, and the role ``admin`` where tokens are asked for."""


@dataclass(frozen=True)
class Request:
    """A request. Header names are lowercase.

    ``role`` and ``expires`` (seconds since the epoch) are its token's, where tokens are asked for;
    its query is then without the token.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    role: Literal["viewer", "admin"] = "admin"
    expires: float | None = None

    def with_body(self, body: bytes) -> Request:
        """The same with its body, once that has been read."""
        return replace(self, body=body)


@dataclass(frozen=True)
class Response:
    """An answer; *headers* are added to the ones that every answer has."""

    status: int
    body: bytes = b""
    media_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class Streamed:
    """An answer that has no end; it lasts until the client leaves."""

    parts: AsyncGenerator[bytes, None]
    media_type: str


Handler: TypeAlias = Callable[[Request], Awaitable[Response | Streamed]]
"""May raise :class:`Refused`, and :class:`VarlinkError` of whom it asked (:func:`refusal`)."""


@dataclass(frozen=True)
class Route:
    """One entry of the route table. A GET route answers HEAD too."""

    method: Literal["GET", "POST", "PUT"]
    path: str
    access: Access
    handler: Handler


def failure(status: int, code: str, message: str, *headers: tuple[str, str]) -> Response:
    """An error in JSON, with OpenAI's shape."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    return Response(status, body, "application/json", headers)


def as_json(value: object, status: int = 200) -> Response:
    """*value* in JSON, not to be cached."""
    return Response(
        status, msgspec.json.encode(value), "application/json", (("cache-control", "no-store"),)
    )


def refusal(error: VarlinkError) -> Response:
    """What another daemon answered, or that it did not."""
    code = _CAPITAL.sub("_", error.error.rpartition(".")[2]).lower()
    return failure(_STATUS_OF.get(error.error, 502), code, str(error))


class Refused(Exception):
    """A request that is answered with *response* instead of by its handler."""

    def __init__(self, response: Response, *, close: bool = False) -> None:
        super().__init__(response.status)
        self.response = response
        self.close = close


def query_of(request: Request, kind: type[T]) -> T:
    """The query as *kind*. Raises :class:`Refused` with 400."""
    try:
        return msgspec.convert(dict(parse_qsl(request.query)), kind, strict=False)
    except ValueError as error:  # of parse_qsl, and msgspec.ValidationError
        raise Refused(failure(400, "bad_request", f"cannot take the query: {error}")) from None


def body_of(request: Request, kind: type[T]) -> T:
    """The JSON of the body as *kind*. Raises :class:`Refused` with 400, and with 415 for a body
    that is not said to be JSON: a form of another site's page never says so.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        text = "cannot take this: send application/json"
        raise Refused(failure(415, "unsupported_media_type", text))
    try:
        return msgspec.json.decode(request.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(failure(400, "bad_request", f"cannot take the body: {error}")) from None


async def until_expired(expires: float, now: Callable[[], float]) -> None:
    """Wait until *now*, the wall clock, is past *expires*. It may be set, so it is looked at again
    and again."""
    while (left := expires - now()) > 0:  # noqa: ASYNC110 - no event tells the time
        await trio.sleep(min(left, _LOOK_AT_CLOCK_SECONDS))


class Admission(Protocol):
    """Who looks at tokens: :class:`.guard.Guard`."""

    @property
    def key(self) -> bytes:
        """With what tokens are made."""
        ...

    def admit(self, request: Request) -> Request:
        """The request with what its token says. Raises :class:`Refused`."""
        ...


class Router:
    """Finds the route of a request and checks that its sender may use it.

    *guard* None: no tokens are asked for.
    """

    def __init__(
        self, routes: list[Route], door: Doorkeeper, guard: Admission | None = None
    ) -> None:
        self.door = door
        self.guard = guard
        self._routes: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route

    def admit(self, request: Request) -> Request:
        """What every request must pass, one for a WebSocket too. Raises :class:`Refused`."""
        host = request.headers.get("host")
        if host is None or not self.door.welcomes_host(host):
            text = "cannot serve this host name; add its origin to [broadcaster] origins"
            raise Refused(failure(403, "forbidden", text))
        return request if self.guard is None else self.guard.admit(request)

    def find(self, request: Request) -> tuple[Route, Request]:
        """The route of a request, and the request as admitted; raises :class:`Refused` with 404,
        405 or 403.
        """
        request = self.admit(request)
        methods = self._routes.get(request.path) or self._routes.get(
            request.path.rpartition("/")[0] + "/*"
        )
        if methods is None:
            raise Refused(failure(404, "not_found", "cannot find this path"))
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allow = ("allow", ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])]))
            text = f"cannot {request.method} here"
            raise Refused(failure(405, "method_not_allowed", text, allow))
        if route.access == "change":
            self._check_may_change(request)
        return route, request

    def _check_may_change(self, request: Request) -> None:
        if request.role != "admin":
            text = "cannot let a viewer change anything; use a token of role admin"
            challenge = ("www-authenticate", 'Bearer realm="geoos", error="insufficient_scope"')
            raise Refused(failure(403, "forbidden", text, challenge))
        headers = request.headers
        if not self.door.is_same_origin(
            headers.get("origin"), headers["host"], headers.get("sec-fetch-site")
        ):
            raise Refused(failure(403, "forbidden", "cannot take this from another origin's page"))
