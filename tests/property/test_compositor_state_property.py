"""Fields and insides against plain models, for any input."""

import math
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.compositor.core import intake
from geoosd.compositor.core.field import Field
from geoosd.compositor.core.insides import Insides, check
from geoosd.errors import MessageError
from geoosd.wire.messages import NeuralData, NeuralStateUpdate, PackedAttention, encode

STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.floats(0, 1), st.floats(0, 1e5)), min_size=1, max_size=60
)


@given(STEPS, st.floats(0.1, 1e6))
def test_a_field_is_the_sum_of_what_was_added_and_faded(steps, decay):
    """However long the pauses are: rescaling changes nothing, and nothing overflows."""
    field = Field(decay, floor=1e-3, capacity=100)
    expected = dict.fromkeys(range(6), 0.0)
    now = 0.0
    for key, amount, pause in steps:
        now += pause
        expected = {k: value * math.exp(-pause / decay) for k, value in expected.items()}
        field.add(key, amount, now)
        expected[key] += amount
    for key, value in expected.items():
        assert field.value(key, now) == pytest.approx(value, rel=1e-6, abs=2e-3)
    keys, weights = field.at(now).strongest()
    assert dict(zip(keys.tolist(), weights.tolist(), strict=True)) == pytest.approx(
        {key: field.value(key, now) for key in keys.tolist()}
    )


SMALL = st.integers(0, 4)
PACKED = st.builds(
    PackedAttention,
    layers=SMALL,
    heads=SMALL,
    positions=st.integers(0, 10**20),
    first=SMALL,
    rest=SMALL,
    u8=st.binary(max_size=70).map(lambda data: b64encode(data).decode()) | st.text(max_size=12),
)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
DATA = st.builds(
    NeuralData,
    layer_activations=st.none() | st.lists(NUMBER, max_size=8),
    attention_weights=st.none() | PACKED | st.lists(st.lists(NUMBER, max_size=3), max_size=3),
    memory_patterns=st.none() | st.lists(st.tuples(st.integers(0, 9), NUMBER), max_size=3),
)


@given(st.lists(DATA, max_size=8))
def test_what_is_checked_can_be_taken_and_shown(updates):
    insides = Insides()
    for data in updates:
        update = NeuralStateUpdate(session="s", data=data)
        try:
            check(update)
        except MessageError as error:
            assert str(error).startswith(f"cannot take {error.field}: ")  # noqa: PT017
            continue
        insides.take(update, 0.0)
    for inside in insides.all():
        for row in inside.rows:
            assert row.weights.shape[2] == len(row.columns)
            assert 0 <= row.weights.min() <= row.weights.max() <= 1
            assert (row.columns >= 0).all()


@st.composite
def rows_of_attention(draw):
    """A packed row of any shape that may be sent, and the bytes in it."""
    layers, heads = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    first, rest = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    kept = max(first + rest, 1)
    rest = kept - first
    positions = draw(st.integers(kept, 1 << 31))
    count = layers * heads * kept
    packed = draw(st.lists(st.integers(0, 255), min_size=count, max_size=count))
    data = b64encode(bytes(packed)).decode()
    return PackedAttention(layers, heads, positions, first, rest, data), packed


def received(data):
    """What is kept of an update that has come over the wire."""
    message = intake.read(encode(NeuralStateUpdate(session="s", data=data), 1.0), 0.0)
    insides = Insides()
    insides.take(message.payload, 0.0)
    (inside,) = insides.all()
    return inside


@given(rows_of_attention())
def test_attention_of_every_shape_is_kept_as_received(case):
    attention, packed = case
    (row,) = received(NeuralData(attention_weights=attention)).rows
    kept = attention.first + attention.rest
    assert row.weights.shape == (attention.layers, attention.heads, kept)
    expected = [(value / 255) ** 2 for value in packed]
    assert row.weights.ravel().tolist() == pytest.approx(expected, rel=1e-6)
    columns = row.columns.tolist()
    assert columns[: attention.first] == list(range(attention.first))
    last = range(attention.positions - attention.rest, attention.positions)
    assert columns[attention.first :] == list(last)


SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.integers(0, 6), st.integers(0, 6), st.data())
def test_a_plain_matrix_of_any_shape_is_kept_as_received(height, width, data):
    row = st.lists(SINGLE, min_size=width, max_size=width)
    matrix = data.draw(st.lists(row, min_size=height, max_size=height))
    kept = received(NeuralData(attention_weights=matrix)).matrix
    assert kept.tolist() == matrix


@given(st.lists(SINGLE, max_size=300))
def test_layers_of_any_number_are_kept_as_received(levels):
    assert received(NeuralData(layer_activations=levels)).layers.tolist() == levels


@given(
    st.sampled_from(
        [
            ("layer_activations", "[0.5, HERE]"),
            ("attention_weights", "[[0.5, HERE]]"),
            ("memory_patterns", "[[7, HERE]]"),
        ]
    ),
    st.sampled_from(["1e39", "-1e39", "1e308", "1e999", "-1e999", "NaN", "Infinity", "-Infinity"]),
)
def test_what_is_not_finite_is_refused(field, number):
    name, value = field
    start = b'{"message_type":"NeuralStateUpdate","timestamp":1,"payload":{"data":{"'
    sent = start + f'{name}":{value.replace("HERE", number)}'.encode() + b"}}}"
    with pytest.raises(MessageError) as caught:
        intake.read(sent, 0.0)
    if number[-1].isdigit():
        assert caught.value.field.startswith(f"payload.data.{name}")
    else:
        assert caught.value.code == "malformed"
