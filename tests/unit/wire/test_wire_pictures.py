"""Pictures with their header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.errors import MessageError
from geoosd.wire.pictures import Picture, decode_picture, encode_picture


def test_the_header_is_sixteen_bytes_little_endian():
    data = encode_picture(Picture(1280, 720, 5, b"jpeg"))
    assert data == bytes([1, 1, 0, 5, 0xD0, 2, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]) + b"jpeg"


@given(st.builds(
    Picture,
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, (1 << 64) - 1),
    st.binary(max_size=40),
))  # fmt: skip
def test_round_trip(picture):
    assert decode_picture(encode_picture(picture)) == picture


@given(st.binary(max_size=40))
def test_what_is_no_picture_is_refused(data):
    try:
        picture = decode_picture(data)
    except MessageError:
        pass
    else:
        assert data.endswith(picture.data)


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(16), bytes([1, 2]) + bytes(20)])
def test_bad_headers(data):
    with pytest.raises(MessageError):
        decode_picture(data)
