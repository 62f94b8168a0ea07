"""The feed, as the service sees it: numbered messages out, and what is wanted of them.

What carries it is an adapter's: :mod:`..adapters.feed` is the Unix socket of docs/interfaces.md.
One over Redis Streams would keep the same promises: every message has the next number, the newest
stay within bounds, a late joiner gets a Snapshot, and loss is a Gap. The service makes, opens and
proves its adapter; of what it carries, it uses this alone.
"""

from __future__ import annotations

from typing import Protocol

from geoosd.wire.messages import Payload
from geoosd.wire.pictures import Picture
from geoosd.wire.reports import Queue


class Feed(Protocol):
    """Messages to any number of consumers."""

    @property
    def epoch(self) -> str:
        """In which numbers are counted; another one with every start."""
        ...

    @property
    def newest(self) -> int:
        """The number of the newest message; 0 before the first."""
        ...

    @property
    def consumers(self) -> int:
        """How many there are."""
        ...

    @property
    def errors(self) -> int:
        """How often a consumer said what cannot be taken."""
        ...

    @property
    def views(self) -> list[str]:
        """Of which views somebody wants pictures."""
        ...

    def publish(self, payload: Payload, timestamp: float) -> None:
        """Number and keep one message; it goes out with the next :meth:`wake`."""
        ...

    def wake(self) -> None:
        """A batch is complete."""
        ...

    def show(self, picture: Picture) -> None:
        """Give a picture to those who watch its view."""
        ...

    def queues(self) -> list[Queue]:
        """Each queue, its bound, and what it lost."""
        ...
