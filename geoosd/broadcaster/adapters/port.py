"""One port for HTTP/1.1 (RFC 9112, by h11) and WebSocket: the first head decides.

Each connection runs behind a firewall: whatever a client does ends that connection alone, counted
and logged. Whoever is too many is told so before anything is kept for it. What is served stands in
the route table of :mod:`.api`; viewers go to :mod:`.websocket`.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable

import h11
import trio

from geoosd.broadcaster.adapters.http import (
    SECURITY_HEADERS,
    Refused,
    Request,
    Response,
    Router,
    Streamed,
    failure,
    refusal,
    until_expired,
)
from geoosd.broadcaster.adapters.upgrade import Upgrade, UpgradeHandler, check_upgrade, is_upgrade
from geoosd.broadcaster.core.census import Census, client_of
from geoosd.errors import VarlinkError
from geoosd.runtime.logs import Log

HEAD_SECONDS = 10.0
"""A client that takes longer for a request's head (slowloris) is closed."""
IDLE_SECONDS = 30.0
"""How long a connection may rest between two requests."""
SEND_SECONDS = 15.0
MAX_HEAD = 16 << 10
MAX_BODY = 1 << 20
_RECEIVE_BYTES = 8192
_ABSOLUTE = re.compile(r"http://([^/?]+)(?=/|$)", re.I)
_ERRORS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)

_FULL = (
    b"HTTP/1.1 %d %s\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)


def _full(status: int, name: bytes, text: bytes) -> bytes:
    return _FULL % (status, name, len(text), text)


_TOO_MANY = _full(503, b"Service Unavailable", b"cannot serve so many at a time; try again later\n")
_TOO_MANY_OF_ONE = _full(
    429, b"Too Many Requests", b"cannot serve so many from one address; close some\n"
)


class Port:
    """Serves connections; ``requests``, ``errors`` and ``turned_away`` count. *now* is the wall
    clock, by which tokens expire.
    """

    def __init__(
        self,
        router: Router,
        upgrade: UpgradeHandler,
        *,
        max_connections: int,
        max_per_address: int = 1 << 30,
        now: Callable[[], float],
        log: Log,
        on_bug: Callable[[str, BaseException], None],
    ) -> None:
        self.router = router
        self.now = now
        self.max_connections = max_connections
        self.census = Census(max_per_address)
        self.connections = 0
        self.requests = 0
        self.errors = 0
        self.turned_away = 0
        self._upgrade = upgrade
        self._log = log
        self._on_bug = on_bug

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection; never raises, but for cancellation."""
        self.connections += 1
        try:
            await self._serve_if_there_is_room(stream)
        except* _ERRORS:
            pass
        except* Exception as group:  # noqa: BLE001 - the firewall: one client never ends the rest
            self.errors += 1
            self._on_bug("connection", group)
        finally:
            self.connections -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _serve_if_there_is_room(self, stream: trio.SocketStream) -> None:
        host, port = stream.socket.getpeername()[:2]
        if self.connections > self.max_connections:
            await self._turn_away(stream, _TOO_MANY)
        elif not self.census.enter(host):
            await self._turn_away(stream, _TOO_MANY_OF_ONE)
        else:
            try:
                # What HTTP needed is gone before the viewer's time begins.
                upgrade = await _Connection(self, stream, host, port).run()
                if upgrade is not None:
                    await self._hand_over(upgrade)
            finally:
                self.census.leave(host)

    async def _turn_away(self, stream: trio.SocketStream, answer: bytes) -> None:
        self.turned_away += 1
        with trio.move_on_after(1.0):
            await stream.send_all(answer)
            await stream.send_eof()

    async def _hand_over(self, upgrade: Upgrade) -> None:
        """Hand a socket over to the WebSocket server, with a firewall of its own."""
        try:
            await self._upgrade(upgrade)
        except* _ERRORS:
            pass
        except* Exception as group:  # noqa: BLE001
            self.errors += 1
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._log.warning(
                "viewer's connection failed", error=repr(error), address=upgrade.address
            )
        finally:
            upgrade.sock.close()


class _Connection:
    """One client's connection."""

    def __init__(self, port: Port, stream: trio.SocketStream, host: str, number: int) -> None:
        self._port = port
        self._stream = stream
        self._host = host
        self._number = number
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._raw = b""

    async def run(self) -> Upgrade | None:
        """Answer requests until the connection ends, or becomes a viewer's."""
        patience = HEAD_SECONDS
        try:
            while (head := await self._read_head(patience)) is not None:
                if is_upgrade(head):
                    return await self._upgrade(head)
                if not await self._answer(head):
                    return None
                self._raw = self._http.trailing_data[0]
                self._http.start_next_cycle()
                patience = IDLE_SECONDS
        except h11.RemoteProtocolError as error:
            await self._refuse_bad_http(error)
        return None

    async def _read_head(self, patience: float) -> h11.Request | None:
        """The next request's head; None at the end of the connection, or when it takes too long:
        *patience* seconds until it begins, and HEAD_SECONDS from then on.
        """
        with trio.move_on_after(patience) as deadline:
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    return event
                if event is not h11.NEED_DATA:
                    return None
                began = bool(self._raw)
                data = await self._stream.receive_some(_RECEIVE_BYTES)
                if not began:
                    deadline.relative_deadline = HEAD_SECONDS
                self._raw += data
                self._http.receive_data(data)
        return None

    async def _answer(self, head: h11.Request) -> bool:
        """Answer one request; False when the connection is to be closed."""
        self._port.requests += 1
        close = False
        expires: float | None = None
        response: Response | Streamed
        try:
            route, request = self._port.router.find(_as_request(head))
            expires = request.expires
            body = await self._read_body(head)
            response = await route.handler(request.with_body(body))
        except Refused as refused:
            response, close = refused.response, refused.close
        except VarlinkError as error:
            response = refusal(error)
        if isinstance(response, Streamed):
            await self._respond_for_ever(response, expires, head_only=head.method == b"HEAD")
            return False
        await self._respond(response, head_only=head.method == b"HEAD")
        if close or self._http.our_state is h11.MUST_CLOSE:
            await self._linger()
            return False
        return self._http.their_state is h11.DONE

    async def _read_body(self, head: h11.Request) -> bytes:
        """The body; raises :class:`Refused` with 413, and 408 for one that does not come."""
        too_large = failure(413, "too_large", f"cannot take more than {MAX_BODY} bytes")
        declared = dict(head.headers).get(b"content-length", b"0")
        if len(declared) > 18 or int(declared) > MAX_BODY:
            raise Refused(too_large, close=True)
        body = bytearray()
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
            return bytes(body)
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

    async def _respond_for_ever(
        self, response: Streamed, expires: float | None, *, head_only: bool
    ) -> None:
        """The parts of *response* as they come, until the client leaves or takes none, or its
        token has expired.
        """
        headers = [
            ("content-type", response.media_type),
            ("cache-control", "no-store"),
            ("connection", "close"),
            *SECURITY_HEADERS,
        ]
        await self._send_part(h11.Response(status_code=200, headers=headers))
        if head_only:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_they_leave, nursery.cancel_scope)
            if expires is not None:
                nursery.start_soon(self._until_expired, expires, nursery.cancel_scope)
            async with contextlib.aclosing(response.parts) as parts:
                async for part in parts:
                    await self._send_part(h11.Data(data=part))
            await self._send_part(h11.EndOfMessage())
            nursery.cancel_scope.cancel()

    async def _send_part(self, event: h11.Event) -> None:
        with trio.fail_after(SEND_SECONDS):
            for chunk in self._http.send_with_data_passthrough(event) or ():
                await self._stream.send_all(chunk)

    async def _until_they_leave(self, scope: trio.CancelScope) -> None:
        """A client of an endless answer has nothing more to say; its end is ours."""
        with contextlib.suppress(*_ERRORS):
            while await self._stream.receive_some(_RECEIVE_BYTES):
                pass
        scope.cancel()

    async def _until_expired(self, expires: float, scope: trio.CancelScope) -> None:
        await until_expired(expires, self._port.now)
        scope.cancel()

    async def _refuse_bad_http(self, error: h11.RemoteProtocolError) -> None:
        self._port.errors += 1
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        status = error.error_status_hint
        await self._respond(
            failure(status, "bad_request", "cannot read the request", ("connection", "close"))
        )
        await self._linger()

    async def _linger(self) -> None:
        """Our end is said; a close() with bytes unread would be a reset that overtakes it
        (RFC 9112 §9.6).
        """
        with trio.move_on_after(1.0), contextlib.suppress(*_ERRORS):
            await self._stream.send_eof()
            while await self._stream.receive_some(_RECEIVE_BYTES):
                pass

    async def _upgrade(self, head: h11.Request) -> Upgrade | None:
        """The connection with its socket, which is the caller's from now on; None: refused."""
        try:
            request = self._port.router.admit(_as_request(head))
            check_upgrade(head, request, self._port.router.door)
        except Refused as refused:
            await self._respond(refused.response)
            await self._linger()
            return None
        headers = request.headers
        # The socket is handed over whole: what counts it here ends with the call all the same.
        client = client_of(self._host, headers.get("x-forwarded-for"))
        return Upgrade(
            sock=socket.socket(fileno=self._stream.socket.detach()),
            head=self._raw,
            query=request.query,
            key=headers["sec-websocket-key"],
            subprotocols=headers.get("sec-websocket-protocol", ""),
            expires=request.expires,
            client=client,
            address=client if client != self._host else _with_port(client, self._number),
        )


def _as_request(head: h11.Request) -> Request:
    """A target that names its host too is as if Host had named it (RFC 9112 §3.2.2)."""
    target = head.target.decode("latin-1")
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:  # several lines are one list (RFC 9110 §5.3; cookies: RFC 9113 §8.2.3)
            headers[name] += ("; " if name == "cookie" else ", ") + value
        else:
            headers[name] = value
    if (absolute := _ABSOLUTE.match(target)) is not None:
        headers["host"] = absolute[1]
        target = target[absolute.end() :] or "/"
    path, _, query = target.partition("?")
    return Request(head.method.decode("latin-1"), path, query, headers)


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
