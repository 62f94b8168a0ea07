"""The feed's ring."""

from geoosd.compositor.core.ring import FeedRing
from geoosd.wire.messages import After, FeedRequest


def ring(*frames, count=4, size=100):
    made = FeedRing("e", max_count=count, max_bytes=size)
    for frame in frames:
        made.append(frame)
    return made


def test_reading_goes_on_where_it_stopped():
    it = ring(b"a", b"b", b"c")
    batch = it.read(0, 2)
    assert batch == (b"ab", 2, None)
    assert it.read(2, 2) == (b"c", 3, None)
    assert it.read(3, 2) == (b"", 3, None)
    assert it.next == 4


def test_a_frame_beyond_the_limit_is_sent_alone():
    it = ring(b"x" * 9, b"y")
    assert it.read(0, 4) == (b"x" * 9, 1, None)


def test_the_oldest_go_by_count_and_by_bytes():
    it = ring(b"1", b"2", b"3", b"4", b"5")
    assert (it.oldest, it.newest, it.dropped, len(it), it.bytes) == (2, 5, 1, 4, 4)
    it.append(b"x" * 98)
    assert (it.oldest, len(it), it.bytes) == (4, 3, 100)
    it.append(b"y" * 500)
    assert (len(it), it.bytes, it.dropped) == (1, 500, 6)


def test_a_reader_that_was_overrun_is_told():
    it = ring(*[b"z"] * 10)
    data, cursor, gap = it.read(2, 100)
    assert (data, cursor) == (b"zzzz", 10)
    assert (gap.from_seq, gap.to_seq, gap.dropped) == (3, 6, 4)


def test_where_requests_begin():
    it = ring(*[b"z"] * 10)

    def start(wanted):
        return it.start(FeedRequest(wanted))

    assert start("oldest") == (6, None)
    assert start("newest") == (10, None)
    assert start(After("other", 8)) == (6, None)
    assert start(After("e", 8)) == (8, None)
    assert start(After("e", 6)) == (6, None)
    assert start(After("e", 99)) == (10, None)
    late = start(After("e", 3))
    assert late.cursor == 6
    assert (late.gap.from_seq, late.gap.to_seq, late.gap.dropped) == (4, 6, 3)
    assert start(After("e", -5)).gap.from_seq == 1
