"""A viewer as plain data, so that another hub can go on with it in the middle of a frame.

Positions in a ring mean something within one process alone; what is carried is the feed's own
epoch and numbers. The hub that takes over must have been filled from the same feed before. It

- makes the viewer anew, :meth:`Carried.viewer`, around the same socket, and admits it;
- lets it go on, :meth:`geoosd.broadcaster.core.hub.Hub.go_on`, or else in as if it were new.

The bytes on the wire are then those that the first hub would have sent: every numbered message once
and in order. One without a number (a Gap, a canary) may come twice if it was the very last.
"""

from __future__ import annotations

from msgspec import Struct

from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire.messages import Channel, Tick


class Carried(Struct, frozen=True):
    """All of one viewer. ``rest`` is what is left of a frame that is partly on the wire,
    ``control`` whole frames that wait; then come the messages after number ``after`` of ``epoch``.
    ``after`` None: it is closing, or was not let in yet; ``early`` then follows its Hello.
    """

    id: str
    address: str
    since: float
    channels: list[Channel]
    models: list[str] | None
    view: str
    tick: Tick
    epoch: str
    after: int | None
    rest: bytes
    control: list[bytes]
    early: list[bytes]
    closing: bool
    sent: int
    dropped: int
    gaps: int

    @classmethod
    def of(cls, viewer: Viewer, epoch: str) -> Carried:
        """*viewer* as it is, of a hub in *epoch*; not between ``next_bytes`` and ``took``."""
        (channels, models, view), tick = viewer.subscription
        return cls(
            id=viewer.id,
            address=viewer.address,
            since=viewer.since,
            channels=sorted(channels),
            models=None if models is None else sorted(models),
            view=view,
            tick=tick,
            epoch=epoch,
            after=None if viewer.lane is None else viewer.place[1],
            rest=b"" if viewer.rest is None else bytes(viewer.rest),
            control=list(viewer.control),
            early=list(viewer.early),
            closing=viewer.closing,
            sent=viewer.sent,
            dropped=viewer.dropped,
            gaps=viewer.gaps,
        )

    def viewer(self) -> Viewer:
        """The viewer, for a hub that has not let it in."""
        models = None if self.models is None else frozenset(self.models)
        filter_ = Filter(frozenset(self.channels), models, self.view)
        subscription = Subscription(filter_, self.tick)
        viewer = Viewer(self.id, self.address, self.since, subscription)
        viewer.rest = memoryview(self.rest) if self.rest else None
        viewer.control = list(self.control)
        viewer.early = list(self.early)
        viewer.control_bytes = sum(map(len, self.control))
        viewer.closing = self.closing
        viewer.dropped, viewer.gaps = self.dropped, self.gaps
        viewer.sent_before = self.sent + self.dropped
        return viewer
