"""Pictures with their header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.errors import MessageError
from geoosd.wire.pictures import HEADER_BYTES, Picture, decode_picture, encode_picture


def test_the_header_is_sixteen_bytes_little_endian():
    data = encode_picture(Picture(1280, 720, 5, b"jpeg"))
    assert data == bytes([1, 1, 0, 5, 0xD0, 2, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]) + b"jpeg"
    assert len(data) == HEADER_BYTES + len(b"jpeg")


@given(st.builds(
    Picture,
    st.integers(1, 65535),
    st.integers(1, 65535),
    st.integers(0, (1 << 64) - 1),
    st.binary(max_size=40).map(lambda rest: b"\xff\xd8" + rest),
    st.integers(0, 65535),
))  # fmt: skip
def test_round_trip(picture):
    assert decode_picture(encode_picture(picture)) == picture


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"\x01\x01" + rest))
def test_any_bytes_are_a_picture_or_refused(data):
    try:
        picture = decode_picture(data)
    except MessageError:
        return
    assert picture.width
    assert picture.height
    assert data.endswith(picture.data)


GOOD = encode_picture(Picture(64, 32, 7, b"\xff\xd8j"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:15],
        GOOD[:16],
        b"\x00" + GOOD[1:],
        b"\x01\x02" + GOOD[2:],
        GOOD.replace(b"\xff", b"x"),
        encode_picture(Picture(0, 32, 7, b"\xff\xd8j")),
        encode_picture(Picture(64, 0, 7, b"\xff\xd8j")),
    ],
)
def test_what_is_no_picture_is_refused(data):
    assert decode_picture(GOOD).seq == 7
    with pytest.raises(MessageError, match="cannot take a picture"):
        decode_picture(data)
