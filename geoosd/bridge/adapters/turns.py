"""Waiting for a turn at an upstream: :class:`..core.queue.FairQueue` with somebody in it.

Only geoos's own prompts wait here. Proxied requests are never queued (docs/adr/0004).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import trio

from geoosd.bridge.core.queue import FairQueue
from geoosd.errors import UpstreamError

ROOM: Final = 256
"""Prompts that may wait for one upstream."""


class Statistics(NamedTuple):
    """How many have their turn and how many wait, the limits of both, how many were turned away."""

    running: int
    slots: int
    waiting: int
    room: int
    refused: int


class _Waiter:
    """One who waits: ``position`` 0 is next, None has its turn."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.changed = trio.Event()

    def tell(self, position: int | None) -> None:
        if position != self.position:
            self.position = position
            self.changed.set()


class Turns:
    """At most *slots* at a time; *room* more wait, fairly."""

    def __init__(self, slots: int, room: int = ROOM) -> None:
        self._queue: FairQueue[_Waiter] = FairQueue(slots, room)
        self._idle = trio.Event()

    @asynccontextmanager
    async def turn(
        self, client: str, told: Callable[[int], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the body of the ``async with``.

        *told* hears each position on the way, 0 being next; it may take its time. Raises
        :class:`UpstreamError` ``rate_limited`` where too many wait already.
        """
        waiter = _Waiter()
        entry = self._queue.enter(waiter, client)
        if entry == "full":
            raise UpstreamError(
                "rate_limited",
                f"cannot take the prompt: {self._queue.room} wait already; try again later",
            )
        try:
            if entry == "waits":
                self._tell()
                await _wait(waiter, told)
            yield
        finally:
            for granted in self._queue.leave(waiter):
                granted.tell(None)
            self._tell()
            if not self._queue.running:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until nobody has a turn or waits for one."""
        while self._queue.running:
            self._idle = trio.Event()
            await self._idle.wait()

    def statistics(self) -> Statistics:
        """The numbers now."""
        queue = self._queue
        return Statistics(queue.running, queue.slots, queue.waiting, queue.room, queue.refused)

    def _tell(self) -> None:
        for position, waiter in enumerate(self._queue.order()):
            waiter.tell(position)


async def _wait(waiter: _Waiter, told: Callable[[int], Awaitable[None]]) -> None:
    while (position := waiter.position) is not None:
        waiter.changed = trio.Event()
        await told(position)
        if waiter.position == position:
            await waiter.changed.wait()
