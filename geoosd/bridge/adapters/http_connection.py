"""One connection of the HTTP/1.1 server: h11's state over a trio stream (RFC 9112).

Heads, keep-alive, limits and own errors; bodies are :mod:`.http_body`'s. Requests of one connection
are handled one after the other. While a handler works the client is watched, and the handler is
cancelled when the client hangs up. Hostile input ends in an answer (400, 408, 413, 431, 501) or a
close, and in nothing else. The server that accepts connections is :mod:`.http_server`.
"""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias

import h11
import msgspec
import trio

from geoosd.bridge.adapters.http_body import Limits, RequestBody, RequestError, malformed
from geoosd.bridge.adapters.http_fields import Fields, first, is_chunked

RECEIVE_BYTES: Final = 1 << 16
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1 << 22

OnBug: TypeAlias = Callable[[str, BaseException], None]
"""Told where a bug showed, and the exception: ``runtime.budget.spend``."""

_CLOSE: Final = (b"connection", b"close")
_JSON: Final[Fields] = [(b"content-type", b"application/json")]


DEFAULT_LIMITS: Final = Limits()


class ClientRequest:
    """A request with its body, and the ways to answer it.

    ``peer`` is the client's address; ``added`` are fields that every answer to it gets, in place of
    any of the same name.

    Answer it either by one :meth:`respond`, or by :meth:`start`, any number of :meth:`send`, and
    :meth:`finish`. One that is left unfinished has its connection closed, without the mark of the
    end: the client sees that the answer broke off.
    """

    def __init__(self, connection: Connection, head: h11.Request) -> None:
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self.body = connection.body_of(head)
        self.client_gone = False
        self.added: Fields = []
        self._connection = connection

    @property
    def peer(self) -> str:
        """The client's address, without its port."""
        return self._connection.peer

    @property
    def begun(self) -> bool:
        """Whether the head of an answer was sent."""
        return self._connection.answer_begun

    async def inform(self, response: h11.InformationalResponse) -> None:
        """Pass on a 1xx answer; an HTTP/1.0 client gets none (RFC 9110 §15.2)."""
        await self._connection.inform(response)

    async def start(self, status: int, reason: bytes, fields: Fields) -> None:
        """Send the head of the answer; without a length in *fields* the body goes in chunks."""
        await self._connection.start(status, reason, self._with_added(fields))

    async def send(self, data: bytes) -> None:
        """Send some of the body; returns when the client takes more."""
        await self._connection.send_data(data)

    async def finish(self, data: bytes = b"", trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send the last of the body and its end; trailers go where the framing carries them."""
        await self._connection.finish(data, trailers)

    async def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Answer at once."""
        await self._connection.respond(status, self._with_added(fields), body)

    async def respond_error(
        self, status: int, code: str, message: str, fields: Fields | None = None
    ) -> None:
        """Answer with an error of our own, in OpenAI's form."""
        await self.respond(status, [*_JSON, *(fields or [])], error_object(status, code, message))

    def _with_added(self, fields: Fields) -> Fields:
        if not self.added:
            return fields
        names = {name for name, _ in self.added if name != b"vary"}
        return [*(field for field in fields if field[0].lower() not in names), *self.added]


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
        self.peer = str(stream.socket.getpeername()[0])
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=server.limits.head_bytes)
        self._method = b""
        self._chunked = False
        self._is_doubtful = False

    # -- requests in -------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Handle requests until either side wants no more."""
        seconds = self._server.limits.head_seconds
        while (head := await self._next_head(seconds)) is not None:
            self._method = head.method
            # Another server before us may have seen another end of it (RFC 9112 §6.1).
            self._is_doubtful = (
                is_chunked(head.headers) and first(head.headers, b"content-length") is not None
            )
            request = ClientRequest(self, head)
            try:
                await self._handle(request)
            finally:
                request.body.let_go()
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()
            seconds = self._server.limits.idle_seconds

    def body_of(self, head: h11.Request) -> RequestBody:
        """The body that follows *head*."""

        async def go_on() -> None:
            go_on = h11.InformationalResponse(status_code=100, reason=b"Continue", headers=[])
            await self.inform(go_on)

        async def receive() -> bytes:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))

        return RequestBody(self._server, self._h11, head, receive=receive, go_on=go_on)

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
                await self._refuse(malformed(error), [])
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

    async def _handle(self, request: ClientRequest) -> None:
        """Have the request answered while the client is watched."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, request, nursery.cancel_scope)
            try:
                await self._answer(request)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                request.client_gone = True
            nursery.cancel_scope.cancel()

    async def _answer(self, request: ClientRequest) -> None:
        try:
            await self._server.handler(request)
            await request.body.forget()
        except RequestError as error:
            await self._refuse(error, request.added)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001 - one request's bug is not the others'
            self._server.on_bug("http handler", error)
            message = "cannot answer: a bug in geoos"
            await self.refuse(500, "internal_error", message, request.added)

    async def _watch(self, request: ClientRequest, scope: trio.CancelScope) -> None:
        """Cancel *scope* when the client hangs up, whatever of its bytes is still unread."""
        await _hung_up(self._stream)
        while request.body.reading:  # which finds out by itself, and can say what is missing
            await trio.lowlevel.checkpoint()
        request.client_gone = True
        scope.cancel()

    # -- answers out -------------------------------------------------------------------------------

    @property
    def _is_last(self) -> bool:
        """Whether no other request is to come after the current one."""
        return self._server.draining or self._is_doubtful

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
        if self._is_last:
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

    async def send_data(self, data: bytes) -> None:
        """Send some of the body. Raises trio's errors when the client is gone."""
        if self._chunked:  # of which h11 need not hear: it counts bytes of announced lengths alone
            await self._stream.send_all(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            await self._stream.send_all(self._h11.send(h11.Data(data=data)))

    async def finish(self, data: bytes, trailers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the last of the body and its end, in one piece."""
        last = self._h11.send(h11.Data(data=data)) if data else b""
        end = h11.EndOfMessage(headers=list(trailers) if self._chunked else [])
        await self._stream.send_all(last + self._h11.send(end))

    async def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Answer at once, in one piece."""
        fields = [*fields, (b"content-length", str(len(body)).encode())]
        if self._is_last and _CLOSE not in fields:
            fields.append(_CLOSE)
        reason = HTTPStatus(status).phrase.encode()
        head = h11.Response(status_code=status, reason=reason, headers=list(fields))
        out = self._h11.send(head)
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

    async def _refuse(self, error: RequestError, added: Fields) -> None:
        await self.refuse(error.status, error.code, str(error), [*error.fields, *added])

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


async def _hung_up(stream: trio.SocketStream) -> None:
    """Return when the peer has closed its side (epoll(7), EPOLLRDHUP).

    Nothing is read for it, so a client that sends much ahead is held back by its own socket.
    """
    with select.epoll() as watched:
        watched.register(stream.socket.fileno(), select.EPOLLRDHUP)
        await trio.lowlevel.wait_readable(watched.fileno())
