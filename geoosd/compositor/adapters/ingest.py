"""The ingest server (docs/interfaces.md, Ingest): messages from any number of producers.

Decodes and validates; what is good goes to *take* a batch at a time, what is not is answered by an
Error, counted and passed over. A producer that said hello gets an Ack at most once a tick, after
*take* has returned: by then its messages are in the feed. When it dies, the sessions that it has
begun are ended in its stead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from geoosd.compositor.core import intake
from geoosd.errors import FrameTooLarge, MessageError
from geoosd.wire.framing import FrameDecoder, encode_frame
from geoosd.wire.messages import Ack, Demand, Error, Message, Payload, ProducerHello, encode

TICK: Final = 0.02
_MAX_WAITING: Final = 256 << 10
"""Bytes of answers that wait for a producer; further Errors are only counted."""
PATIENCE: Final = 5.0
"""Seconds that a producer which said hello may take to connect again before it counts as dead."""
_BATCH: Final = 256
"""Messages between two checkpoints: some milliseconds."""

Take: TypeAlias = Callable[[list[Message]], Awaitable[list[MessageError]]]
"""Applies and publishes a batch; says what it had to refuse."""


class Ingest:
    """The producers and what became of their messages."""

    def __init__(self, take: Take, *, now: Callable[[], float]) -> None:
        self.take = take
        self.now = now
        self.producers = intake.Producers()
        self.unfinished = intake.Unfinished()
        self.demand = Demand()
        self.errors = 0
        self.repeats = 0
        self._connections: set[_Producer] = set()
        self._newest: dict[str, _Producer] = {}

    @property
    def connected(self) -> list[str]:
        """The names of the producers that are connected; ``unnamed`` without hello."""
        return sorted(each.name or "unnamed" for each in self._connections)

    def pass_on(self, demand: Demand) -> None:
        """Tell all producers, now and when they come, what is wanted downstream."""
        self.demand = demand
        for connection in self._connections:
            connection.say(demand)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one producer until it leaves."""
        connection = _Producer(self, stream)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
        if connection.name is not None:
            await self._wait_for_return(connection.name, connection)

    def greeted(self, connection: _Producer, hello: ProducerHello) -> None:
        """A connection has said whose it is."""
        self._newest[hello.producer] = connection
        self.producers.hello(hello.producer, hello.next)

    async def _wait_for_return(self, producer: str, left: _Producer) -> None:
        """End the sessions of *producer* unless it comes back after the connection *left*."""
        if self.unfinished.of(producer):
            await trio.sleep(PATIENCE)
        if self._newest.get(producer) is left:
            del self._newest[producer]
            ends = self.unfinished.abandon(producer)
            await self.take([Message(end, self.now()) for end in ends])


class _Producer:
    """One connection."""

    def __init__(self, ingest: Ingest, stream: trio.SocketStream) -> None:
        self.name: str | None = None
        self._ingest = ingest
        self._stream = stream
        self._answers = bytearray()
        self._through: int | None = None
        self._acknowledged: int | None = None
        self._sending = trio.Lock()
        self._something = trio.Event()

    def say(self, payload: Payload) -> None:
        """Have *payload* sent at the next tick."""
        if len(self._answers) < _MAX_WAITING:
            self._answers += encode_frame(encode(payload, self._ingest.now()))
            self._something.set()

    async def run(self) -> None:
        async with self._stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                try:
                    await self._read()
                except FrameTooLarge as error:
                    self._ingest.errors += 1
                    self.say(Error("too_large", None, str(error)))
                with trio.move_on_after(1):
                    await self._flush()
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        decoder = FrameDecoder()
        async for chunk in self._stream:
            frames = decoder.receive(chunk)
            for first in range(0, len(frames), _BATCH):
                await self._batch(frames[first : first + _BATCH])

    async def _batch(self, frames: list[bytes]) -> None:
        """Take some messages. Ack only afterwards: then a crash loses none of them."""
        ingest = self._ingest
        received_at = ingest.now()
        good: list[Message] = []
        for data in frames:
            try:
                message = intake.read(data, received_at)
            except MessageError as error:
                self._refuse(error)
                # It would be refused again: so it need not come again.
                self._is_new(intake.number_of(data))
                continue
            if type(message.payload) is ProducerHello:
                self._greet(message.payload)
            elif self._is_new(message.n):
                good.append(message)
            else:
                ingest.repeats += 1
        if good:
            # Their numbers count as taken: so they are, though the connection may break meanwhile.
            with trio.CancelScope(shield=True):
                refusals = await ingest.take(good)
            for refusal in refusals:
                self._refuse(refusal)
            if self.name is not None:
                for message in good:
                    ingest.unfinished.note(self.name, message.payload)
        if self.name is not None:
            self._through = ingest.producers.through(self.name)
            self._something.set()

    def _refuse(self, error: MessageError) -> None:
        self._ingest.errors += 1
        self.say(Error(error.code, error.field, str(error)))

    def _is_new(self, n: int | None) -> bool:
        return self.name is None or n is None or self._ingest.producers.take(self.name, n)

    def _greet(self, hello: ProducerHello) -> None:
        if self.name not in (None, hello.producer):
            where = "payload.producer"
            reason = f"cannot take {where}: this connection is {self.name}'s; open another one"
            self._refuse(MessageError("invalid", reason, where))
            return
        self.name = hello.producer
        self._ingest.greeted(self, hello)
        self._acknowledged = None
        if self._ingest.demand != Demand():
            self.say(self._ingest.demand)

    async def _write(self, connection: trio.CancelScope) -> None:
        try:
            while True:
                await self._something.wait()
                self._something = trio.Event()
                await trio.sleep(TICK)  # first the feed: what is acknowledged is not sent again
                await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            connection.cancel()

    async def _flush(self) -> None:
        async with self._sending:
            if self._through is not None and self._through != self._acknowledged:
                self._acknowledged = self._through
                self._answers += encode_frame(encode(Ack(self._through), self._ingest.now()))
            if self._answers:
                data, self._answers = bytes(self._answers), bytearray()
                await self._stream.send_all(data)
