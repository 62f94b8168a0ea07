"""What is known of a network's inside."""

from base64 import b64encode

import numpy as np
import pytest

from geoosd.compositor.core import insides
from geoosd.compositor.core.insides import Insides, check
from geoosd.errors import MessageError
from geoosd.wire.messages import NeuralData, NeuralStateUpdate, PackedAttention


def packed(data, layers=1, heads=1, positions=4, first=1, rest=3):
    text = data if isinstance(data, str) else b64encode(bytes(data)).decode()
    return PackedAttention(layers, heads, positions, first, rest, text)


def update(session="s", **data):
    return NeuralStateUpdate(session=session, sequence_position=7, data=NeuralData(**data))


def test_nothing_is_known_until_a_source_says_it():
    it = Insides()
    it.take(NeuralStateUpdate(strength=0.5, provenance={"strength": "derived"}), 3.0)
    (inside,) = it.all()
    assert (inside.name, inside.at, inside.strength) == ("lm_studio_daemon", 3.0, 0.5)
    assert inside.layers is inside.matrix is inside.patterns is None
    assert len(inside.rows) == 0
    assert inside.provenance == {"strength": "derived"}


def test_what_is_not_said_again_stays():
    it = Insides()
    it.take(update(layer_activations=[1.0, 2.0], memory_patterns=[(3, 0.5)]), 0.0)
    it.take(update(attention_weights=[[1.0, 0.0], [0.25, 0.75]]), 1.0)
    it.take(update(confidence=0.5), 2.0)
    (inside,) = it.all()
    assert inside.layers.tolist() == [1.0, 2.0]
    assert inside.matrix.tolist() == [[1.0, 0.0], [0.25, 0.75]]
    assert inside.patterns == [(3, 0.5)]
    assert (inside.confidence, inside.position) == (0.5, 7)


def test_packed_attention_keeps_its_layers_heads_and_positions():
    it = Insides()
    data = np.rint(np.sqrt(np.linspace(0, 1, 24)) * 255).astype(np.uint8)
    it.take(update(attention_weights=packed(data, 2, 3, positions=100, first=1, rest=3)), 0.0)
    (row,) = it.all()[0].rows
    assert row.weights.shape == (2, 3, 4)
    assert row.weights.ravel() == pytest.approx(np.linspace(0, 1, 24), abs=0.004)
    assert row.columns.tolist() == [0, 97, 98, 99]
    assert row.position == 7


def test_bounds(monkeypatch):
    monkeypatch.setattr(insides, "MAX_STREAMS", 2)
    it = Insides()
    for name in ("a", "b", "a", "c"):
        it.take(update(name), 0.0)
    assert [inside.name for inside in it.all()] == ["c", "a"]
    assert len(it) == 2
    for _ in range(insides.MAX_ROWS + 5):
        it.take(update("c", attention_weights=packed([0, 1, 2, 3])), 0.0)
    assert len(it.all()[0].rows) == insides.MAX_ROWS


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"layer_activations": [1.0, 1e39]}, "layer_activations"),
        ({"memory_patterns": [(1, 1e300)]}, "memory_patterns"),
        ({"attention_weights": [[1.0], [1.0, 2.0]]}, "attention_weights"),
        ({"attention_weights": [[1e39]]}, "attention_weights"),
        ({"attention_weights": packed([1, 2, 3])}, "attention_weights.u8"),
        ({"attention_weights": packed("not base64!")}, "attention_weights.u8"),
        ({"attention_weights": packed("ä")}, "attention_weights.u8"),
        ({"attention_weights": packed([], layers=0)}, "attention_weights.u8"),
        ({"attention_weights": packed([1] * 4, positions=3)}, "attention_weights"),
        ({"attention_weights": packed([1] * 4, positions=10**18)}, "attention_weights"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(data, field):
    with pytest.raises(MessageError, match=r"cannot take payload\.data") as caught:
        check(update(**data))
    assert caught.value.field == f"payload.data.{field}"


def test_what_is_consistent_is_taken():
    it = Insides()
    for data in (
        {},
        {"layer_activations": [], "memory_patterns": [], "attention_weights": []},
        {"layer_activations": [-1.5] * 500, "attention_weights": packed([1, 2, 3, 4])},
    ):
        check(update(**data))
        it.take(update(**data), 0.0)
    (inside,) = it.all()
    assert (len(inside.layers), len(inside.matrix), len(inside.rows)) == (500, 0, 1)
