"""The hub's edges that interleavings rarely reach; its promises stand in the property tests."""

import json

from geoosd.broadcaster.core import models
from geoosd.broadcaster.core.hub import Hub, Limits, Scene
from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.broadcaster.core.viewer import MAX_CONTROL_BYTES, Viewer
from geoosd.wire import messages
from geoosd.wire.messages import (
    After,
    Gap,
    Hello,
    Message,
    SessionProgress,
    SessionStarted,
    Subscribe,
    Theme,
    ThemeChanged,
    TokenVisualizationUpdate,
)

TOKEN = TokenVisualizationUpdate(current_token="t", sequence_position=0)
ALL = Subscription(Filter(), 16)
THEME = Theme(
    "dark", "Dark", "#000000", "#ffffff", "#888888", "#00ff00", ["#000000"] * 2, ["#ffffff"]
)


def made(**limits):
    hub = Hub(Limits(**limits))
    hub.restart(Hello("e1", 0), 0.0)
    return hub


def say(hub, payload, seq=None):
    return hub.publish(Message(payload, 0.0, seq), messages.encode(payload, 0.0, seq=seq))


def joined(hub, subscription=ALL, **welcome):
    viewer = Viewer("v", "", 0.0, subscription)
    hub.admit(viewer)
    hub.welcome(viewer, welcome.get("resume"), welcome.get("scene"), 0.0)
    return viewer


def drain(hub, viewer):
    got = b""
    while (data := hub.next_bytes(viewer, 0.0)) is not None:
        got += bytes(data)
        hub.took(viewer, len(data))
    return got


def test_repeats_are_ignored_and_gaps_reach_those_who_resume():
    hub = made()
    assert say(hub, TOKEN, 1)
    assert not say(hub, TOKEN, 1)
    say(hub, Gap(2, 5, 4, "lost"))
    say(hub, TOKEN, 6)
    assert b'"Gap"' in drain(hub, joined(hub, resume=After("e1", 1)))
    assert b'"Gap"' not in drain(hub, joined(hub, resume=After("e1", 6)))


def test_models_are_known_by_session():
    hub = made()
    picky = joined(hub, Subscription(Filter(models=frozenset({"m1"})), 0))
    drain(hub, picky)
    say(hub, SessionStarted("s1", "m1"), 1)
    say(hub, SessionStarted("s2", "m2"), 2)
    say(hub, SessionProgress("s1", "prefill"), 3)
    say(hub, SessionProgress("s2", "prefill"), 4)
    say(hub, TokenVisualizationUpdate("t", 0, session="s2"), 5)
    say(hub, TokenVisualizationUpdate("t", 0, session="s1"), 6)
    say(hub, TOKEN, 7)
    lane = picky.lane
    batch = lane.take()
    assert batch.through == [1, 3, 6, 7]


def test_the_memory_of_models_is_bounded(monkeypatch):
    monkeypatch.setattr(models, "_MAX_SESSIONS", 2)
    known = models.Models()
    for session in ("s1", "s2", "s3"):
        assert known.of(SessionStarted(session, "m")) == "m"
    progress = [known.of(SessionProgress(session, "prefill")) for session in ("s1", "s2", "s3")]
    assert progress == [None, "m", "m"]


def test_a_theme_is_in_the_next_hello():
    hub = made()
    say(hub, ThemeChanged(THEME), 1)
    frame = drain(hub, joined(hub, scene=Scene("e1", 1, b"")))
    assert json.loads(frame[4:])["payload"]["theme"]["name"] == "dark"


def test_an_old_snapshot_and_lost_controls_close_with_4000():
    hub = made(ring_frames=2)
    for seq in range(1, 6):
        say(hub, TOKEN, seq)
    viewer = joined(hub, scene=Scene("e1", 1, b"\x81\x00"))
    assert viewer.closing
    assert drain(hub, viewer).endswith(b"the feed has moved on; connect again")
    slow = joined(hub)
    for seq in range(6, 1100):
        say(hub, SessionStarted("s"), seq)
    assert drain(hub, slow).endswith(b"too far behind for control messages")
    assert hub.stalled == 2


def test_too_many_control_bytes_close_with_4000():
    hub = made()
    viewer = joined(hub)
    before = viewer.control_given
    assert hub.queue(viewer, bytes(MAX_CONTROL_BYTES)) == before
    assert viewer.closing
    assert not hub.groups
    hub.close(viewer, 1000, "")
    hub.welcome(viewer, None, None, 0.0)
    assert hub.queue(viewer, b"x") == before
    assert drain(hub, viewer).endswith(b"cannot take control messages")
    assert hub.next_bytes(viewer, 0.0) is None


def test_gap_of_nothing_but_controls_is_none():
    hub = made(max_lag=2)
    viewer = joined(hub)
    drain(hub, viewer)
    hub.queue(viewer, b"")
    for seq in range(1, 8):
        say(hub, SessionStarted("s"), seq)
    hub.queue(viewer, b"\x89\x00")
    got = drain(hub, viewer)
    assert b'"Gap"' not in got
    assert got.count(b'"SessionStarted"') == 7


def test_subscribing_before_the_welcome_and_when_too_late():
    hub = made(ring_frames=2)
    viewer = Viewer("v", "", 0.0, ALL)
    hub.subscribe(viewer, ALL.changed_by(Subscribe(tick=0)), 0.0)
    assert viewer.subscription.tick == 0
    late = joined(hub)
    for seq in range(1, 6):
        say(hub, TOKEN, seq)
    hub.subscribe(late, ALL.changed_by(Subscribe(["tokens"])), 0.0)
    assert b'"dropped":5' in drain(hub, late)
    lost = joined(hub)
    for seq in range(6, 1100):
        say(hub, SessionStarted("s"), seq)
    hub.subscribe(lost, ALL.changed_by(Subscribe(["tokens"])), 0.0)
    assert lost.closing


def numbers(wire):
    return [int(part.split(b"}")[0]) for part in wire.split(b'"seq":')[1:]]


def test_who_turns_a_channel_off_and_on_gets_nothing_twice_and_not_what_was_left_out():
    hub = made()
    viewer = joined(hub)
    drain(hub, viewer)
    for seq in (1, 2, 3):
        say(hub, TOKEN, seq)
    hub.subscribe(viewer, viewer.subscription, 0.0)  # three wait for it: they still come
    assert numbers(drain(hub, viewer)) == [1, 2, 3]
    hub.subscribe(viewer, ALL.changed_by(Subscribe(["sessions"])), 0.0)
    say(hub, TOKEN, 4)
    assert drain(hub, viewer) == b""
    hub.subscribe(viewer, ALL, 0.0)
    say(hub, TOKEN, 5)
    hub.subscribe(viewer, ALL.changed_by(Subscribe(tick=0)), 0.0)
    assert numbers(drain(hub, viewer)) == [5]


def test_who_heard_nothing_for_longer_than_the_ring_lasts_may_still_change_its_filter():
    hub = made(ring_frames=4)
    viewer = joined(hub, ALL.changed_by(Subscribe(["sessions"])))
    drain(hub, viewer)
    for seq in range(1, 20):
        say(hub, TOKEN, seq)
    hub.subscribe(viewer, ALL, 0.0)
    assert not viewer.closing
    say(hub, TOKEN, 20)
    assert numbers(drain(hub, viewer)) == [20]
    assert viewer.dropped == 0


def test_leaving_prunes_the_group_and_restart_skips_the_closing():
    hub = made()
    viewer = joined(hub)
    assert hub.groups
    assert list(hub.viewers) == [viewer]
    hub.end(viewer, b"\x88\x00")
    assert not hub.groups
    hub.leave(viewer)
    assert not hub.viewers
    assert not hub.can_resume(viewer, None)
    other = joined(hub)
    for seq in range(1, 1100):
        say(hub, SessionStarted("s"), seq)
    assert hub.restart(Hello("e2", 5, 3), 0.0) == []
    assert other.closing
    assert hub.seq == 2


def test_an_overflow_within_one_tick_is_a_gap_for_all():
    hub = made(ring_frames=3)
    first, second = joined(hub), joined(hub)
    for viewer in (first, second):
        drain(hub, viewer)
    for seq in range(1, 10):
        say(hub, TOKEN, seq)
    hub.queue(second, b"\x81\x00")
    assert b'"dropped":9' in drain(hub, second)
    assert first.lane.take_strays() == [first]
    assert b'"dropped":9' in drain(hub, first)
    assert first.lag == 0


def test_a_viewer_that_takes_a_part_of_a_batch_goes_on_in_the_middle_of_a_frame():
    hub = made()
    whole, slow, stuck = joined(hub), joined(hub), joined(hub)
    for viewer in (whole, slow, stuck):
        drain(hub, viewer)
    for seq in (1, 2, 3):
        say(hub, TOKEN, seq)
    lane = whole.lane
    batch = lane.take()
    assert [slow.position, slow.lag, slow.sent] == [batch.start, 3, 0]
    lane.took_all(whole)
    assert whole.position == batch.stop
    hub.took_part(slow, batch, len(batch.data) - 1)
    hub.took_part(stuck, batch, 0)
    assert drain(hub, slow) == batch.data[-1:]
    assert drain(hub, stuck) == batch.data
    assert [slow.lag, stuck.lag, whole.lag] == [0, 0, 0]


def test_control_bytes_reach_a_viewer_that_was_due_before_its_batch():
    hub = made()
    viewer = joined(hub)
    drain(hub, viewer)
    say(hub, TOKEN, 1)
    batch = viewer.lane.take()
    hub.queue(viewer, b"\x89\x00")
    assert viewer.position == batch.start
    assert drain(hub, viewer) == b"\x89\x00" + batch.data


def test_a_gap_is_followed_by_the_controls_that_stood_in_it():
    hub = made(max_lag=2)
    viewer = joined(hub)
    drain(hub, viewer)
    say(hub, TOKEN, 1)
    say(hub, SessionStarted("s"), 2)
    say(hub, TOKEN, 3)
    say(hub, TOKEN, 4)
    hub.queue(viewer, b"\x89\x00")
    got = drain(hub, viewer)
    assert got.index(b'"dropped":3') < got.index(b'"SessionStarted"')
    assert viewer.dropped == 3
    assert viewer.sent == 1


def test_position_of_a_viewer_outside_any_lane_is_nothing():
    viewer = Viewer("v", "", 0.0, ALL)
    assert [viewer.position, viewer.lag, viewer.sent] == [0, 0, 0]


def test_an_answer_comes_after_hello_however_early_it_is():
    hub = made()
    viewer = Viewer("v", "", 0.0, ALL)
    hub.admit(viewer)
    hub.answer(viewer, b"\x81\x01a")
    assert hub.next_bytes(viewer, 0.0) is None
    hub.welcome(viewer, None, Scene("e1", 0, b"\x81\x01s"), 0.0)
    hub.answer(viewer, b"\x81\x01b")
    got = drain(hub, viewer)
    assert got.index(b'"Hello"') < got.index(b"\x01a") < got.index(b"\x01s") < got.index(b"\x01b")
    assert got.count(b"\x01a") == 1


def test_who_leaves_before_hello_gets_its_answers_still():
    hub = made()
    viewer = Viewer("v", "", 0.0, ALL)
    hub.admit(viewer)
    hub.answer(viewer, b"\x81\x01a")
    number = hub.end(viewer, b"\x88\x00")
    assert drain(hub, viewer) == b"\x81\x01a\x88\x00"
    assert viewer.control_given == number
    hub.welcome(viewer, None, None, 0.0)
    assert hub.next_bytes(viewer, 0.0) is None


def test_a_snapshot_that_is_too_large_ends_the_welcome():
    hub = made()
    viewer = joined(hub, scene=Scene("e1", 0, bytes(MAX_CONTROL_BYTES)))
    assert viewer.closing
    assert viewer.lane is None


def test_a_snapshot_newer_than_the_last_tick_waits_for_the_next_one():
    hub = made()
    first = joined(hub)
    drain(hub, first)
    say(hub, TOKEN, 1)
    late = joined(hub, scene=Scene("e1", 1, b"\x81\x00"))
    assert drain(hub, late).endswith(b"\x81\x00")
    lane = late.lane
    assert lane is first.lane
    assert late in lane.ahead
    lane.take()
    drain(hub, first)
    assert lane.take_strays() == [late]
    assert drain(hub, late) == b""
    assert late in lane.live


def test_control_bytes_are_counted_until_they_are_given():
    hub = made()
    viewer = joined(hub)
    drain(hub, viewer)
    before = viewer.control_given
    numbers = [hub.queue(viewer, data) for data in (b"\x89\x00", b"\x8a\x00")]
    assert numbers == [before + 1, before + 2]
    assert viewer.control_bytes == 4
    hub.took(viewer, len(hub.next_bytes(viewer, 0.0)))
    assert (viewer.control_given, viewer.control_bytes) == (numbers[0], 2)
    assert drain(hub, viewer) == b"\x8a\x00"
    assert (viewer.control_given, viewer.control_bytes) == (numbers[1], 0)
    hub.queue(viewer, bytes(MAX_CONTROL_BYTES - 1))
    hub.queue(viewer, b"x")
    assert not viewer.closing, "as many as are allowed"
    hub.queue(viewer, b"x")
    assert viewer.closing


def test_a_backlog_that_was_asked_for_is_no_lag():
    hub = made(max_lag=2)
    for seq in range(1, 11):
        say(hub, TOKEN, seq)
    got = drain(hub, joined(hub, resume=After("e1", 0)))
    assert got.count(b'"TokenVisualizationUpdate"') == 10
    assert b'"Gap"' not in got


def test_subscribing_just_before_it_is_too_late_misses_nothing():
    hub = made(ring_frames=2)
    viewer = joined(hub)
    for seq in (1, 2):
        say(hub, TOKEN, seq)
    hub.subscribe(viewer, ALL.changed_by(Subscribe(["tokens"])), 0.0)
    got = drain(hub, viewer)
    assert got.count(b'"TokenVisualizationUpdate"') == 2
    assert b'"Gap"' not in got
