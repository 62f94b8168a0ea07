"""Fields and insides against plain models, for any input."""

import math
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.compositor.core.field import Field
from geoosd.compositor.core.insides import Insides, check
from geoosd.errors import MessageError
from geoosd.wire.messages import NeuralData, NeuralStateUpdate, PackedAttention

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
