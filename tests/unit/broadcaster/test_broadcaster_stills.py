"""Pictures: framed once, and only the newest for who is slow."""

from test_broadcaster_hub import ALL, TOKEN, drain, joined, made, say

from geoosd.broadcaster.core import frames, pictures
from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.wire.messages import Hello
from geoosd.wire.pictures import Picture, encode_picture

FRAMES = Subscription(Filter(frozenset({"frames", "tokens"})), 0)


def picture(seq=1, size=100):
    return encode_picture(Picture(64, 32, seq, b"\xff\xd8" + b"j" * size))


def test_a_part_ends_with_the_boundary():
    jpeg = picture()[16:]
    head, _, rest = pictures.part_of(picture()).partition(b"\r\n\r\n")
    assert head == b"Content-Type: image/jpeg\r\nContent-Length: %d" % len(jpeg)
    assert rest == jpeg + b"\r\n--geoos\r\n"


def test_who_asks_for_frames_gets_the_newest_and_others_none():
    hub = made()
    hub.show(picture(1), "activation")
    hub.show(picture(2), "activation")
    watcher, other = joined(hub, FRAMES), joined(hub)
    assert drain(hub, watcher).endswith(frames.binary_frame(picture(2)))
    assert picture(2) not in drain(hub, other)
    assert drain(hub, watcher) == b""
    assert watcher in watcher.lane.live


def test_a_slow_viewer_finishes_its_frame_and_gets_the_newest_then():
    hub = made()
    watcher = joined(hub, FRAMES)
    drain(hub, watcher)
    hub.show(picture(1), "activation")
    first = hub.still("activation")
    hub.took_picture(watcher, first, 10)
    assert watcher not in watcher.lane.live
    hub.show(picture(2), "activation")
    hub.show(picture(3), "activation")
    say(hub, TOKEN, 1)
    got = drain(hub, watcher)
    rest = first.frame[10:]
    assert got.startswith(rest + b"\x81")
    assert got.endswith(frames.binary_frame(picture(3)))
    assert frames.binary_frame(picture(2)) not in got
    assert watcher in watcher.lane.live


def test_a_picture_not_begun_is_not_had():
    hub = made()
    watcher = joined(hub, FRAMES)
    drain(hub, watcher)
    hub.show(picture(1), "activation")
    hub.took_picture(watcher, hub.still("activation"), 0)
    assert watcher.rest is None
    data = hub.next_bytes(watcher, 0.0)
    hub.took(watcher, 0)
    assert hub.next_bytes(watcher, 0.0) == data
    hub.took(watcher, 4)
    assert bytes(hub.next_bytes(watcher, 0.0)) == data[4:]
    hub.took(watcher, len(data) - 4)
    assert hub.next_bytes(watcher, 0.0) is None


def test_all_of_a_picture_leaves_a_viewer_in_step():
    hub = made()
    watcher = joined(hub, FRAMES)
    drain(hub, watcher)
    hub.show(picture(1), "activation")
    hub.took_picture(watcher, hub.still("activation"), len(hub.still("activation").frame))
    assert watcher in watcher.lane.live
    assert watcher.rest is None


def test_somebody_upstream_is_told_when_pictures_are_wanted():
    hub = made()
    told = []
    hub.wants_changed = lambda: told.append(sorted(hub.wanted))
    joined(hub)
    one, two = joined(hub, FRAMES), joined(hub, FRAMES)
    hub.leave(one)
    assert told == [["activation"]]
    hub.subscribe(two, ALL, 0.0)
    assert told == [["activation"], []]
    joined(hub, FRAMES)
    hub.restart(Hello("e2", 0), 0.0)
    assert told == [["activation"], [], ["activation"], []]


def test_who_looks_at_another_view_gets_pictures_of_that_alone():
    hub = made()
    told = []
    hub.wants_changed = lambda: told.append(sorted(hub.wanted))
    one = joined(hub, FRAMES)
    two = joined(hub, Subscription(Filter(FRAMES.filter.channels, view="memory"), 0))
    for seq, view in enumerate(("activation", "memory", "layers"), 1):
        hub.show(picture(seq), view)
    framed = [frames.binary_frame(picture(seq)) for seq in (1, 2, 3)]
    got = [drain(hub, viewer) for viewer in (one, two)]
    assert [each in got[0] for each in framed] == [True, False, False]
    assert [each in got[1] for each in framed] == [False, True, False]
    # Who turns to a view that stands still gets its newest picture, though it is older.
    hub.subscribe(two, FRAMES, 0.0)
    assert drain(hub, two).endswith(framed[0])
    assert told == [["activation"], ["activation", "memory"], ["activation"]]


def test_a_view_that_nobody_looked_at_for_a_while_begins_with_a_new_picture():
    hub = made()
    watcher = joined(hub, FRAMES)
    hub.show(picture(1), "activation")
    hub.leave(watcher)
    late = joined(hub, FRAMES)
    assert frames.binary_frame(picture(1)) not in drain(hub, late)
    assert hub.still("activation").number == 0
