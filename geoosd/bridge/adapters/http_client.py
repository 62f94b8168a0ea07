"""The upstream's side of the proxy: HTTP/1.1 by h11 over trio streams, with a pool of idle ones.

h11 directly, because it costs a tenth of what httpx takes to a first byte and passes trailers on
(design: measured.md). Plain chunks, of which a stream has thousands, are read without it
(:mod:`..core.framing`). One :class:`UpstreamConnection` carries one request at a time::

    connection = await pool.connect(origin)
    response = await connection.ask(request, body, trailers, timeout)  # or begin, send, end, heed
    while not ended: data, ended = await connection.receive()
    await pool.give_back(connection)         # or: await connection.aclose()

Whatever goes wrong is :class:`geoosd.errors.UpstreamError`. A request is never sent twice from
here: a pooled connection is looked at before it is used, not after.
"""

from __future__ import annotations

import math
import select
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import h11
import trio

from geoosd.bridge.adapters import http_fields
from geoosd.bridge.core.framing import unchunk
from geoosd.errors import UpstreamError

CONNECT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 4.0
"""Common servers close a silent connection after 5 s; ours is let go before that."""

IDLE_PER_ORIGIN: Final = 8
MAX_HEAD: Final = 1 << 16
RECEIVE_BYTES: Final = 1 << 16

Inform: TypeAlias = Callable[[h11.InformationalResponse], Awaitable[None]]
Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


class Origin(NamedTuple):
    """Where an upstream listens; ``path`` stands before every request's path."""

    tls: bool
    host: str
    port: int
    path: bytes = b""

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an upstream's url, which the configuration has verified."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        path = parts.path.rstrip("/").encode()
        return cls(tls, parts.hostname or "", parts.port or (443 if tls else 80), path)

    @property
    def authority(self) -> bytes:
        """The value of the Host header (RFC 9110 §7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.tls else 80)
        return (host if usual else f"{host}:{self.port}").encode()


class UpstreamConnection:
    """One connection to an upstream.

    ``heard`` tells whether any byte of the current answer has come, ``reused`` whether it served
    a request before; when the answer is complete, ``trailers`` are its trailing fields.
    """

    def __init__(self, origin: Origin, stream: Stream) -> None:
        self.origin = origin
        self.heard = False
        self.trailers: list[tuple[bytes, bytes]] = []
        self.reused = False
        self.idle_since = 0.0
        self._stream = stream
        self._timeout = math.inf
        self._waiting = trio.CancelScope()
        self._missing: int | None = None
        """Bytes until the next chunk begins; None while h11 reads the answer."""
        self._failure: UpstreamError | None = None
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    async def ask(
        self,
        request: h11.Request,
        body: bytes,
        trailers: Sequence[tuple[bytes, bytes]] = (),
        timeout: float = math.inf,
        inform: Inform | None = None,
    ) -> h11.Response:
        """Send a whole request and wait for the head of its answer: :meth:`heed`."""
        await self.begin(request, body, trailers, timeout)
        return await self.heed(inform)

    async def begin(
        self,
        request: h11.Request,
        body: bytes,
        trailers: Sequence[tuple[bytes, bytes]] | None,
        timeout: float,
    ) -> bool:
        """Send a request's head and the begin of its body; with *trailers*, it ends there.

        *timeout* is the silence in seconds that is borne until the answer is over. Returns whether
        the upstream took it: an answer that comes before the whole request was taken (a refusal) is
        an answer too. Raises :class:`UpstreamError` ``upstream_timeout``.
        """
        self.heard = False
        self.trailers = []
        self._timeout = timeout
        events: list[h11.Event] = [request]
        if body:
            events.append(h11.Data(data=body))
        if trailers is not None:
            events.append(h11.EndOfMessage(headers=list(trailers)))
        return await self._write(events)

    async def send(self, data: bytes) -> bool:
        """Send more of the body; returns and raises as :meth:`begin`."""
        return await self._write([h11.Data(data=data)])

    async def end(self, trailers: Sequence[tuple[bytes, bytes]]) -> bool:
        """End the request; returns and raises as :meth:`begin`."""
        return await self._write([h11.EndOfMessage(headers=list(trailers))])

    async def heed(self, inform: Inform | None = None) -> h11.Response:
        """Wait for the head of the answer; *inform* gets the 1xx answers that come before it.

        Raises :class:`UpstreamError`, ``upstream_timeout`` or ``upstream_unavailable``.
        """
        while True:
            event = await self._next_event()
            if type(event) is h11.Response:
                return event
            if inform is None or type(event) is not h11.InformationalResponse:
                continue
            if event.status_code != 100:  # our own server has said that already
                await inform(event)

    async def receive(self) -> tuple[bytes, bool]:
        """The bytes of the body that have come, and whether they are the last.

        There is at least one byte unless they are. Raises :class:`UpstreamError` when the upstream
        breaks off or is silent for too long.
        """
        if self._failure is not None:
            raise self._failure
        data = b""
        while self._missing is not None:
            piece = await self._read()
            data, rest, self._missing = unchunk(piece, self._missing)
            if rest or not piece:
                self._missing = None
                self._h11.receive_data(rest)
            elif data:
                return data, False
        if data:
            return self._gathered([data])
        return self._gathered([], await self._next_event())

    def _gathered(self, parts: list[bytes], event: object = None) -> tuple[bytes, bool]:
        """*parts*, and what else of the body has come: from *event* on, if it is known."""
        try:
            event = event or self._parse()
            while event is not h11.NEED_DATA:
                if type(event) is h11.EndOfMessage:
                    self.trailers = list(event.headers.raw_items())
                    return b"".join(parts), True
                if type(event) is h11.Data:
                    parts.append(bytes(event.data))
                    if event.chunk_end and self._h11.trailing_data[0] == b"\r\n":
                        self._missing = 0  # all that came ends with this chunk
                        break
                event = self._parse()
        except UpstreamError as error:
            if not parts:
                raise
            self._failure = error  # what was good before it is the client's all the same
        return b"".join(parts), False

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent on it."""
        ours, theirs = self._h11.our_state, self._h11.their_state
        return ours is h11.DONE and theirs is h11.DONE and not self._h11.trailing_data[0]

    def rest(self, now: float) -> None:
        """Make ready for the next request; only where it is ``reusable``."""
        self._h11.start_next_cycle()
        self.reused = True
        self.idle_since = now

    def is_alive(self) -> bool:
        """Whether an idle connection may still be used: nothing, and no end, has come on it."""
        stream = self._stream
        socket = (
            stream.transport_stream.socket if isinstance(stream, trio.SSLStream) else stream.socket
        )
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    async def aclose(self) -> None:
        """Hang up at once: the upstream is to stop working on it."""
        await trio.aclose_forcefully(self._stream)

    async def _write(self, events: Sequence[h11.Event]) -> bool:
        if self._h11.our_state is h11.ERROR:
            return False
        data = b"".join([self._h11.send(event) or b"" for event in events])
        with trio.move_on_after(self._timeout) as patience:
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                self._h11.send_failed()  # what it said before it hung up counts
                return False
        if patience.cancelled_caught:
            raise _too_late("it does not take the request", self._timeout)
        self._waiting.deadline = trio.current_time() + self._timeout
        return True

    async def _next_event(self) -> object:
        event = self._parse()
        while event is h11.NEED_DATA:
            self._h11.receive_data(await self._read())
            event = self._parse()
        return event

    async def _read(self) -> bytes:
        with trio.move_on_after(self._timeout) as patience:
            self._waiting = patience  # a request that is still being sent moves its deadline
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except trio.BrokenResourceError as error:
                raise self._broken(_why(error)) from None
        if patience.cancelled_caught:
            raise _too_late("it is silent", self._timeout)
        if not data and not self.heard:
            raise self._broken("it hung up")
        self.heard = True
        return bytes(data)

    def _parse(self) -> object:
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            why = http_fields.what_is_wrong(error)
            how = "broke off" if why.startswith("peer") else "broke the protocol"
            raise self._broken(why, how) from None
        if type(event) is h11.ConnectionClosed:
            raise self._broken("it hung up")
        return event

    def _broken(self, reason: str, how: str = "broke off") -> UpstreamError:
        when = "in its answer" if self.heard else "before its answer"
        return UpstreamError("upstream_unavailable", f"the upstream {how} {when}: {reason}")


class ConnectionPool:
    """Idle connections by origin, newest first, each for at most ``IDLE_SECONDS``."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._idle: dict[Origin, list[UpstreamConnection]] = {}

    async def connect(self, origin: Origin, *, fresh: bool = False) -> UpstreamConnection:
        """An idle connection that still lives, else (or if *fresh*) a new one.

        Raises :class:`UpstreamError` ``upstream_unavailable`` when there is none to be had.
        """
        await self._close_stale()
        waiting = self._idle.get(origin)
        while waiting and not fresh:
            connection = waiting.pop()
            if connection.is_alive():
                return connection
            await connection.aclose()
        try:
            with trio.fail_after(CONNECT_SECONDS):
                return UpstreamConnection(origin, await self._open(origin))
        except trio.TooSlowError:
            reason = f"no connection within {CONNECT_SECONDS:g} s"
        except (OSError, trio.BrokenResourceError) as error:
            reason = _why(error)
        raise UpstreamError("upstream_unavailable", f"cannot connect: {reason}") from None

    async def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose answer ended for the next request, or close it."""
        waiting = self._idle.setdefault(connection.origin, [])
        if connection.reusable and len(waiting) < IDLE_PER_ORIGIN:
            connection.rest(trio.current_time())
            waiting.append(connection)
        else:
            await connection.aclose()

    async def aclose(self) -> None:
        """Close all that are idle."""
        for waiting in self._idle.values():
            while waiting:
                await waiting.pop().aclose()

    async def _close_stale(self) -> None:
        oldest = trio.current_time() - IDLE_SECONDS
        for waiting in self._idle.values():
            while waiting and waiting[0].idle_since < oldest:
                await waiting.pop(0).aclose()

    async def _open(self, origin: Origin) -> Stream:
        stream = await trio.open_tcp_stream(origin.host, origin.port)
        if not origin.tls:
            return stream
        if self._tls is None:
            self._tls = ssl.create_default_context()
        secure = trio.SSLStream(
            stream, self._tls, server_hostname=origin.host, https_compatible=True
        )
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure


def _too_late(what: str, seconds: float) -> UpstreamError:
    return UpstreamError(
        "upstream_timeout", f"the upstream took too long: {what} for {seconds:g} s"
    )


def _why(error: BaseException) -> str:
    """The reason in an error of trio, which wraps the operating system's."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_why(each) for each in cause.exceptions))
    if cause is not None:
        return _why(cause)
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
