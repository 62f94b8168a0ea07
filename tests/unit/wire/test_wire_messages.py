"""geoosd.wire.messages: defaults, timestamps, and what is refused with which field and code."""

import json

import pytest

from geoosd.errors import MessageError
from geoosd.wire import messages

TOKEN = {"current_token": "a", "sequence_position": 0}


def wire(message_type, payload, **envelope):
    return json.dumps({"message_type": message_type, "payload": payload, **envelope}).encode()


def token(**fields):
    return wire("TokenVisualizationUpdate", {**TOKEN, **fields})


def test_missing_optional_fields_are_null():
    message = messages.decode(token(), received_at=12.5)
    assert message.payload == messages.TokenVisualizationUpdate("a", 0)
    assert message.payload.activation is None
    assert message.timestamp == 12.5
    assert (message.seq, message.n) == (None, None)


def test_what_goes_out_says_null_and_leaves_out_numbers_it_has_not():
    said = json.loads(messages.encode(messages.TokenVisualizationUpdate("a", 0), 2.0))
    assert sorted(said) == ["message_type", "payload", "timestamp"]
    assert said["payload"]["activation"] is None
    said = json.loads(messages.encode(messages.Ack(4), 2.0, seq=9, n=3))
    assert said == {
        "message_type": "Ack",
        "timestamp": 2.0,
        "payload": {"through": 4},
        "seq": 9,
        "n": 3,
    }


@pytest.mark.parametrize(
    ("stamped", "seconds"),
    [
        (1_700_000_000, 1_700_000_000.0),
        (1_700_000_000_123, 1_700_000_000.123),
        (1e11, 1e8),
        (99_999_999_999.0, 99_999_999_999.0),
        (0, 0.0),
        (None, 5.0),
    ],
)
def test_timestamps_in_milliseconds_become_seconds(stamped, seconds):
    data = wire("TokenVisualizationUpdate", TOKEN, timestamp=stamped)
    assert messages.decode(data, received_at=5.0).timestamp == seconds


def test_the_predecessors_neural_state_is_taken():
    data = wire(
        "NeuralStateUpdate",
        {"strength": 0.5, "data": {"layer_activations": [0.1], "attention_weights": [[0.2, 0.8]]}},
        timestamp=1_700_000_000_000,
    )
    payload = messages.decode(data, 0.0).payload
    assert payload.daemon_id == "lm_studio_daemon"
    assert payload.data.attention_weights == [[0.2, 0.8]]
    assert payload.data.memory_patterns is None


def test_packed_attention_is_told_from_plain():
    packed = {"layers": 1, "heads": 2, "positions": 3, "first": 1, "rest": 2, "u8": "AAAA"}
    data = wire("NeuralStateUpdate", {"data": {"attention_weights": packed}})
    attention = messages.decode(data, 0.0).payload.data.attention_weights
    assert attention == messages.PackedAttention(1, 2, 3, 1, 2, "AAAA")


@pytest.mark.parametrize("said", ["oldest", "newest", {"epoch": "e", "after": 7}])
def test_a_feed_request_names_a_place(said):
    payload = messages.decode(wire("FeedRequest", {"from": said}), 0.0).payload
    assert payload.from_ == (said if isinstance(said, str) else messages.After("e", 7))


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        (b"", "malformed", None),
        (b"{", "malformed", None),
        (b"\xff\xfe", "malformed", None),
        (b'{"message_type": "Ack", "payload": {"through": NaN}}', "malformed", None),
        (b'{"novel": ' + b"[" * 100_000, "malformed", None),
        (token(current_token="?").replace(b"?", b"\xc3"), "malformed", None),
        (b"[]", "invalid", None),
        (b"7", "invalid", None),
        (b"{}", "unknown_type", "message_type"),
        (wire("Nonsense", {}), "unknown_type", "message_type"),
        (wire(7, {}), "unknown_type", "message_type"),
        (b'{"message_type": "Ack"}', "invalid", "payload"),
        (wire("Ack", None), "invalid", "payload"),
        (wire("Ack", {}), "invalid", "payload.through"),
        (wire("Ack", {"through": "1"}), "invalid", "payload.through"),
        (wire("Ack", {"through": 1}, n=-1), "invalid", "n"),
        (wire("Ack", {"through": 1}, timestamp=-1), "invalid", "timestamp"),
        (wire("Ack", {"through": 1}, timestamp="now"), "invalid", "timestamp"),
        (token(token_id=-1), "invalid", "payload.token_id"),
        (token(token_id=1.5), "invalid", "payload.token_id"),
        (token(activation=1.01), "invalid", "payload.activation"),
        (token(entropy=-0.1), "invalid", "payload.entropy"),
        (token(role="author"), "invalid", "payload.role"),
        (token(model="m" * 257), "invalid", "payload.model"),
        (token(alternatives=[["a", 2.0]]), "invalid", "payload.alternatives[0][1]"),
        (token(alternatives=[["a", 0.1]] * 21), "invalid", "payload.alternatives"),
        (token(provenance={"activation": "guessed"}), "invalid", "payload.provenance[...]"),
        (token(hilbert_position=[0.5]), "invalid", "payload.hilbert_position"),
        (token(current_token="x" * 4097), "invalid", "payload.current_token"),
        (token(current_token="\N{SNOWMAN}" * 1366), "invalid", "payload.current_token"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(data, code, field):
    with pytest.raises(MessageError) as refused:
        messages.decode(data, 0.0)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert str(refused.value).startswith("cannot ")


def test_numbers_that_are_not_finite_are_refused():
    data = b'{"message_type": "NeuralStateUpdate", "payload": {"strength": 1e999}}'
    with pytest.raises(MessageError):
        messages.decode(data, 0.0)


@pytest.mark.parametrize("text", ["x" * 4096, "\N{SNOWMAN}" * 1365, "y" * 1025])
def test_a_token_text_up_to_the_limit_is_taken(text):
    assert messages.decode(token(current_token=text), 0.0).payload.current_token == text


def test_every_type_has_a_name_of_its_own_and_known_treatment():
    names = [kind.__name__ for kind in messages.PAYLOAD_TYPES]
    assert len(set(names)) == len(names) == 17
    assert set(messages.COUNTED) | set(messages.DROPPABLE) <= set(messages.PAYLOAD_TYPES)
    assert set(messages.CHANNEL_OF) <= set(messages.PAYLOAD_TYPES)
    assert messages.ThemeChanged not in messages.CHANNEL_OF
