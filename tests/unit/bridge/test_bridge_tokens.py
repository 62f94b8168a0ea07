"""geoosd.bridge.core.tokens: what is known of a token, and how."""

import math

import pytest

from geoosd.bridge.core.pieces import Candidate, Piece
from geoosd.bridge.core.tokens import WINDOW, Strength, TokenStream, entropy_bits, split_text


def test_entropy_of_known_distributions():
    assert entropy_bits(1.0, True, [1.0]) == 0.0
    assert entropy_bits(0.5, True, [0.5, 0.5]) == pytest.approx(1.0)
    assert entropy_bits(0.25, True, [0.25, 0.25, 0.25]) == pytest.approx(2.0)
    assert entropy_bits(0.25, False, [0.25, 0.25]) == pytest.approx(2.0)
    assert entropy_bits(0.5, True, [1.0, 1.0]) == pytest.approx(1.0)
    assert entropy_bits(0.0, False, [0.5]) == pytest.approx(1.0)


def test_strength_is_the_weighted_mean_of_the_window():
    strength = Strength()
    assert strength.value() is None
    values = [(7 * index % 11) / 10 if index % 3 else None for index in range(500)]
    decay = 0.5 ** (1 / 16)
    for count, value in enumerate(values, 1):
        if value is not None:
            value = min(value, 1.0)
        values[count - 1] = value
        strength.add(value)
        window = list(reversed(values[max(0, count - WINDOW) : count]))
        known = [(decay**age, each) for age, each in enumerate(window) if each is not None]
        if known:
            mean = sum(weight * each for weight, each in known) / sum(w for w, _ in known)
            assert strength.value() == pytest.approx(mean)
        else:
            assert strength.value() is None


def test_strength_forgets_after_the_window():
    strength = Strength()
    strength.add(1.0)
    for _ in range(WINDOW - 1):
        strength.add(None)
    assert strength.value() == pytest.approx(1.0)
    strength.add(None)
    assert strength.value() is None


@pytest.mark.parametrize("text", ["", "short", "x" * 5000, "é" * 5000, "😀" * 3000, "a😀" * 2000])
def test_split_text(text):
    parts = list(split_text(text))
    assert "".join(parts) == text
    assert all(len(part.encode()) <= 4096 for part in parts)
    assert len(parts) <= 1 + len(text.encode()) // 4090


def test_split_text_of_few_bytes_but_many_characters():
    assert list(split_text("x" * 4000)) == ["x" * 4000]


def test_a_measured_token():
    stream = TokenStream("s", 1)
    top = [Candidate(3, "a", prob=0.5), Candidate(4, "b" * 100, prob=0.25)]
    (token,) = stream.tokens(Piece(1, "answer", "a", 3, 0.5, top), "m")
    assert (token.current_token, token.sequence_position, token.token_id) == ("a", 0, 3)
    assert (token.session, token.choice, token.role, token.model) == ("s", 1, "answer", "m")
    assert token.activation == token.confidence == 0.5
    assert token.entropy == pytest.approx(1.5)
    assert token.alternatives == [("a", 0.5), ("b" * 64, 0.25)]
    assert token.layer is None
    assert token.provenance == {
        "token_id": "measured",
        "activation": "measured",
        "confidence": "derived",
        "entropy": "derived",
        "alternatives": "measured",
        "layer": "absent",
    }


def test_nothing_is_made_up():
    stream = TokenStream("s", 0)
    (token,) = stream.tokens(Piece(0, "answer", "a"), None)
    assert (token.token_id, token.activation, token.confidence, token.entropy) == (None,) * 4
    assert set(token.provenance.values()) == {"absent"}
    state = stream.state()
    assert state.strength is None
    assert state.data.layer_activations is None
    assert state.data.attention_weights is None
    assert set(state.provenance.values()) == {"absent"}
    assert stream.state() is None


def test_what_is_of_the_last_token_of_several_is_derived():
    stream = TokenStream("s", 0)
    (token,) = stream.tokens(Piece(0, "answer", "ab", 3, 0.5, exact=False), None)
    assert token.provenance["token_id"] == token.provenance["activation"] == "derived"


def test_confidence_and_state():
    stream = TokenStream("s", 0)
    stream.tokens(Piece(0, "answer", "a", None, 1.0), None)
    (token,) = stream.tokens(Piece(0, "answer", "b", None, 0.5), None)
    assert token.confidence == pytest.approx(0.9)
    state = stream.state()
    assert state.sequence_position == 1
    assert 0.5 < state.strength < 1.0
    assert state.data.confidence == pytest.approx(0.9)
    assert state.provenance["strength"] == "derived"
    (unknown,) = stream.tokens(Piece(0, "answer", "c"), None)
    assert unknown.confidence is None


def test_entropy_with_the_chosen_token_among_the_alternatives_or_not():
    def entropy(token_id, text, *top):
        stream = TokenStream("s", 0)
        piece = Piece(0, "answer", text, token_id, 0.25, list(top))
        return stream.tokens(piece, None)[0].entropy

    among = entropy(3, "x", Candidate(4, "y", prob=0.5), Candidate(3, "x", prob=0.25))
    assert among == pytest.approx(1.5)
    after = entropy(None, "x", Candidate(token="y", prob=0.5), Candidate(token="x", prob=0.25))
    assert after == pytest.approx(1.5)
    before = entropy(None, "x", Candidate(token="x", prob=0.25), Candidate(token="y", prob=0.5))
    assert before == pytest.approx(1.5)
    outside = entropy(3, "x", Candidate(4, "y", prob=0.5))
    assert outside == pytest.approx(1.5)
    assert entropy(3, "x", Candidate(token="x", prob=0.5)) == pytest.approx(1.0)
    unknown = entropy(3, "x", Candidate(3, "x"), Candidate(4, "y", prob=0.5))
    assert unknown == pytest.approx(1.5)


def test_alternatives_without_a_probability_have_no_entropy():
    stream = TokenStream("s", 0)
    (token,) = stream.tokens(
        Piece(0, "answer", "x", 3, None, [Candidate(token="x", prob=0.5)]), None
    )
    assert token.entropy is None
    assert token.provenance["entropy"] == "absent"
    assert not math.isnan(token.alternatives[0][1])


def test_alternatives_that_have_no_probability_are_left_out():
    stream = TokenStream("s", 0)
    top = [Candidate(token="x", prob=0.5), Candidate(token="y")]
    (token,) = stream.tokens(Piece(0, "answer", "x", None, 0.5, top), None)
    assert token.alternatives == [("x", 0.5)]
    assert token.entropy == pytest.approx(1.0)
    (token,) = stream.tokens(Piece(0, "answer", "x", None, 0.5, [Candidate(token="y")]), None)
    assert (token.alternatives, token.entropy) == (None, None)
    assert token.provenance["alternatives"] == "absent"


def test_long_text_is_split_and_known_once():
    stream = TokenStream("s", 0)
    text = "é" * 5000
    tokens = stream.tokens(Piece(0, "answer", text, 3, 0.5), "m")
    assert "".join(token.current_token for token in tokens) == text
    assert [token.sequence_position for token in tokens] == [0, 1, 2]
    assert [token.token_id for token in tokens] == [3, None, None]
    assert stream.position == 3
