"""One port for HTTP/1.1 (RFC 9112, by h11) and WebSocket: the first head decides.

Each connection runs behind a firewall: whatever a client does ends that connection alone, counted
and logged. What is served stands in the route table of :mod:`.api`.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import h11
import msgspec
import trio
from structlog.typing import FilteringBoundLogger

from geoosd.broadcaster.core.access import Doorkeeper

HEAD_SECONDS = 10.0
"""A client that takes longer for a request's head (slowloris) is closed."""
IDLE_SECONDS = 30.0
SEND_SECONDS = 15.0
MAX_HEAD = 16 << 10
MAX_BODY = 1 << 20
_RECEIVE_BYTES = 8192
_ERRORS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)

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

Access: TypeAlias = Literal["read", "change"]
"""``change`` needs the same origin."""


@dataclass(frozen=True)
class Request:
    """A request that passed the door. Header names are lowercase."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """An answer; *headers* are added to the ones that every answer has."""

    status: int
    body: bytes = b""
    media_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One entry of the route table. A GET route answers HEAD too."""

    method: Literal["GET", "POST"]
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


class Refused(Exception):
    """A request that is answered with *response* instead of by its handler."""

    def __init__(self, response: Response, *, close: bool = False) -> None:
        super().__init__(response.status)
        self.response = response
        self.close = close


class Router:
    """Finds the route of a request and checks that its sender may use it."""

    def __init__(self, routes: list[Route], door: Doorkeeper) -> None:
        self.door = door
        self._routes: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route

    def find(self, request: Request) -> Route:
        """The route; raises :class:`Refused` with 404, 405 or 403."""
        self.check_host(request)
        methods = self._routes.get(request.path)
        if methods is None:
            raise Refused(failure(404, "not_found", "cannot find this path"))
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            raise Refused(
                failure(
                    405, "method_not_allowed", f"cannot {request.method} here", ("allow", allowed)
                )
            )
        headers = request.headers
        if route.access == "change" and not self.door.is_same_origin(
            headers.get("origin"), headers["host"], headers.get("sec-fetch-site")
        ):
            raise Refused(failure(403, "forbidden", "cannot take this from another origin's page"))
        return route

    def check_host(self, request: Request) -> None:
        """Raises :class:`Refused` unless Host names us."""
        host = request.headers.get("host")
        if host is None or not self.door.welcomes_host(host):
            raise Refused(
                failure(
                    403,
                    "forbidden",
                    "cannot serve this host name; add its origin to [broadcaster] origins",
                )
            )


Upgrade: TypeAlias = Callable[[socket.socket, bytes, str, str], Awaitable[None]]
"""Serves a WebSocket: socket, head as read, query, the peer's address."""


class Port:
    """Serves connections; ``requests`` and ``errors`` count."""

    def __init__(
        self,
        router: Router,
        upgrade: Upgrade,
        *,
        max_connections: int,
        log: FilteringBoundLogger,
        on_bug: Callable[[str, BaseException], None],
    ) -> None:
        self.router = router
        self.max_connections = max_connections
        self.connections = 0
        self.requests = 0
        self.errors = 0
        self._upgrade = upgrade
        self._log = log
        self._on_bug = on_bug

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection; never raises, but for cancellation."""
        self.connections += 1
        try:
            if self.connections <= self.max_connections:
                await _Connection(self, stream).run()
        except* _ERRORS:
            pass
        except* Exception as group:  # noqa: BLE001 - the firewall: one client never ends the rest
            self.errors += 1
            self._on_bug("connection", group)
        finally:
            self.connections -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def upgrade(self, sock: socket.socket, head: bytes, query: str, address: str) -> None:
        """Hand a socket over to the WebSocket server, with a firewall of its own.

        trio-websocket raises ``LocalProtocolError`` and the like out of its reader for what hostile
        clients send: an end of that connection, not a bug of ours.
        """
        try:
            await self._upgrade(sock, head, query, address)
        except* _ERRORS:
            pass
        except* Exception as group:  # noqa: BLE001
            self.errors += 1
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._log.warning("viewer's connection failed", error=repr(error), address=address)
        finally:
            sock.close()


class _Connection:
    """One client's connection."""

    def __init__(self, port: Port, stream: trio.SocketStream) -> None:
        self._port = port
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._raw = b""

    async def run(self) -> None:
        seconds = HEAD_SECONDS
        try:
            while True:
                with trio.move_on_after(seconds) as deadline:
                    head = await self._read_head()
                if deadline.cancelled_caught or head is None:
                    return
                if _is_upgrade(head):
                    await self._try_upgrade(head)
                    return
                if not await self._answer(head):
                    return
                self._http.start_next_cycle()
                self._raw = b""
                seconds = IDLE_SECONDS
        except h11.RemoteProtocolError as error:
            await self._refuse_bad_http(error)

    async def _read_head(self) -> h11.Request | None:
        """The next request's head; None at the end of the connection."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            data = await self._stream.receive_some(_RECEIVE_BYTES)
            self._raw += data
            self._http.receive_data(data)

    async def _answer(self, head: h11.Request) -> bool:
        """Answer one request; False when the connection is to be closed."""
        self._port.requests += 1
        close = False
        try:
            request = _as_request(head, b"")
            route = self._port.router.find(request)
            body = await self._read_body(head)
            response = await route.handler(
                Request(request.method, request.path, request.query, request.headers, body)
            )
        except Refused as refused:
            response, close = refused.response, refused.close
        await self._respond(response, head_only=head.method == b"HEAD")
        if close or self._http.our_state is h11.MUST_CLOSE:
            return False
        return self._http.their_state is h11.DONE

    async def _read_body(self, head: h11.Request) -> bytes:
        """The body; raises :class:`Refused` with 413, and 408 for one that does not come."""
        too_large = failure(413, "too_large", f"cannot take more than {MAX_BODY} bytes")
        declared = dict(head.headers).get(b"content-length", b"0")
        if int(declared) > MAX_BODY:
            raise Refused(too_large, close=True)
        body = b""
        with trio.move_on_after(SEND_SECONDS):
            while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    await self._want_body()
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > MAX_BODY:
                        raise Refused(too_large, close=True)
                else:
                    raise trio.BrokenResourceError("the client went away")
            return body
        raise Refused(failure(408, "timeout", "cannot wait for the body any longer"), close=True)

    async def _want_body(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._stream.send_all(self._http.send(go_on) or b"")
        self._http.receive_data(await self._stream.receive_some(_RECEIVE_BYTES))

    async def _respond(self, response: Response, *, head_only: bool = False) -> None:
        headers = [
            ("content-type", response.media_type),
            ("content-length", str(len(response.body))),
            *response.headers,
            *SECURITY_HEADERS,
        ]
        if response.status == 304:
            headers = headers[2:]
        out = self._http.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if not head_only and response.body:
            out += self._http.send(h11.Data(data=response.body)) or b""
        # h11 knows that an answer to HEAD has no body, whatever its content-length says.
        out += self._http.send(h11.EndOfMessage()) or b""
        with trio.fail_after(SEND_SECONDS):
            await self._stream.send_all(out)

    async def _refuse_bad_http(self, error: h11.RemoteProtocolError) -> None:
        self._port.errors += 1
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        status = error.error_status_hint
        await self._respond(
            failure(status, "bad_request", "cannot read the request", ("connection", "close"))
        )
        await self._stream.send_eof()

    async def _try_upgrade(self, head: h11.Request) -> None:
        request = _as_request(head, b"")
        try:
            self._port.router.check_host(request)
            _check_upgrade(head, request, self._port.router.door)
        except Refused as refused:
            await self._respond(refused.response)
            return
        address = _peer_address(self._stream)
        sock = socket.socket(fileno=self._stream.socket.detach())
        await self._port.upgrade(sock, self._raw, request.query, address)


def _is_upgrade(head: h11.Request) -> bool:
    headers = dict(head.headers)
    return head.method == b"GET" and headers.get(b"upgrade", b"").lower() == b"websocket"


def _check_upgrade(head: h11.Request, request: Request, door: Doorkeeper) -> None:
    """Raises :class:`Refused` for what trio-websocket must not or cannot be given."""
    if request.path != "/neural":
        raise Refused(failure(404, "not_found", "cannot find this path; viewers use /neural"))
    if not all(value.isascii() for _name, value in head.headers):
        # wsproto decodes some headers as ASCII and its error would end the reader task.
        raise Refused(failure(400, "bad_request", "cannot take headers that are not ASCII"))
    if request.headers.get("sec-websocket-version") != "13":
        raise Refused(
            failure(
                426,
                "upgrade_required",
                "cannot speak this version of WebSocket",
                ("sec-websocket-version", "13"),
            )
        )
    if "sec-websocket-key" not in request.headers:
        raise Refused(failure(400, "bad_request", "cannot upgrade without Sec-WebSocket-Key"))
    if not door.welcomes_origin(request.headers.get("origin")):
        raise Refused(
            failure(
                403, "forbidden", "cannot let this origin watch; add it to [broadcaster] origins"
            )
        )


def _as_request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("latin-1").partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("latin-1"), path, query, headers, body)


def _peer_address(stream: trio.SocketStream) -> str:
    host, port, *_ = stream.socket.getpeername()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
