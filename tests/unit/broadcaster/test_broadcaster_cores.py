"""Frames, ring, subscription and access of the broadcaster."""

import pytest

from geoosd.broadcaster.core import frames
from geoosd.broadcaster.core.ring import Entry, Ring
from geoosd.broadcaster.core.subscription import (
    _MAX_MODELS,
    _MAX_NAME,
    DEFAULT_CHANNELS,
    Filter,
    Subscription,
    parse_message,
    parse_query,
)
from geoosd.errors import MessageError
from geoosd.wire.messages import After, Subscribe


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_has_the_shortest_length(size, header):
    assert frames.text_frame(b"a" * size) == header + b"a" * size


def test_binary_and_close_frames():
    assert frames.binary_frame(b"a") == b"\x82\x01a"
    assert frames.close_frame(1001, "gone") == b"\x88\x06\x03\xe9gone"
    cut = frames.close_frame(4000, "é" * 100)
    assert len(cut) <= 127
    assert cut[4:].decode() == "é" * 61
    assert frames.is_close(cut)
    assert not frames.is_close(b"\x81\x00")
    assert not frames.is_close(b"")


def filled(ring, *seqs, control=()):
    for seq in seqs:
        ring.append(Entry(seq, b"%03d" % seq, control=seq in control))
    return ring


def test_a_ring_forgets_the_oldest_by_count_and_by_bytes():
    ring = filled(Ring(max_frames=3), 1, 2, 5, 9)
    assert [entry.seq for entry in ring.entries()] == [2, 5, 9]
    assert (ring.first, ring.end, ring.lost_through, ring.through) == (1, 4, 1, 9)
    small = filled(Ring(max_bytes=6), 1, 2, 3)
    assert (len(small), small.size) == (2, 6)
    alone = filled(Ring(max_bytes=1), 1)
    assert len(alone) == 1
    assert [entry.seq for entry in filled(alone, 2).entries()] == [2]


def test_a_ring_finds_places_by_number():
    ring = filled(Ring(max_frames=3), 1, 2, 5, 9)
    assert [ring.position_after(seq) for seq in (0, 1, 2, 4, 5, 9, 99)] == [None, 1, 2, 2, 3, 4, 4]
    assert [ring.through_before(position) for position in (1, 2, 4)] == [1, 2, 9]
    with pytest.raises(ValueError, match="seq 3 after 9"):
        filled(ring, 3)


def test_a_ring_knows_below_what_nothing_waits():
    ring = filled(Ring(max_frames=3), 1, 2, 5, 9)
    assert [ring.below(position, 12) for position in range(5)] == [0, 1, 4, 8, 12]
    assert Ring().below(0, 7) == 7


def test_a_batch_ends_at_a_frame():
    ring = filled(Ring(), 1, 2, 5)
    batch = ring.batch(0, 3, 4)
    assert (batch.data, batch.ends, batch.through, batch.stop) == (b"001002", [3, 6], [1, 2], 2)
    assert ring.batch(2, 3, 1000).data == b"005"
    assert ring.batch(1, 2, 1000).after == 1
    for seq in range(6, 40):
        late = filled(Ring(max_frames=4), *range(1, seq))
        batch = late.batch(late.first + 1, late.end, 1000)
        assert (batch.data, batch.after) == (b"%03d%03d%03d" % (seq - 3, seq - 2, seq - 1), seq - 4)
    assert [batch.split(sent) for sent in (0, 1, 3, 4, 6)] == [
        (0, 0),
        (1, 3),
        (1, 3),
        (2, 6),
        (2, 6),
    ]


def test_controls_outlive_the_rest_but_not_for_ever():
    ring = filled(Ring(max_frames=2, max_controls=2), 1, 2, 3, 4, 5, control=(1, 3))
    assert ring.controls(0, 5) == [b"001", b"003"]
    assert ring.controls(1, 2) == []
    filled(ring, 6, control=(6,))
    assert ring.controls(0, 6) is None
    assert ring.controls(1, 6) == [b"003", b"006"]


def test_a_query_is_read():
    assert parse_query("", 16) == (Subscription(Filter(DEFAULT_CHANNELS, None), 16), None)
    request = parse_query("epoch=a&after=7&tick=0&channels=tokens,&models=m1,m2&models=m3&x=1", 16)
    assert request.resume == After("a", 7)
    assert request.subscription.tick == 0
    models = frozenset({"m1", "m2", "m3"})
    assert request.subscription.filter == Filter(frozenset({"tokens"}), models)
    assert request.subscription.filter.pictures is None
    looked = parse_query("channels=frames&view=memory", 16).subscription
    assert looked.filter.pictures == "memory"
    changed = looked.changed_by(Subscribe(view="layers"))
    assert changed.filter.pictures == "layers"
    assert changed.changed_by(Subscribe(tick=0)).filter.pictures == "layers"
    with pytest.raises(MessageError, match=r"cannot take payload\.view: 'inside' is none of act"):
        looked.changed_by(Subscribe(view="inside"))
    assert parse_query("epoch=a", 16).resume is None
    assert parse_query(f"epoch=a&after={10**18 - 1}", 16).resume == After("a", 10**18 - 1)
    many = ",".join(f"{n:03}{'m' * (_MAX_NAME - 3)}" for n in range(_MAX_MODELS))
    assert len(parse_query(f"models={many}", 16).subscription.filter.models) == _MAX_MODELS


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tick=5", "tick"),
        ("tick=", "tick"),
        ("view=inside", "view"),
        ("channels=tokens,all", "channels"),
        ("epoch=a&after=-1", "after"),
        ("epoch=a&after=" + "9" * 19, "after"),
        ("models=" + ",".join(f"m{i}" for i in range(33)), "models"),
        ("models=" + "m" * 257, "models"),
        ("&".join(f"a{i}=1" for i in range(20)), "query"),
    ],
)
def test_a_bad_query_is_named(query, field):
    with pytest.raises(MessageError) as caught:
        parse_query(query, 16)
    assert caught.value.field == field


def test_subscribe_changes_what_it_names():
    before = Subscription(Filter(frozenset({"tokens"}), frozenset({"m"})), 16)
    assert before.changed_by(Subscribe()) == before
    after = before.changed_by(Subscribe(["canary"], [], 0))
    assert after == Subscription(Filter(frozenset({"canary"}), None), 0)


def test_a_viewer_may_only_subscribe():
    good = b'{"message_type":"Subscribe","payload":{"tick":0}}'.decode()
    assert parse_message(good, 1.0) == Subscribe(tick=0)
    for bad, code in (
        (b"\0", "malformed"),
        ("{", "malformed"),
        ('{"message_type":"SnapshotRequest","payload":{}}', "unknown_type"),
    ):
        with pytest.raises(MessageError) as caught:
            parse_message(bad, 1.0)
        assert caught.value.code == code


def test_a_filter():
    one = Filter(frozenset({"tokens"}), frozenset({"m"}))
    assert one.takes(None, None)
    assert one.takes("tokens", None)
    assert one.takes("tokens", "m")
    assert not one.takes("tokens", "other")
    assert not one.takes("state", "m")
    assert Filter(frozenset({"tokens"})).takes("tokens", "other")
