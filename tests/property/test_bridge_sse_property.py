"""Any cut of any bytes gives the events that a slow, obviously correct reader gives."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.sse import Event, SSEParser
from geoosd.errors import SSETooLarge


def reference(stream: bytes) -> list[tuple[str, str, str]]:
    """The standard's algorithm, word for word, on the decoded whole."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")[:-1]
    events = []
    data = event_type = ""
    id_buffer = ""
    for line in lines:
        if line == "":
            last_id = id_buffer
            if data == "":
                event_type = ""
                continue
            events.append((event_type or "message", data.removesuffix("\n"), last_id))
            data = event_type = ""
        elif line.startswith(":"):
            continue
        else:
            field, colon, value = line.partition(":")
            if colon and value.startswith(" "):
                value = value[1:]
            if field == "event":
                event_type = value
            elif field == "data":
                data += value + "\n"
            elif field == "id" and "\0" not in value:
                id_buffer = value
    return events


def read(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(kind, data.decode("utf-8", "replace"), last_id) for data, kind, last_id in events]


def parsed(pieces) -> list[Event]:
    """What a parser makes of *pieces*, each offered as a whole event first, as the tap does."""
    parser = SSEParser()
    events: list[Event] = []
    for piece in pieces:
        if (data := parser.whole(piece)) is not None:
            events.append((data, "message", parser.last_id))
        else:
            events += parser.receive(piece)
    return events


line = st.one_of(
    st.sampled_from(
        [
            b"",
            b"data",
            b"data:",
            b"data: ",
            b"data: x",
            b"data:  y",
            b"event: e",
            b"event",
            b"id: 1",
            b"id",
            b"id: a\0b",
            b": c",
            b":",
            b"retry: 5",
            b"data: \xf0\x9f\x98\x80",
            b"data: \xf0\x9f",
            b"\xef\xbb\xbfdata: bom",
            b"\xef\xbb",
        ]
    ),
    st.binary(max_size=6),
)
streams = st.lists(st.tuples(line, st.sampled_from([b"\n", b"\r", b"\r\n", b""])), max_size=24).map(
    lambda parts: b"".join(text + end for text, end in parts)
)


block = st.builds(
    lambda kind, data, end: kind + b"data: " + data + end,
    st.sampled_from([b"", b"event: e\n", b"event: \xc3\xa9\n", b"event: \n", b"event: data: \n"]),
    st.sampled_from([b"", b"x", b'{"a": "data: b"}', b"\xf0\x9f\x98\x80", b"a\rb", b" y"]),
    st.sampled_from([b"\n\n"] * 6 + [b"\n", b"\r\n\r\n", b"\n\r\n", b"\n\n\n", b""]),
)
"""What streams are made of almost always: the parser reads them by a faster path."""


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_is_the_reference(stream, places):
    parser = SSEParser()
    events = [event for piece in cut(stream, places) for event in parser.receive(piece)]
    assert read(events) == reference(stream)
    assert read(parsed(cut(stream, places))) == reference(stream)


@given(st.lists(st.one_of(block, streams), max_size=12), st.lists(st.booleans(), max_size=12))
def test_whole_events_alone_and_together_are_the_reference(blocks, apart):
    pieces = [b""]
    for index, each in enumerate(blocks):
        if index < len(apart) and apart[index]:
            pieces.append(each)
        else:
            pieces[-1] += each
    parser = SSEParser()
    events = [event for piece in pieces for event in parser.receive(piece)]
    expected = reference(b"".join(blocks))
    assert read(events) == expected
    assert read(parsed(pieces)) == expected


@given(streams)
def test_byte_by_byte_is_the_reference(stream):
    parser = SSEParser()
    events = [event for byte in stream for event in parser.receive(bytes([byte]))]
    assert read(events) == reference(stream)


@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_bounds_do_not_depend_on_the_cut(stream, places):
    def outcome(pieces):
        parser = SSEParser(max_line=8, max_event=6)
        events = []
        try:
            for piece in [*pieces, b""]:
                events += parser.receive(piece)
        except SSETooLarge:
            return events, True
        return events, False

    assert outcome(cut(stream, places)) == outcome([stream])
