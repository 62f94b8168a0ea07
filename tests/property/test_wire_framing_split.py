"""Framing and Varlink splitting: however the bytes arrive, the same messages come out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from struct_strategies import outcome

from geoosd.errors import FrameTooLarge, MessageError
from geoosd.wire import framing, varlink

PAYLOADS = st.lists(st.binary(max_size=64), max_size=8)


@st.composite
def cuts(draw, size):
    inner = draw(st.lists(st.integers(0, size), max_size=12).map(sorted))
    return list(pairwise([0, *inner, size]))


@given(PAYLOADS, st.data())
def test_any_split_gives_the_same_frames(payloads, data):
    wire = b"".join(map(framing.encode_frame, payloads))
    decoder = framing.FrameDecoder(limit=64)
    frames = []
    for start, end in data.draw(cuts(len(wire))):
        frames += decoder.receive(wire[start:end])
        assert decoder.pending < 4 + 64
    assert frames == payloads
    assert decoder.pending == 0


@given(st.binary(max_size=300), st.integers(0, 40), st.data())
def test_arbitrary_bytes_stay_bounded(data, limit, draw):
    decoder = framing.FrameDecoder(limit)
    for start, end in draw.draw(cuts(len(data))):
        frames = outcome(FrameTooLarge, decoder.receive, data[start:end])
        if isinstance(frames, FrameTooLarge):
            assert frames.size > frames.limit == limit
            break
        assert all(len(frame) <= limit for frame in frames)
        assert decoder.pending < 4 + limit


@given(st.sampled_from([framing.KIND_JSON, framing.KIND_PICTURE]), st.binary(max_size=50))
def test_a_feed_frame_survives(kind, payload):
    (frame,) = framing.FrameDecoder().receive(framing.encode_feed_frame(kind, payload))
    assert framing.split_feed_frame(frame) == (kind, payload)


@given(st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"")), max_size=8))
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_any_split_gives_the_same_varlink_messages(step, parts):
    wire = b"".join(part + b"\0" for part in parts)
    splitter = varlink.Splitter(limit=40)
    messages = []
    for start in range(0, len(wire), step):
        messages += splitter.receive(wire[start : start + step])
    assert messages == parts


@given(st.binary(max_size=200), st.integers(1, 20), st.integers(0, 30))
def test_an_overlong_varlink_message_is_refused_whatever_the_split(data, step, limit):
    splitter = varlink.Splitter(limit)
    too_long = any(len(part) > limit for part in data.split(b"\0"))
    said = [
        outcome(FrameTooLarge, splitter.receive, data[start : start + step])
        for start in range(0, len(data), step)
    ]
    refusals = [each for each in said if isinstance(each, FrameTooLarge)]
    assert bool(refusals) is too_long
    assert all(refusal.size > refusal.limit == limit for refusal in refusals)


@given(st.binary(max_size=80) | st.just(b'{"method": 1}') | st.just(b"[" * 100_000))
def test_calls_and_replies_are_taken_or_refused(data):
    for decode in (varlink.decode_call, varlink.decode_reply):
        message = outcome(MessageError, decode, data)
        if isinstance(message, MessageError):
            assert message.code == "malformed"
        else:
            assert decode(varlink.encode(message)[:-1]) == message
    splitter = varlink.Splitter()
    splitter.receive(data.replace(b"\0", b"") + b"\n")
    assert splitter.unterminated_call() in (True, False)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3))
def test_a_call_survives_the_wire(parameters):
    call = varlink.Call("io.geoos.Control.GetStatus", parameters, more=True)
    (raw,) = varlink.Splitter().receive(varlink.encode(call))
    assert varlink.decode_call(raw) == call
