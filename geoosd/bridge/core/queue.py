"""Who may ask an upstream next: a bounded queue, fair among clients, first come first served within
each.

Clients take turns (round robin), so that one that sends a hundred prompts does not make another
wait for all of them. The waiting itself is :mod:`..adapters.turns`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T", bound=Hashable)

Entry: TypeAlias = Literal["turn", "waits", "full"]


class FairQueue(Generic[T]):
    """At most *slots* tickets have their turn at a time and *room* wait; ``refused`` counts those
    that found no room."""

    def __init__(self, slots: int, room: int) -> None:
        self.slots = slots
        self.room = room
        self.refused = 0
        self._running: set[T] = set()
        self._waiting: dict[str, deque[T]] = {}
        """By client; the first is next to be served, then goes to the end."""

    @property
    def running(self) -> int:
        """How many have their turn."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def enter(self, ticket: T, client: str) -> Entry:
        """Ask for a turn: it has it at once, waits, or is turned away."""
        if len(self._running) < self.slots:
            self._running.add(ticket)
            return "turn"
        if self.waiting >= self.room:
            self.refused += 1
            return "full"
        self._waiting.setdefault(client, deque()).append(ticket)
        return "waits"

    def leave(self, ticket: T) -> list[T]:
        """A turn is over, or given up while waiting: those whose turn it is now."""
        if ticket in self._running:
            self._running.remove(ticket)
        else:
            self._give_up(ticket)
        granted: list[T] = []
        while self._waiting and len(self._running) < self.slots:
            chosen = self._next()
            self._running.add(chosen)
            granted.append(chosen)
        return granted

    def order(self) -> list[T]:
        """Those who wait, in the order of their turns if nobody else comes; the index is the
        position."""
        lines = [list(line) for line in self._waiting.values()]
        longest = max(map(len, lines), default=0)
        return [line[turn] for turn in range(longest) for line in lines if turn < len(line)]

    def _next(self) -> T:
        client, line = next(iter(self._waiting.items()))
        ticket = line.popleft()
        del self._waiting[client]
        if line:
            self._waiting[client] = line
        return ticket

    def _give_up(self, ticket: T) -> None:
        for client, line in self._waiting.items():
            if ticket in line:
                line.remove(ticket)
                if not line:
                    del self._waiting[client]
                return
