"""Layouts: what is one, what is none, and how one comes in parts."""

import struct

import pytest

from geoosd.compositor.core.layouts import MAX_TOKENS, Layout, Parts


def packed(*places):
    return struct.pack(f"<{len(places)}i", *places)


def test_a_layout_says_where_each_id_lies():
    layout = Layout(packed(2, 0, 1))
    assert (len(layout), list(layout.places)) == (3, [2, 0, 1])
    assert layout.data == packed(2, 0, 1)


def test_the_version_is_the_content_on_every_host():
    assert Layout(packed(0)).version == Layout(packed(0)).version
    assert Layout(packed(0, 1)).version == 253089671201655  # b2sum -l 48, little-endian, plus one
    assert Layout(packed(0, 1)).version != Layout(packed(1, 0)).version


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes are no"),
        (b"abc", "3 bytes are no"),
        (bytes(4 * MAX_TOKENS + 4), "bytes are no"),
        (packed(0, 0), "not 0 to 1, each once"),
        (packed(1, 2), "not 0 to 1, each once"),
        (packed(-1, 0), "not 0 to 1, each once"),
    ],
)
def test_what_is_no_layout(data, said):
    with pytest.raises(ValueError, match=said):
        Layout(data)


def test_parts_come_one_after_the_other():
    parts = Parts()
    assert parts.add("m", 3, 0, packed(2, 0)) is None
    assert parts.add("m", 3, 2, packed(1)) == packed(2, 0, 1)
    assert parts.add("m", 1, 0, packed(0)) == packed(0)


def test_a_new_layout_drops_one_that_was_coming():
    parts = Parts()
    parts.add("m", 3, 0, packed(2, 0))
    assert parts.add("other", 2, 0, packed(1)) is None
    with pytest.raises(ValueError, match="from token 2 does not follow"):
        parts.add("m", 3, 2, packed(1))
    with pytest.raises(ValueError, match="begin at 0"):
        parts.add("other", 2, 1, packed(0))


@pytest.mark.parametrize(
    ("tokens", "first", "part"),
    [(3, 1, packed(1)), (2, 2, packed(1)), (3, 2, b""), (3, 2, packed(1, 2))],
)
def test_parts_that_do_not_fit_are_refused(tokens, first, part):
    parts = Parts()
    parts.add("m", 3, 0, packed(2, 0))
    with pytest.raises(ValueError, match="from token"):
        parts.add("m", tokens, first, part)
