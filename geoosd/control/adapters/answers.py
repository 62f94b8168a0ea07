"""One question for all who ask at the same time: its answer is good for a moment.

So the daemons on the data path are asked some times a second at most, however many ask control.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

FRESH = 0.05
"""Seconds for which an answer is good: less than geoosctl takes to start, so that it always sees
what was done before."""

T = TypeVar("T")


class Shared(Generic[T]):
    """The answer of *ask*, at most :data:`FRESH` seconds old."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._lock = trio.Lock()
        self._answer: tuple[float, T] | None = None

    async def get(self) -> T:
        """The answer; asks anew unless somebody just did. A failure is nobody else's."""
        await trio.lowlevel.checkpoint()
        called = trio.current_time()
        if (known := self._known(called - FRESH)) is not None:
            return known[0]
        async with self._lock:
            # Whoever waited for the lock takes what was asked for meanwhile.
            if (known := self._known(called - FRESH)) is not None:
                return known[0]
            began = trio.current_time()
            answer = await self._ask()
            self._answer = began, answer
            return answer

    def _known(self, since: float) -> tuple[T] | None:
        """The answer, if it was asked for at or after *since*."""
        if self._answer is None or self._answer[0] < since:
            return None
        return (self._answer[1],)
