"""geoosd.bridge.core.form: boundaries, odd parts, and bounds. Cuts are in tests/property."""

import pytest

from geoosd.bridge.core.form import MAX_HEAD, MAX_PARTS, FieldSearch, boundary_of
from geoosd.bridge.core.members import MAX_VALUE

PART = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'


def search(*pieces):
    found = FieldSearch(b"x", ["model", "n"])
    for piece in pieces:
        found.feed(piece)
    return found


def values(found):
    return {name: member.raw for name, member in found.found.items()}


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data;charset=utf-8; boundary="a b;c"', b"a b;c"),
        (b"multipart/form-data;boundary=abc; charset=utf-8", b"abc"),
        (b"multipart/form-data", None),
        (b"multipart/form-data; boundary=", None),
        (b"multipart/mixed; boundary=abc", None),
        (b"application/json", None),
        (b"multipart/form-data; boundary=" + b"a" * 71, None),
    ],
)
def test_boundary(content_type, boundary):
    assert boundary_of(content_type) == boundary


def test_fields_among_files():
    body = (
        b"a preamble\r\n"
        + PART % (b"file", b'; filename="a.wav"', b"\r\n--\r\n--y")
        + b"".join(
            PART % part
            for part in [(b"model", b"", b"whisper"), (b"n", b"", b""), (b"x", b"", b"1")]
        )
    )
    found = search(body + b"--x--\r\nmodel")
    assert found.over
    assert values(found) == {"model": b"whisper", "n": b""}
    start, raw = found.found["model"]
    assert body[start : start + len(raw)] == raw


@pytest.mark.parametrize(
    "part",
    [
        PART % (b"model", b'; filename="model"', b"m"),
        PART % (b"Model", b"", b"m"),
        PART % (b"model", b"", b"m" * (MAX_VALUE + 1)),
        b"--x\r\nContent-Type: text/plain\r\n\r\nm\r\n",
        b"--x\r\n\r\nm\r\n",
        b'{"model":"m"}',
    ],
)
def test_what_is_no_field_of_that_name(part):
    assert values(search(part, b"--x--")) == {}
    assert values(search(*(part[at : at + 100] for at in range(0, len(part), 100)))) == {}


def test_names_without_quotes_and_other_fields_of_a_part():
    head = b"--x\r\nX: 1\r\ncontent-disposition: form-data; name=model \r\nContent-Type: text/plain"
    assert values(search(head + b"\r\n\r\nm\r\n--x--")) == {"model": b"m"}


def test_a_head_without_end_and_parts_without_end_are_given_up():
    assert not search(b"--x" + b"h" * (MAX_HEAD - 8)).over
    assert search(b"--x" + b"h" * (MAX_HEAD + 1)).over
    assert not search(PART % (b"x", b"", b"") * MAX_PARTS).over
    assert search(PART % (b"x", b"", b"") * (MAX_PARTS + 1) + PART % (b"model", b"", b"m")).over


def test_of_a_long_file_only_what_may_be_a_delimiter_is_held():
    found = search(b"--x\r\n\r\n")
    for _ in range(100):
        found.feed(b"\r\n--" + b"y" * 10_000 + b"\r\n--")
        assert len(found._held) < len(b"\r\n--x")
    found.feed(b"x\r\n" + (PART % (b"model", b"", b"m"))[5:])
    found.feed(b"--x--")
    assert values(found) == {"model": b"m"}


def test_a_value_may_be_as_long_as_the_bound():
    part = PART % (b"model", b"", b"m" * MAX_VALUE)
    assert values(search(part, b"--x--")) == {"model": b"m" * MAX_VALUE}
    pieces = (part[at : at + 100] for at in range(0, len(part), 100))
    assert values(search(*pieces, b"--x--")) == {"model": b"m" * MAX_VALUE}


def test_a_value_that_never_ends_is_let_go_of_and_its_end_is_no_value():
    found = search(b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n')
    for _ in range(5 * MAX_VALUE // 1000):
        found.feed(b"m" * 1000)
        assert len(found._held) < MAX_VALUE + 1000
    found.feed(b"m\r\n--x--")
    assert found.over
    assert values(found) == {}
