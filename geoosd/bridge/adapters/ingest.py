"""The way to the compositor: says hello, sends what the outbox holds, takes its acknowledgements.

The protocol is in docs/interfaces.md, Messages (ingest); the queue is :mod:`..core.outbox`, the
reconnecting :mod:`geoosd.runtime.link`.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from geoosd.bridge.core.outbox import Outbox
from geoosd.runtime.link import Link
from geoosd.runtime.logs import Log
from geoosd.wire import framing, messages
from geoosd.wire.messages import (
    Ack,
    Demand,
    Error,
    NeuralStateUpdate,
    Payload,
    ProducerHello,
    TokenVisualizationUpdate,
)

_RECEIVE_BYTES: Final = 1 << 16
_MAX_MARKS: Final = 1024
"""Batches of tokens whose way is timed at once; while more are under way, not every one is."""


class Ingest:
    """The producer's side of ingest. *now* is the wall clock, for timestamps; *on_delivered* hears
    how many seconds tokens took from :meth:`put` to their acknowledgement.

    ``demand`` is what somebody downstream wants, as last told; ``refused`` counts messages that the
    compositor did not take.
    """

    def __init__(
        self,
        outbox: Outbox,
        path: Path,
        *,
        log: Log,
        now: Callable[[], float],
        on_delivered: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.demand = Demand()
        self.refused = 0
        # A name for each start: a bridge that starts anew numbers its messages from 1 again.
        self._producer = f"bridge-{secrets.token_hex(4)}"
        self.link = Link("compositor", path, self._session, log=log)
        self._outbox = outbox
        self._log = log
        self._now = now
        self._more = trio.Event()
        self._settled = trio.Event()
        self._on_delivered = on_delivered
        self._marks: deque[tuple[int, float]] = deque()
        self._dropped = 0

    def put(self, payloads: list[Payload]) -> None:
        """Queue messages; never blocks, never fails: the outbox is bounded and counts its
        losses."""
        now = self._now()
        push = self._outbox.push
        for payload in payloads:
            push(payload, now)
        if payloads and isinstance(payloads[-1], TokenVisualizationUpdate | NeuralStateUpdate):
            self._mark()
        self._more.set()

    async def run(self) -> None:
        """Keep the link up; runs until cancelled."""
        await self.link.run()

    async def wait_settled(self) -> None:
        """Wait until everything is acknowledged; at once where no compositor is connected."""
        while len(self._outbox) and self.link.connected:
            self._settled = trio.Event()
            await self._settled.wait()

    async def _session(self, stream: trio.SocketStream) -> None:
        self._outbox.rewind()
        hello = ProducerHello(self._producer, self._outbox.next)
        await stream.send_all(framing.encode_frame(messages.encode(hello, self._now())))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, stream)
                await self._receive(stream)
                nursery.cancel_scope.cancel()
        finally:
            self._settled.set()

    async def _send(self, stream: trio.SocketStream) -> None:
        while True:
            if data := self._outbox.take():
                await stream.send_all(data)
            else:
                self._more = trio.Event()
                await self._more.wait()

    async def _receive(self, stream: trio.SocketStream) -> None:
        """Until the compositor closes. Raises what :class:`Link` takes as a broken connection."""
        decoder = framing.FrameDecoder()
        while data := await stream.receive_some(_RECEIVE_BYTES):
            for frame in decoder.receive(data):
                self._take(messages.decode(frame, self._now()).payload)

    def _take(self, payload: Payload) -> None:
        if isinstance(payload, Ack):
            self._outbox.acknowledge(payload.through)
            self._time(payload.through)
            if not len(self._outbox):
                self._settled.set()
        elif isinstance(payload, Demand):
            self.demand = payload
        elif isinstance(payload, Error):
            self.refused += 1
            self._log.warning(
                "compositor refused a message", error=payload.message, code=payload.code
            )

    def _mark(self) -> None:
        """Remember when the newest message came in."""
        statistics = self._outbox.statistics()
        if statistics.dropped != self._dropped:
            self._dropped = statistics.dropped
            self._marks.clear()  # what was given up does not arrive
        if len(self._marks) < _MAX_MARKS:
            self._marks.append((statistics.next - 1, trio.current_time()))

    def _time(self, through: int) -> None:
        marks = self._marks
        now = trio.current_time()
        while marks and marks[0][0] <= through:
            self._on_delivered(now - marks.popleft()[1])
