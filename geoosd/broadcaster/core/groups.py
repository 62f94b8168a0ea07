"""The rings: one of everything, and one for each filter that somebody has.

Viewers of equal filters are a :class:`Group` and share its ring and its lanes, so that a filter
costs what it costs once, however many use it. A new group's ring is filled from the ring of
everything; a group that nobody is in is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

from geoosd.broadcaster.core.lane import Lane
from geoosd.broadcaster.core.ring import Entry, Ring
from geoosd.broadcaster.core.subscription import Filter
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire.messages import Tick


class Group:
    """The viewers of one filter: their ring, and a lane per tick."""

    __slots__ = ("filter", "lanes", "members", "ring")

    def __init__(self, filter_: Filter, ring: Ring) -> None:
        self.filter = filter_
        self.ring = ring
        self.lanes: dict[Tick, Lane[Viewer]] = {}
        self.members = 0

    def lane(self, tick: Tick) -> Lane[Viewer]:
        """The lane of those who get what is new every *tick*; made for the first of them."""
        if tick not in self.lanes:
            self.lanes[tick] = Lane(self.ring, tick, pictures=self.filter.pictures)
        return self.lanes[tick]


class Groups:
    """All groups, and ``everything``, the ring that they are filled from.

    A ring holds at most *frames* frames and *size* bytes. ``views`` are the views of which any
    group gets pictures.
    """

    def __init__(self, frames: int, size: int) -> None:
        self._bounds = frames, size
        self._by_filter: dict[Filter, Group] = {}
        self.everything = self._new_ring(0)
        self.views: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self._by_filter)

    def __iter__(self) -> Iterator[Group]:
        """The groups of now, whatever comes and goes meanwhile."""
        return iter(list(self._by_filter.values()))

    def restart(self, lost_through: int) -> None:
        """Empty rings, which have lost all up to number *lost_through*, and no groups."""
        self.everything = self._new_ring(lost_through)
        self._by_filter.clear()
        self._look_at_views()

    def append(self, entry: Entry) -> None:
        """Add *entry* to every ring whose filter takes it."""
        self.everything.append(entry)
        for group in self._by_filter.values():
            if group.filter.takes(entry.channel, entry.model):
                group.ring.append(entry)

    def ring_of(self, filter_: Filter) -> Ring:
        """The ring of *filter_*, or the one from which it would be filled."""
        group = self._by_filter.get(filter_)
        return group.ring if group is not None else self.everything

    def join(self, filter_: Filter) -> Group:
        """The group of *filter_* with one member more."""
        group = self._by_filter.get(filter_)
        if group is None:
            group = self._by_filter[filter_] = Group(filter_, self._filled(filter_))
            self._look_at_views()
        group.members += 1
        return group

    def leave(self, filter_: Filter) -> None:
        """One member less of the group of *filter_*; with the last one it is forgotten."""
        group = self._by_filter[filter_]
        group.members -= 1
        if not group.members:
            del self._by_filter[filter_]
            self._look_at_views()

    def _filled(self, filter_: Filter) -> Ring:
        ring = self._new_ring(self.everything.lost_through)
        for entry in self.everything.entries():
            if filter_.takes(entry.channel, entry.model):
                ring.append(entry)
        return ring

    def _new_ring(self, lost_through: int) -> Ring:
        frames, size = self._bounds
        return Ring(frames, size, lost_through=lost_through)

    def _look_at_views(self) -> None:
        self.views = frozenset(view for each in self._by_filter if (view := each.pictures))
