"""Messages: every value survives the wire; nothing that comes in raises anything else."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from struct_strategies import JSON, outcome, values_of

from geoosd.errors import MessageError
from geoosd.wire import messages

TIMESTAMPS = st.floats(0, 9e10, allow_nan=False)
ANY_PAYLOAD = st.one_of([values_of(kind) for kind in messages.PAYLOAD_TYPES])
NUMBERS = st.none() | st.integers(0, 2**53)


@pytest.mark.parametrize("kind", messages.PAYLOAD_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_payload_survives_the_wire(kind, data):
    payload = data.draw(values_of(kind))
    timestamp, seq, n = data.draw(TIMESTAMPS), data.draw(NUMBERS), data.draw(NUMBERS)
    wire = messages.encode(payload, timestamp, seq=seq, n=n)
    assert messages.decode(wire, received_at=-1.0) == messages.Message(payload, timestamp, seq, n)


@given(ANY_PAYLOAD)
def test_unknown_fields_are_dropped(payload):
    plain = json.loads(messages.encode(payload, 1.0))
    more = {**plain, "novel": 1, "payload": {**plain["payload"], "later": {"version": [2]}}}
    assert messages.decode(json.dumps(more).encode(), 0.0).payload == payload


def taken_or_refused(data):
    """What decode makes of *data*; a refusal must name its field and read as a sentence."""
    said = outcome(MessageError, messages.decode, data, 7.0)
    if isinstance(said, MessageError):
        assert said.code in ("malformed", "unknown_type", "invalid")
        assert str(said).startswith("cannot ")
        assert said.code != "unknown_type" or said.field == "message_type"
    else:
        assert type(said.payload) in messages.PAYLOAD_TYPES
        assert math.isfinite(said.timestamp)
        assert said.timestamp >= 0


@given(st.binary(max_size=200))
def test_bytes_are_taken_or_refused(data):
    taken_or_refused(data)


@given(JSON)
def test_json_is_taken_or_refused(value):
    taken_or_refused(msgspec.json.encode(value))


@given(ANY_PAYLOAD, st.sampled_from(["timestamp", "seq", "n", "payload", "message_type"]), JSON)
def test_a_mutated_envelope_is_taken_or_refused(payload, where, value):
    plain = json.loads(messages.encode(payload, 1.0))
    taken_or_refused(msgspec.json.encode({**plain, where: value}))


@given(ANY_PAYLOAD, st.data(), JSON)
def test_a_mutated_payload_is_taken_or_refused(payload, data, value):
    plain = json.loads(messages.encode(payload, 1.0))
    field = data.draw(st.sampled_from([*sorted(plain["payload"]), "other"]))
    plain["payload"][field] = value
    taken_or_refused(msgspec.json.encode(plain))


@given(values_of(messages.TokenVisualizationUpdate), st.data())
def test_a_cut_message_is_refused(payload, data):
    wire = messages.encode(payload, 1.0)
    cut = wire[: data.draw(st.integers(0, len(wire) - 1))]
    with pytest.raises(MessageError) as refused:
        messages.decode(cut, 0.0)
    assert refused.value.code == "malformed"
