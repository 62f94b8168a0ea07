"""geoosd.bridge.core.sse against the WHATWG standard's own rules and examples."""

import pytest

from geoosd.bridge.core.sse import Event, SSEParser
from geoosd.errors import SSETooLarge


def parse(*pieces: bytes) -> list[Event]:
    parser = SSEParser()
    return [event for piece in pieces for event in parser.receive(piece)]


def texts(*pieces: bytes) -> list[str]:
    return [text for _, text in typed(*pieces)]


def typed(*pieces: bytes) -> list[tuple[str, str]]:
    return [(kind, data.decode("utf-8", "replace")) for data, kind, _ in parse(*pieces)]


def test_examples_of_the_standard():
    assert texts(b"data: YHOO\ndata: +2\ndata: 10\n\n") == ["YHOO\n+2\n10"]
    stream = (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"
    )
    assert parse(stream) == [(b"first event", "message", "1"), (b"second event", "message", "")]
    assert texts(b"data\n\ndata\ndata\n\ndata:") == ["", "\n"]
    assert texts(b"data:test\n\ndata: test\n\n") == ["test", "test"]


def test_event_types():
    assert typed(b"event: add\ndata: 1\n\ndata: 2\n\nevent: gone\n\ndata: 3\n\n") == [
        ("add", "1"),
        ("message", "2"),
        ("message", "3"),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_ends_cut_anywhere(end: bytes):
    stream = end.join([b"data: a", b"data: b", b"", b": c", b"data: d", b"", b""])
    for cut in range(len(stream) + 1):
        assert texts(stream[:cut], stream[cut:]) == ["a\nb", "d"]
    assert texts(*(bytes([byte]) for byte in stream)) == ["a\nb", "d"]


def test_byte_order_mark_only_at_the_start():
    bom = b"\xef\xbb\xbf"
    assert texts(bom + b"data: a\n\n" + bom + b"data: b\n\n") == ["a"]
    assert texts(b"\xef", b"\xbb", b"", b"\xbfdata: a\n\n") == ["a"]
    assert texts(b"\xef\xbb", b"data: a\n\n") == []
    assert texts(b"data: a\n\n", bom + b"data: b\n\n", b"event: x\ndata: c\n\n") == ["a", "c"]
    assert texts(b"event: x\ndata: a\n\n", bom + b"data: b\n\n") == ["a"]
    assert texts(bom + b"event: x\ndata: a\n\n", b"data: b\n\n") == ["a", "b"]
    assert texts(b"", b"data: a\n\n") == ["a"]


def test_ids():
    events = parse(
        b"id: 1\n", b"data: a\n\n", b"id: x\0y\ndata: b\n\n", b"id: \xc3\xa9\n\ndata: c\n\n"
    )
    assert [last_id for _, _, last_id in events] == ["1", "1", "é"]


def test_retry_needs_digits():
    parser = SSEParser()
    parser.receive(b"retry: 12a\nretry: -1\nretry:\nretry: 9999999999999999999\n\n")
    assert parser.retry is None
    parser.receive(b"retry: 2500\nunknown: x\n")
    assert parser.retry == 2500


def test_nothing_at_the_end_without_a_blank_line():
    assert texts(b"data: a\n") == []
    assert texts(b"data: a") == []


def test_ill_formed_utf8_is_replaced():
    piece = b"data: \xff\xf0\x9f\n\n"
    assert parse(piece) == [(b"\xff\xf0\x9f", "message", "")]
    assert texts(piece) == ["��"]


def test_a_character_cut_in_two():
    assert texts(b"data: \xf0\x9f", b"\x98\x80\n\n") == ["😀"]


def test_line_too_long():
    parser = SSEParser(max_line=10)
    with pytest.raises(SSETooLarge, match="line is longer than 10"):
        parser.receive(b"x" * 11)
    with pytest.raises(SSETooLarge):
        parser.receive(b"data: a\n\n")


def test_a_line_too_long_after_events_ends_the_stream_too():
    parser = SSEParser(max_line=10)
    assert [data for data, _, _ in parser.receive(b"data: a\n\n")] == [b"a"]
    with pytest.raises(SSETooLarge):
        parser.receive(b"x" * 11)
    with pytest.raises(SSETooLarge):
        parser.receive(b"data: b\n\n")


def test_events_before_a_line_too_long_come_first():
    parser = SSEParser(max_line=10)
    assert [data for data, _, _ in parser.receive(b"data: a\n\ndata: 12345\n\n")] == [b"a"]
    with pytest.raises(SSETooLarge):
        parser.receive(b"")


def test_event_too_large():
    parser = SSEParser(max_line=20, max_event=9)
    assert [data for data, _, _ in parser.receive(b"data: 1234\ndata: 5678\n\n")] == [b"1234\n5678"]
    with pytest.raises(SSETooLarge, match="event is larger than 9"):
        parser.receive(b"data: 1234\ndata: 56789\n\n")


def test_a_piece_that_is_one_whole_event():
    parser = SSEParser(max_line=20)
    assert parser.whole(b"data: a\n\n") == b"a"
    long = b"data: " + b"x" * 15 + b"\n\n"
    for other in (b"data:b\n\n", b"data: b\n", b"data: b\nx\n\n", b"data: b\rx\n\n", long):
        assert parser.whole(other) is None
    parser.receive(b"da")
    assert parser.whole(b"data: b\n\n") is None, "something is held back"
    assert parser.receive(b"ta: c\n\n") == [(b"c", "message", "")]


def test_more_event_types_than_are_remembered():
    stream = [b"event: t%d\ndata: %d\n\n" % (number % 100, number) for number in range(300)]
    expected = [(f"t{number % 100}", str(number)) for number in range(300)]
    for pieces in (stream, [b"".join(stream)]):
        assert typed(*pieces) == expected


def test_an_event_field_that_is_not_alone_before_the_data():
    assert typed(b"event: a\nevent: b\ndata: 1\n\n" * 2) == [
        ("b", "1"),
        ("b", "1"),
    ]
    assert typed(b"event: \ndata: 1\n\n" * 2) == [
        ("message", "1"),
        ("message", "1"),
    ]
    assert typed(b"event: data: x\ndata: 1\n\n" * 2) == [
        ("data: x", "1"),
        ("data: x", "1"),
    ]


def test_only_an_event_field_names_the_type():
    for line in (b": what is this", b"id: 12345678", b"retry: 1000", b"unknown: words"):
        assert typed(line + b"\ndata: 1\n\n") == [("message", "1")]


def test_what_began_in_an_earlier_piece_belongs_to_the_event():
    assert typed(b"event: x\n", b"data: 1\n\ndata: 2\n\n") == [("x", "1"), ("message", "2")]
    assert typed(b"data: 1\n", b"data: 2\n\ndata: 3\n\n") == [("message", "1\n2"), ("message", "3")]
    assert [last for _, _, last in parse(b"id: 7\n", b"data: 1\n\ndata: 2\n\n")] == ["7", "7"]


def test_a_line_may_be_as_long_as_the_bound():
    for pieces in ([b"data: 1234\n\n"], [b"data: 1234", b"\n\n"], [b"da", b"ta: 1234\n", b"\n"]):
        parser = SSEParser(max_line=10)
        events = [event for piece in pieces * 3 for event in parser.receive(piece)]
        assert events == [(b"1234", "message", "")] * 3
    for pieces in ([b"data: 12345\n\n"], [b"data: 12345"], [b"data: 1234", b"5"]):
        parser = SSEParser(max_line=10)
        with pytest.raises(SSETooLarge):
            [parser.receive(piece) for piece in pieces]


def test_an_event_may_be_as_large_as_the_bound_and_so_may_the_next():
    parser = SSEParser(max_line=20, max_event=9)
    piece = b"data: 1234\ndata: 5678\n\n"
    assert [event for _ in range(5) for event in parser.receive(piece)] == [
        (b"1234\n5678", "message", "")
    ] * 5


def test_the_bounds_unless_told_otherwise():
    parser = SSEParser()
    line = b"data:" + b"x" * ((1 << 20) - 5)
    parser.receive(line + b"\n")
    with pytest.raises(SSETooLarge, match="line is longer than 1048576"):
        parser.receive(line + b"x")
    parser = SSEParser()
    for _ in range(4):
        parser.receive(line + b"\n")
    parser.receive(b"data:" + b"x" * (4 * 5 - 4))  # and four line ends
    assert len(parser.receive(b"\n\n")[0][0]) == 4 << 20


def test_whole_after_anything_else_and_at_the_bound():
    parser = SSEParser(max_line=20)
    assert parser.whole(b"data: " + b"x" * 12 + b"\n\n") == b"x" * 12
    parser.receive(b"event: x\ndata: a\ndata: b\r\n\r\n: c\n")
    parser.receive(b"\n")
    assert parser.whole(b"data: c\n\n") == b"c"
    bom = b"\xef\xbb\xbf"
    parser = SSEParser()
    assert parser.whole(b"data: a\n\n") == b"a"
    assert parser.receive(bom + b"data: b\n\n") == [], "a mark is one at the start alone"


def test_a_retry_of_eighteen_digits():
    parser = SSEParser()
    parser.receive(b"retry: 999999999999999999\n")
    assert parser.retry == 999999999999999999
