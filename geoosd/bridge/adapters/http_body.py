"""A request's body as the server reads it: the begin is held, the rest goes through piece by piece.

Who needs to look into it holds as much as that takes (:meth:`RequestBody.hold`); what is held may
be sent again elsewhere. :meth:`RequestBody.receive` then gives the rest, which is never kept, so a
body of any size takes the memory of one piece. Whatever goes wrong is :class:`RequestError`, which
:mod:`.http_connection` answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

import h11
import trio

from geoosd.bridge.adapters.http_fields import Fields, first, what_is_wrong

RETRY: Final = (b"retry-after", b"1")
_FORGOTTEN: Final = 1 << 18


class Limits(NamedTuple):
    """Bounds on what clients may ask of the server; sizes in bytes, times in seconds."""

    head_bytes: int = 1 << 16
    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    body_bytes: int = 64 << 20
    held_bytes: int = 256 << 20
    body_stall_seconds: float = 60.0
    connections: int = 512


class RequestError(Exception):
    """A request that cannot be taken: the answer to it, unless another one has begun."""

    def __init__(
        self, status: int, code: str, message: str, fields: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields


def malformed(error: h11.RemoteProtocolError) -> RequestError:
    """What h11 could not read."""
    return RequestError(
        error.error_status_hint, "bad_request", f"cannot read the request: {what_is_wrong(error)}"
    )


class Holds(Protocol):
    """The server, as far as bodies need it: ``body_bytes`` are held by all of them together."""

    limits: Limits
    body_bytes: int


class RequestBody:
    """The body of one request.

    ``held`` is its begin, ``ended`` tells whether all of it was read, and ``trailers`` are its
    trailing fields once it was. What is held may be sent again while it ``is_intact``: nothing
    after it was taken yet. ``reading`` is True while more is awaited from the client.
    """

    def __init__(
        self,
        server: Holds,
        state: h11.Connection,
        head: h11.Request,
        *,
        receive: Callable[[], Awaitable[bytes]],
        go_on: Callable[[], Awaitable[None]],
    ) -> None:
        self.held = b""
        self.ended = False
        self.is_intact = True
        self.reading = False
        self.trailers: Fields = []
        self._server = server
        self._state = state
        self._receive = receive
        self._go_on = go_on
        self._announced = int(first(head.headers, b"content-length") or 0)
        self._size = 0
        self._counted = 0

    async def hold(self, is_enough: Callable[[bytes], bool]) -> None:
        """Read on into ``held`` until the end, or until *is_enough* says so of the latest piece.

        Raises :class:`RequestError`.
        """
        parts: list[bytes] = []
        while data := await self._next():
            if self._server.body_bytes + len(data) > self._server.limits.held_bytes:
                message = "cannot hold more request bodies; try again"
                raise RequestError(429, "rate_limited", message, [RETRY])
            self._server.body_bytes += len(data)
            self._counted += len(data)
            parts.append(data)
            if is_enough(data):
                break
        self.held = b"".join(parts)

    async def receive(self) -> bytes:
        """The next piece after what is held; empty at the end.

        What is held is let go: it was sent on. Raises :class:`RequestError`.
        """
        data = await self._next()
        if data:
            self.is_intact = False
            self.let_go()
        return data

    async def forget(self) -> None:
        """Read the rest and throw it away, where it is short; so the connection can be kept."""
        if self._announced <= _FORGOTTEN:
            while self._size <= _FORGOTTEN and await self._next():
                pass

    def let_go(self) -> None:
        """Hold nothing any longer."""
        self._server.body_bytes -= self._counted
        self._counted = 0
        self.held = b""

    async def _next(self) -> bytes:
        """The next piece; empty at the end."""
        limits = self._server.limits
        if self._announced > limits.body_bytes:
            raise self._too_large()
        if self._state.they_are_waiting_for_100_continue:
            await self._go_on()
        try:
            with trio.fail_after(limits.body_stall_seconds):
                data = await self._piece()
        except trio.TooSlowError:
            message = "cannot wait longer for the request's body"
            raise RequestError(408, "bad_request", message) from None
        except h11.RemoteProtocolError as error:
            raise malformed(error) from None
        self._size += len(data)
        if self._size > limits.body_bytes:
            raise self._too_large()
        return data

    async def _piece(self) -> bytes:
        """What one read brings; of chunks there may be many in it."""
        parts: list[bytes] = []
        while not self.ended:
            event = self._state.next_event()
            if type(event) is h11.Data:
                parts.append(bytes(event.data))
            elif type(event) is h11.EndOfMessage:
                self.trailers = list(event.headers.raw_items())
                self.ended = True
            elif parts:
                break
            else:
                self.reading = True
                try:
                    self._state.receive_data(await self._receive())
                finally:
                    self.reading = False
        return b"".join(parts)

    def _too_large(self) -> RequestError:
        bound = self._server.limits.body_bytes
        message = f"cannot take the request: its body is larger than {bound} bytes"
        return RequestError(413, "bad_request", message)
