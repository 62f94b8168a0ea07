"""The hub: which bytes each viewer gets next, who has fallen behind, what it is told of it.

Synchronous and without I/O. The driver (:mod:`geoosd.broadcaster.adapters.fanout`)

- calls :meth:`Hub.publish` for every message of the feed, :meth:`Hub.restart` for a new epoch;
- flushes each lane (:mod:`.lane`) at its tick and reports a viewer who took only a part of a batch
  by :meth:`Hub.took_part`;
- for a viewer that is behind asks :meth:`Hub.next_bytes` and reports :meth:`Hub.took`, until there
  is nothing more: then the viewer is back in step with its lane.

Promises: a frame once begun is finished; numbered messages arrive in order and each once; a missing
one lies within an announced :class:`Gap`; control messages are never missing: a viewer who cannot
take them is closed with 4000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from geoosd.broadcaster.core import frames
from geoosd.broadcaster.core.groups import Groups
from geoosd.broadcaster.core.handover import Carried
from geoosd.broadcaster.core.lane import BATCH_BYTES, Lane
from geoosd.broadcaster.core.models import Models
from geoosd.broadcaster.core.pictures import NOTHING, Still, Stills
from geoosd.broadcaster.core.ring import Batch, Entry, Ring
from geoosd.broadcaster.core.subscription import Subscription
from geoosd.broadcaster.core.viewer import MAX_CONTROL_BYTES, Viewer
from geoosd.wire import messages
from geoosd.wire.messages import (
    CHANNEL_OF,
    DROPPABLE,
    After,
    Gap,
    Hello,
    Message,
    Theme,
    ThemeChanged,
)


class Limits(NamedTuple):
    """Bounds of a hub: of its rings, and of the messages a viewer may be behind."""

    max_lag: int = 1000
    ring_frames: int = 8192
    ring_bytes: int = 32 << 20


class Scene(NamedTuple):
    """A Snapshot as a frame; it holds everything up to the number ``at_seq`` of ``epoch``."""

    epoch: str
    at_seq: int
    frame: bytes


class Hub:
    """The groups with their rings (:mod:`.groups`), and all viewers.

    ``wants_changed`` is called when ``wanted`` has: the views that any viewer takes pictures of.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.epoch = ""
        self.seq = 0
        self.theme: Theme | None = None
        self.groups = Groups(limits.ring_frames, limits.ring_bytes)
        self.viewers: dict[Viewer, None] = {}
        self._reserved: dict[Viewer, None] = {}
        self.dropped = 0
        self.gaps = 0
        self.stalled = 0
        self.wanted: frozenset[str] = frozenset()
        self._stills = Stills()
        self.wants_changed: Callable[[], None] = _nobody_asks
        self._models = Models()

    @property
    def ring(self) -> Ring:
        """The ring of everything."""
        return self.groups.everything

    # -- the feed ----------------------------------------------------------------------------------

    def restart(self, hello: Hello, now: float) -> list[Viewer]:
        """A new epoch begins: rings are emptied; who was let in must be let in again.

        What a viewer still had to get of the old epoch is announced as a Gap. Returns those who
        wait for :meth:`welcome`.
        """
        waiting = [each for each in (*self.viewers, *self._reserved) if each.lane is not None]
        for viewer in waiting:
            assert viewer.lane is not None
            self._step_out(viewer)
            self._skip(viewer, viewer.lane.ring.end, "restart", now)
            self._detach(viewer)
        self.epoch, self.theme = hello.epoch, hello.theme
        # Nothing below the oldest number that the feed holds can ever be resumed.
        lost_through = hello.seq if hello.oldest is None else hello.oldest - 1
        self.seq = lost_through
        self.groups.restart(lost_through)
        self._look_who_wants()
        self._models = Models()
        return [viewer for viewer in waiting if not viewer.closing]

    def publish(self, message: Message, data: bytes) -> bool:
        """Add one message of the feed; *data* is its JSON. False for a repeat, which is ignored."""
        payload = message.payload
        if message.seq is not None:
            if message.seq <= self.seq:
                return False
            self.seq = message.seq
        if isinstance(payload, ThemeChanged):
            self.theme = payload.theme
        entry = Entry(
            # One that carries no number stands where the next one will: who resumes after the one
            # before it must still be told of a gap.
            seq=self.seq if message.seq is not None else self.seq + 1,
            frame=frames.text_frame(data),
            control=not isinstance(payload, DROPPABLE),
            channel=CHANNEL_OF.get(type(payload)),
            model=self._models.of(payload),
            numbered=message.seq is not None,
        )
        self.groups.append(entry)
        return True

    def show(self, picture: bytes, view: str) -> None:
        """*picture* is the newest of *view*: in place of the one before, for who has not had it."""
        self._stills.show(picture, view)

    def still(self, view: str) -> Still:
        """The newest picture of *view*; number 0 before the first."""
        return self._stills.newest(view)

    # -- viewers come and go -----------------------------------------------------------------------

    def admit(self, viewer: Viewer) -> None:
        """Count *viewer*; it gets nothing but control bytes until it is welcomed."""
        (self._reserved if viewer.reserved else self.viewers)[viewer] = None

    def leave(self, viewer: Viewer) -> None:
        """Forget *viewer*: its connection is gone."""
        self._detach(viewer)
        self.viewers.pop(viewer, None)
        self._reserved.pop(viewer, None)

    def can_resume(self, viewer: Viewer, resume: After | None) -> bool:
        """Whether everything after *resume* is still here for this viewer's filter."""
        if resume is None or resume.epoch != self.epoch or resume.after > self.seq:
            return False
        ring = self.groups.ring_of(viewer.subscription.filter)
        return ring.position_after(resume.after) is not None

    def welcome(
        self, viewer: Viewer, resume: After | None, scene: Scene | None, now: float
    ) -> None:
        """Let *viewer* in: Hello, then what follows *resume*, else *scene* and what follows it.

        Without either: Hello and all that the ring holds. *now* is the wall clock, for timestamps.
        """
        if viewer.closing:
            return
        oldest = self.ring.lost_through + 1 if len(self.ring) else None
        hello = Hello(epoch=self.epoch, seq=self.seq, oldest=oldest, theme=self.theme)
        self.queue(viewer, frames.text_frame(messages.encode(hello, now)))
        self._answer_early(viewer)
        if resume is not None and self.can_resume(viewer, resume):
            after = resume.after
        elif scene is not None and scene.epoch == self.epoch:
            self.queue(viewer, scene.frame)
            after = scene.at_seq
        else:
            after = self.ring.lost_through
        self._enter(viewer, after)

    def go_on(self, viewer: Viewer, carried: Carried) -> bool:
        """Have *viewer*, which was another hub's, go on where it was.

        False: it must be welcomed, since it never was, or since this hub is of another epoch or not
        as far in the feed.
        """
        if carried.closing:
            return True
        after = carried.after
        if after is None or carried.epoch != self.epoch or after > self.seq:
            return False
        self._enter(viewer, after)
        return True

    def subscribe(self, viewer: Viewer, subscription: Subscription, now: float) -> None:
        """Change what *viewer* gets, from where it stands: what it had does not come again, and
        what its filter left out until now is not made up for.
        """
        if viewer.lane is None:
            viewer.subscription = subscription
            return
        self._step_out(viewer)
        if viewer.cursor < viewer.lane.ring.first:
            self._skip(viewer, viewer.lane.ring.end, "lag", now)
        given = self.given(viewer)
        self._detach(viewer)
        viewer.subscription = subscription
        if given is not None:
            self._enter(viewer, given)

    def given(self, viewer: Viewer) -> int | None:
        """The number up to which *viewer* was given all that its filter takes: below the next
        message that waits for it. None: it is closing, or was not let in yet.
        """
        if viewer.lane is None:
            return None
        position, after = viewer.place
        return max(after, viewer.lane.ring.below(position, self.seq))

    def close(self, viewer: Viewer, code: int, reason: str) -> None:
        """Have *viewer* get a Close frame after what is on the wire, and nothing after it."""
        if viewer.closing:
            return
        self.stalled += code == frames.STALLED
        self._detach(viewer)
        frame = frames.close_frame(code, reason)
        viewer.control.append(frame)
        viewer.control_bytes += len(frame)
        viewer.closing = True

    def end(self, viewer: Viewer, close: bytes) -> int:
        """Queue a Close frame that is not ours, as :meth:`queue` does: nothing may follow it."""
        self._answer_early(viewer)
        number = self.queue(viewer, close)
        self._detach(viewer)
        viewer.closing = True
        return number

    def answer(self, viewer: Viewer, data: bytes) -> None:
        """Queue the answer to something that *viewer* said; its Hello comes before any."""
        if viewer.lane is None:
            viewer.early.append(data)
        else:
            self.queue(viewer, data)

    def _answer_early(self, viewer: Viewer) -> None:
        early, viewer.early = viewer.early, []
        for data in early:
            self.queue(viewer, data)

    def queue(self, viewer: Viewer, data: bytes) -> int:
        """Queue control bytes, whole frames, before anything of the ring.

        Returns the number that ``viewer.control_given`` reaches when they are wholly on their way.
        Too many of them waiting closes the viewer with 4000.
        """
        if viewer.closing or not data:
            return viewer.control_given
        if viewer.control_bytes + len(data) > MAX_CONTROL_BYTES:
            self.close(viewer, frames.STALLED, "cannot take control messages")
            return viewer.control_given
        self._step_out(viewer)
        viewer.control.append(data)
        viewer.control_bytes += len(data)
        return viewer.control_given + len(viewer.control)

    # -- what goes on the wire ---------------------------------------------------------------------

    def next_bytes(self, viewer: Viewer, now: float) -> bytes | memoryview | None:
        """What to send to a viewer that is behind; report by :meth:`took` how much of it went.

        None: nothing. Then the viewer is in step with its lane, or waits to be welcomed, or has had
        its Close frame.
        """
        if viewer.rest is not None:
            viewer.handed = viewer.rest
            return viewer.rest
        lane = viewer.lane
        if lane is not None and (viewer in lane.live or viewer in lane.due):
            return None
        if lane is not None and not viewer.control:
            self._keep_up(viewer, lane, now)
        if viewer.control:
            viewer.handed = viewer.control[0]
            return viewer.control[0]
        viewer.handed = None
        return self._next_of_ring(viewer, viewer.lane) if viewer.lane is not None else None

    def _next_of_ring(self, viewer: Viewer, lane: Lane[Viewer]) -> bytes | None:
        target = lane.target
        if viewer.cursor < target:
            batch = lane.ring.batch(viewer.cursor, target, BATCH_BYTES)
            viewer.handed = batch
            return batch.data
        if viewer.cursor > target:
            lane.ahead[viewer] = None
            return None
        still = self.still(lane.pictures) if lane.pictures else NOTHING
        if still.number not in (0, viewer.seen):
            viewer.handed = still
            return still.frame
        if not lane.live and not lane.due:
            lane.go_to_end()
        lane.live[viewer] = None
        return None

    def took(self, viewer: Viewer, sent: int) -> None:
        """*sent* bytes of what :meth:`next_bytes` returned have gone out."""
        handed = viewer.handed
        viewer.handed = None
        if isinstance(handed, Batch):
            self._took_of_batch(viewer, handed, sent)
        elif isinstance(handed, Still):
            self._took_of_picture(viewer, handed, sent)
        elif isinstance(handed, memoryview):
            viewer.rest = handed[sent:] if sent < len(handed) else None
        elif handed is not None and sent:
            data = viewer.control.pop(0)
            viewer.control_bytes -= len(data)
            viewer.control_given += 1
            viewer.rest = memoryview(data)[sent:] if sent < len(data) else None

    def took_part(self, viewer: Viewer, batch: Batch, sent: int) -> None:
        """A viewer that was due in its lane took only *sent* bytes of *batch*: it is behind now."""
        assert viewer.lane is not None
        viewer.lane.remove(viewer)
        viewer.cursor, viewer.after = batch.start, batch.after
        self._took_of_batch(viewer, batch, sent)

    def took_picture(self, viewer: Viewer, still: Still, sent: int) -> None:
        """A viewer in step took *sent* bytes of the picture: behind now, unless that was all."""
        if sent < len(still.frame):
            self._step_out(viewer)
        self._took_of_picture(viewer, still, sent)

    @staticmethod
    def _took_of_picture(viewer: Viewer, still: Still, sent: int) -> None:
        if sent:
            viewer.seen = still.number
            viewer.rest = memoryview(still.frame)[sent:] if sent < len(still.frame) else None

    def mend_overflow(self, lane: Lane[Viewer]) -> None:
        """The ring has lost what *lane* has not sent: all its viewers are behind now, and stray."""
        for viewer in (*lane.live, *lane.due):
            self._step_out(viewer)
            lane.strays[viewer] = None
        lane.go_to_end()

    @staticmethod
    def _took_of_batch(viewer: Viewer, batch: Batch, sent: int) -> None:
        begun, end = batch.split(sent)
        viewer.cursor = batch.start + begun
        if begun:
            viewer.after = batch.through[begun - 1]
            viewer.rest = memoryview(batch.data)[sent:end] if sent < end else None

    # -- inside ------------------------------------------------------------------------------------

    def _keep_up(self, viewer: Viewer, lane: Lane[Viewer], now: float) -> None:
        """Skip what a viewer that is too far behind will not get any more."""
        ring = lane.ring
        if lane.has_overflowed:
            self.mend_overflow(lane)
        lag = ring.end - max(viewer.cursor, viewer.owed)
        if viewer.cursor < ring.first or lag > self.limits.max_lag:
            self._skip(viewer, lane.target, "lag", now)

    def _skip(self, viewer: Viewer, to: int, reason: str, now: float) -> None:
        """Go on from position *to*: one Gap for what may be dropped, and all that may not."""
        assert viewer.lane is not None
        ring = viewer.lane.ring
        if to <= viewer.cursor:
            return
        kept = ring.controls(viewer.cursor, to)
        if kept is None:
            self.close(viewer, frames.STALLED, "too far behind for control messages")
            return
        after = ring.through_before(to)
        dropped = to - viewer.cursor - len(kept)
        if dropped:
            viewer.dropped += dropped
            viewer.gaps += 1
            self.dropped += dropped
            self.gaps += 1
            gap = Gap(viewer.after + 1, after, dropped, reason)
            self.queue(viewer, frames.text_frame(messages.encode(gap, now)))
        for frame in kept:
            self.queue(viewer, frame)
        viewer.cursor, viewer.after = to, after

    def _enter(self, viewer: Viewer, after: int) -> None:
        """Put *viewer* behind in its lane, at the first message after number *after*."""
        if viewer.closing:
            return
        subscription = viewer.subscription
        group = self.groups.join(subscription.filter)
        position = group.ring.position_after(after)
        if position is None:
            # Only a snapshot or a backlog older than the whole ring: rare, and safe to start anew.
            self.groups.leave(subscription.filter)
            self.close(viewer, frames.STALLED, "the feed has moved on; connect again")
        else:
            viewer.lane = group.lane(subscription.tick)
            viewer.after = after
            viewer.cursor = viewer.start = position
            viewer.owed = group.ring.end
        self._look_who_wants()

    def _step_out(self, viewer: Viewer) -> None:
        """Out of step: from now on the viewer has a cursor of its own."""
        lane = viewer.lane
        if lane is None:
            return
        viewer.cursor, viewer.after = viewer.place
        lane.remove(viewer)

    def _detach(self, viewer: Viewer) -> None:
        """Out of its lane and group."""
        if viewer.lane is None:
            return
        self._step_out(viewer)
        viewer.sent_before += viewer.cursor - viewer.start
        viewer.start = 0
        viewer.lane = None
        self.groups.leave(viewer.subscription.filter)
        self._look_who_wants()

    def _look_who_wants(self) -> None:
        if self.groups.views != self.wanted:
            self.wanted = self.groups.views
            self._stills.keep(self.wanted)
            self.wants_changed()


def _nobody_asks() -> None:
    """What is called when nobody wants to know."""
