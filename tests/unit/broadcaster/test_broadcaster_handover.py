"""A viewer that another hub takes over; that it may happen at any moment is a property test."""

import msgspec
from test_broadcaster_hub import ALL, TOKEN, drain, joined, made, say

from geoosd.broadcaster.core.handover import Carried
from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire.messages import After, Canary, Hello, Subscribe

PICKY = Subscription(Filter(frozenset({"tokens", "frames"}), frozenset({"m", "n"})), 0)


def carried_over(viewer, epoch="e1"):
    packed = msgspec.json.encode(Carried.of(viewer, epoch))
    return msgspec.json.decode(packed, type=Carried)


def filled(numbers, epoch="e1"):
    hub = made()
    hub.restart(Hello(epoch, 0), 0.0)
    for number in range(1, numbers + 1):
        say(hub, TOKEN, number)
    return hub


def test_all_that_is_told_of_a_viewer_goes_with_it():
    hub = filled(9)
    viewer = joined(hub, PICKY, resume=After("e1", 5))
    viewer.dropped, viewer.gaps, viewer.sent_before = 3, 1, 10
    new = carried_over(viewer).viewer()
    assert new.subscription == viewer.subscription
    for name in ("id", "address", "since", "dropped", "gaps", "sent", "control", "control_bytes"):
        assert getattr(new, name) == getattr(viewer, name)


def test_a_frame_that_has_begun_is_finished_by_the_other_hub():
    hub, other = filled(9), filled(9)
    whole = drain(filled(9), joined(hub, resume=After("e1", 5)))
    for cut in range(1, len(whole)):
        viewer, wire = joined(hub, resume=After("e1", 5)), b""
        while len(wire) < cut:
            data = bytes(hub.next_bytes(viewer, 0.0))[: cut - len(wire)]
            hub.took(viewer, len(data))
            wire += data
        carried = carried_over(viewer)
        viewer = carried.viewer()
        other.admit(viewer)
        assert other.go_on(viewer, carried)
        assert wire + drain(other, viewer) == whole


def test_who_is_not_let_in_or_from_elsewhere_must_be_welcomed():
    hub = filled(3)
    waiting = Viewer("v", "", 0.0, ALL)
    hub.admit(waiting)
    hub.answer(waiting, b"\x81\x00")
    there = joined(hub, resume=After("e1", 3))
    for other, viewer in (
        (hub, waiting),
        (filled(3, "e2"), there),
        (filled(2), there),  # its feed is behind what the viewer has had
    ):
        carried = carried_over(viewer)
        new = carried.viewer()
        other.admit(new)
        assert not other.go_on(new, carried)
        assert new.lane is None
        assert new.early == viewer.early


def test_who_is_closing_gets_the_rest_of_it():
    hub, other = filled(1), filled(1)
    viewer = joined(hub)
    drain(hub, viewer)
    hub.close(viewer, 1001, "restarting")
    data = hub.next_bytes(viewer, 0.0)
    hub.took(viewer, 3)
    carried = carried_over(viewer)
    new = carried.viewer()
    other.admit(new)
    assert other.go_on(new, carried)
    assert drain(other, new) == bytes(data)[3:]


def test_a_message_behind_one_without_a_number_is_not_passed_over():
    """A canary stands where the next token will: who has had the canary has not had the token."""
    hub = filled(4)
    viewer = joined(hub, Subscription(Filter(frozenset({"tokens", "canary"})), 0))
    drain(hub, viewer)
    say(hub, Canary("c", {}))
    hub.queue(viewer, b"")  # nothing: it stays in step
    batch = viewer.lane.take()
    viewer.lane.took_all(viewer)
    assert b"Canary" in batch.data
    say(hub, TOKEN, 5)
    hub.subscribe(viewer, viewer.subscription.changed_by(Subscribe(tick=16)), 0.0)
    assert b'"seq":5' in drain(hub, viewer)
    # The same when the canary has fallen out of the ring.
    small = made(ring_frames=2)
    viewer = joined(small, Subscription(Filter(frozenset({"tokens", "canary"})), 0))
    drain(small, viewer)
    say(small, Canary("c", {}))
    say(small, TOKEN, 1)
    say(small, TOKEN, 2)
    assert small.ring.through_before(small.ring.first) == 0
