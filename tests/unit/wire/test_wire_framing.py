"""geoosd.wire.framing: lengths, limits, kinds."""

import pytest

from geoosd.errors import FrameTooLarge, MessageError
from geoosd.wire import framing


def test_the_length_is_little_endian_and_counts_the_payload():
    assert framing.encode_frame(b"abc") == b"\x03\0\0\0abc"
    assert framing.encode_feed_frame(framing.KIND_PICTURE, b"abc") == b"\x04\0\0\0\x01abc"


def test_frames_come_out_whole_and_in_order():
    decoder = framing.FrameDecoder()
    assert decoder.receive(b"\x03\0\0\0ab") == []
    assert decoder.pending == 6
    assert decoder.receive(b"c\0\0\0\0\x01") == [b"abc", b""]
    assert decoder.pending == 1
    assert decoder.receive(bytearray(b"\0\0\0z")) == [b"z"]
    assert decoder.pending == 0


def test_the_limit_itself_is_taken_and_one_more_is_not():
    decoder = framing.FrameDecoder(limit=3)
    assert decoder.receive(framing.encode_frame(b"abc")) == [b"abc"]
    with pytest.raises(FrameTooLarge) as refused:
        decoder.receive(b"\x04\0\0\0")
    assert (refused.value.size, refused.value.limit) == (4, 3)
    assert str(refused.value) == "cannot take a frame of 4 bytes: the limit is 3"


def test_a_feed_frame_is_split():
    assert framing.split_feed_frame(b"\0{}") == (framing.KIND_JSON, b"{}")
    assert framing.split_feed_frame(b"\x01") == (framing.KIND_PICTURE, b"")


@pytest.mark.parametrize(("frame", "named"), [(b"", "none"), (b"\x02x", "2"), (b"{}", "123")])
def test_an_unknown_kind_is_refused(frame, named):
    with pytest.raises(MessageError, match=f"its kind is {named}, not 0 or 1") as refused:
        framing.split_feed_frame(frame)
    assert refused.value.code == "malformed"
