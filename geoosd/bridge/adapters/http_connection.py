"""One connection of the HTTP/1.1 server: h11's state over a trio stream (RFC 9112).

Heads, bodies, keep-alive, limits and own errors; requests of one connection are handled one after
the other. While a handler works the client is watched, and the handler is cancelled when the client
hangs up. Hostile input ends in an answer (400, 408, 413, 431, 501) or a close, and in nothing else.
The server that accepts connections is :mod:`.http_server`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, TypeAlias

import h11
import msgspec
import trio

from geoosd.bridge.adapters.http_fields import Fields, first

RECEIVE_BYTES: Final = 1 << 16
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1 << 22

OnBug: TypeAlias = Callable[[str, BaseException], None]
"""Told where a bug showed, and the exception: ``runtime.budget.spend``."""

RETRY: Final = (b"retry-after", b"1")
_CLOSE: Final = (b"connection", b"close")
_JSON: Final[Fields] = [(b"content-type", b"application/json")]


class Limits(NamedTuple):
    """Bounds on what clients may ask of the server; sizes in bytes, times in seconds."""

    head_bytes: int = 1 << 16
    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    body_bytes: int = 64 << 20
    all_bodies_bytes: int = 256 << 20
    body_stall_seconds: float = 60.0
    connections: int = 512


DEFAULT_LIMITS: Final = Limits()


class ClientRequest:
    """A request with its body, and the ways to answer it.

    Answer it either by one :meth:`respond`, or by :meth:`start`, any number of :meth:`send`, and
    :meth:`finish`. One that is left unfinished has its connection closed, without the mark of the
    end: the client sees that the answer broke off.
    """

    def __init__(self, connection: Connection, head: h11.Request) -> None:
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self.body = b""
        self.trailers: Fields = []
        self.client_gone = False
        self._connection = connection

    @property
    def begun(self) -> bool:
        """Whether the head of an answer was sent."""
        return self._connection.answer_begun

    async def inform(self, response: h11.InformationalResponse) -> None:
        """Pass on a 1xx answer; an HTTP/1.0 client gets none (RFC 9110 §15.2)."""
        await self._connection.inform(response)

    async def start(self, status: int, reason: bytes, fields: Fields) -> None:
        """Send the head of the answer; without a length in *fields* the body goes in chunks."""
        await self._connection.start(status, reason, fields)

    async def send(self, data: bytes) -> None:
        """Send some of the body; returns when the client takes more."""
        await self._connection.send(h11.Data(data=data))

    async def finish(self, data: bytes = b"", trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send the last of the body and its end; trailers go where the framing carries them."""
        await self._connection.finish(data, trailers)

    async def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Answer at once."""
        await self._connection.respond(status, fields, body)

    async def respond_error(
        self, status: int, code: str, message: str, fields: Fields | None = None
    ) -> None:
        """Answer with an error of our own, in OpenAI's form."""
        await self._connection.respond(
            status, [*_JSON, *(fields or [])], error_object(status, code, message)
        )


Handler: TypeAlias = Callable[[ClientRequest], Awaitable[None]]


class Server(Protocol):
    """What a connection needs of its server.

    ``body_bytes`` are held by all requests together; ``waiting`` are the scopes of connections that
    wait for a request and may be ended at any time.
    """

    handler: Handler
    on_bug: OnBug
    limits: Limits
    body_bytes: int
    draining: bool
    waiting: set[trio.CancelScope]


def error_object(status: int, code: str, message: str) -> bytes:
    """OpenAI's error object as JSON."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    if status == 429:
        kind = "rate_limit_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return msgspec.json.encode({"error": error})


class Connection:
    """One accepted connection: h11's server state over a trio stream."""

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        self._server = server
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=server.limits.head_bytes)
        self._unanswered = 0  # bytes that came while the watched request was worked on
        self._method = b""
        self._chunked = False

    # -- requests in -------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Handle requests until either side wants no more."""
        seconds = self._server.limits.head_seconds
        while (head := await self._next_head(seconds)) is not None:
            request = ClientRequest(self, head)
            self._method = head.method
            try:
                if not await self._read_body(request):
                    return
                await self._handle(request)
            finally:
                self._server.body_bytes -= len(request.body)
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()
            self._unanswered = 0
            seconds = self._server.limits.idle_seconds

    async def _next_head(self, seconds: float) -> h11.Request | None:
        """The head of the next request; None when there is to be none (then it was answered)."""
        if self._server.draining:
            return None
        waiting = self._server.waiting
        with trio.move_on_after(seconds) as scope:
            waiting.add(scope)
            try:
                return await self._read_head(scope)
            except h11.RemoteProtocolError as error:
                await self._refuse_malformed(error)
                return None
            finally:
                waiting.discard(scope)
        if self._h11.trailing_data[0]:
            await self.refuse(408, "bad_request", "cannot wait longer for the request's head")
        return None

    async def _read_head(self, scope: trio.CancelScope) -> h11.Request | None:
        hurried = False
        while True:
            event = self._h11.next_event()
            if type(event) is h11.Request:
                return event
            if event is not h11.NEED_DATA:
                return None  # ConnectionClosed
            if not hurried and self._h11.trailing_data[0]:
                # Some of a head is there: now the rest is due, however slowly it drips.
                hurried = True
                scope.deadline = trio.current_time() + self._server.limits.head_seconds
                self._server.waiting.discard(scope)
            self._h11.receive_data(await self._stream.receive_some(RECEIVE_BYTES))

    async def _read_body(self, request: ClientRequest) -> bool:
        """Read the body into *request*; False when it cannot be taken (then it was answered)."""
        limits = self._server.limits
        size = 0
        try:
            if _announced(request.headers) <= limits.body_bytes:
                if self._h11.they_are_waiting_for_100_continue:
                    await self.inform(h11.InformationalResponse(status_code=100, headers=[]))
                size = await self._receive_body(request)
            else:
                size = limits.body_bytes + 1
        except h11.RemoteProtocolError as error:
            await self._refuse_malformed(error)
            return False
        except trio.TooSlowError:
            await self.refuse(408, "bad_request", "cannot wait longer for the request's body")
            return False
        if size > limits.body_bytes:
            bound = limits.body_bytes
            message = f"cannot take the request: its body is larger than {bound} bytes"
            await self.refuse(413, "bad_request", message)
            return False
        if self._server.body_bytes + size > limits.all_bodies_bytes:
            message = "cannot hold more request bodies; try again"
            request.body = b""
            await self.refuse(429, "rate_limited", message, [RETRY])
            return False
        self._server.body_bytes += size
        return True

    async def _receive_body(self, request: ClientRequest) -> int:
        """Its size in bytes; beyond the limit, the rest was not read."""
        limits = self._server.limits
        parts: list[bytes] = []
        size = 0
        with trio.fail_after(limits.body_stall_seconds) as patience:
            while size <= limits.body_bytes:
                event = self._h11.next_event()
                if type(event) is h11.Data:
                    parts.append(bytes(event.data))
                    size += len(parts[-1])
                elif type(event) is h11.EndOfMessage:
                    request.body = b"".join(parts)
                    request.trailers = list(event.headers.raw_items())
                    break
                else:
                    self._h11.receive_data(await self._stream.receive_some(RECEIVE_BYTES))
                    patience.deadline = trio.current_time() + limits.body_stall_seconds
        return size

    async def _handle(self, request: ClientRequest) -> None:
        """Have the request answered while the client is watched."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, request, nursery.cancel_scope)
            try:
                await self._server.handler(request)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                request.client_gone = True
            except Exception as error:  # noqa: BLE001 - one request's bug is not the others'
                self._server.on_bug("http handler", error)
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self.refuse(500, "internal_error", "cannot answer: a bug in geoos")
            nursery.cancel_scope.cancel()

    async def _watch(self, request: ClientRequest, scope: trio.CancelScope) -> None:
        """Cancel *scope* when the client hangs up; keep, within bounds, what it sends ahead."""
        try:
            while self._unanswered < self._server.limits.head_bytes:
                data = await self._stream.receive_some(RECEIVE_BYTES)
                self._h11.receive_data(data)
                if not data:
                    break
                self._unanswered += len(data)
            else:
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        request.client_gone = True
        scope.cancel()

    # -- answers out -------------------------------------------------------------------------------

    @property
    def answer_begun(self) -> bool:
        """Whether the head of the current answer was sent."""
        return self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    async def inform(self, response: h11.InformationalResponse) -> None:
        """Send a 1xx answer to a client that knows them."""
        if self._h11.their_http_version != b"1.0":
            await self.send(response)

    async def start(self, status: int, reason: bytes, fields: Fields) -> None:
        """Send the head of an answer."""
        if self._server.draining:
            fields = [*fields, _CLOSE]
        response = h11.Response(status_code=status, reason=reason, headers=list(fields))
        self._chunked = (
            first(response.headers, b"content-length") is None
            and status not in (204, 304)
            and self._method != b"HEAD"
            and self._h11.their_http_version != b"1.0"
        )
        await self.send(response)

    async def send(self, event: h11.InformationalResponse | h11.Response | h11.Data) -> None:
        """Send one event. Raises trio's errors when the client is gone."""
        await self._stream.send_all(self._h11.send(event))

    async def finish(self, data: bytes, trailers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the last of the body and its end, in one piece."""
        last = self._h11.send(h11.Data(data=data)) if data else b""
        end = h11.EndOfMessage(headers=list(trailers) if self._chunked else [])
        await self._stream.send_all(last + self._h11.send(end))

    async def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Answer at once, in one piece."""
        fields = [*fields, (b"content-length", str(len(body)).encode())]
        if self._server.draining and _CLOSE not in fields:
            fields.append(_CLOSE)
        out = self._h11.send(h11.Response(status_code=status, headers=list(fields)))
        if self._method != b"HEAD":
            out += self._h11.send(h11.Data(data=body))
        await self._stream.send_all(out + self._h11.send(h11.EndOfMessage()))

    async def refuse(
        self, status: int, code: str, message: str, fields: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with an error and want no more of this connection; nothing once one has begun."""
        if self.answer_begun:
            return
        body = error_object(status, code, message)
        await self.respond(status, [*_JSON, *fields, _CLOSE], body)

    async def _refuse_malformed(self, error: h11.RemoteProtocolError) -> None:
        await self.refuse(
            error.error_status_hint, "bad_request", f"cannot read the request: {error}"
        )

    async def linger(self) -> None:
        """Let an answer arrive before a close that would reset it (RFC 9112 §9.6).

        Only where we hang up on a client that may still be sending.
        """
        if self._h11.their_state in (h11.CLOSED, h11.DONE, h11.MUST_CLOSE):
            return
        if self._h11.our_state not in (h11.DONE, h11.MUST_CLOSE):
            return
        await self._stream.send_eof()
        taken = 0
        with trio.move_on_after(_LINGER_SECONDS):
            while taken < _LINGER_BYTES:
                data = await self._stream.receive_some(RECEIVE_BYTES)
                if not data:
                    return
                taken += len(data)


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The Content-Length, which h11 has verified; 0 without."""
    return int(first(headers, b"content-length") or 0)
