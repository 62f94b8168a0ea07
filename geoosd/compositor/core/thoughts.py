"""The thought stream: the newest tokens of every stream, with the time each was made.

A stream is one choice of one session, so that a fast session does not push a slow one's words out.
Bounded twice: so many streams, the least recently written forgotten first, and so many tokens of
each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from geoosd.wire.messages import TokenVisualizationUpdate

MAX_STREAMS: Final = 32
MAX_TOKENS: Final = 256
"""Of one stream. Its text is the concatenation of ``current_token`` for one role."""
MAX_NEWEST: Final = 512
"""Over all streams, kept at hand for late joiners and trails."""

StreamKey: TypeAlias = tuple[str | None, int | None]
"""Session and choice; None for producers that name none."""


class Thought(NamedTuple):
    """A token as it came. ``at`` is its source's timestamp, seconds since the epoch; ``order``
    counts arrivals over all streams. Confidence and entropy are the token's own."""

    order: int
    at: float
    token: TokenVisualizationUpdate


class Thoughts:
    """Rings of thoughts, by stream."""

    def __init__(self) -> None:
        self.newest: deque[Thought] = deque(maxlen=MAX_NEWEST)
        self._streams: dict[StreamKey, deque[Thought]] = {}
        self._count = 0

    def __len__(self) -> int:
        return sum(len(ring) for ring in self._streams.values())

    @property
    def count(self) -> int:
        """How many tokens have ever been added."""
        return self._count

    def add(self, token: TokenVisualizationUpdate, at: float) -> None:
        """The newest token of its stream."""
        self._count += 1
        key = (token.session, token.choice)
        ring = self._streams.pop(key, None)
        if ring is None:
            ring = deque[Thought](maxlen=MAX_TOKENS)
            if len(self._streams) >= MAX_STREAMS:
                del self._streams[next(iter(self._streams))]
        self._streams[key] = ring
        thought = Thought(self._count, at, token)
        ring.append(thought)
        self.newest.append(thought)

    def restore(self, thoughts: Iterable[tuple[TokenVisualizationUpdate, float]]) -> None:
        """Add tokens and their timestamps, oldest first, as they were saved."""
        for token, at in thoughts:
            self.add(token, at)

    def streams(self) -> dict[StreamKey, list[Thought]]:
        """Every stream, least recently written first, its thoughts oldest first."""
        return {key: list(ring) for key, ring in self._streams.items()}

    def latest(self, streams: int, count: int) -> Iterator[TokenVisualizationUpdate]:
        """The newest *count* tokens of each of the *streams* that were written last, backwards."""
        for ring in islice(reversed(self._streams.values()), streams):
            for thought in islice(reversed(ring), count):
                yield thought.token

    def of(self, session: str | None, choice: int | None = None) -> list[Thought]:
        """The thoughts of one stream, oldest first; none of an unknown one."""
        return list(self._streams.get((session, choice), ()))

    def all(self) -> list[Thought]:
        """Every thought that is kept, in the order of arrival."""
        return sorted(thought for ring in self._streams.values() for thought in ring)
