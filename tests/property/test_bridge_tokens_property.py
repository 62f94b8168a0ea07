"""Whatever probabilities a server tells, what is made of them stays in its range."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core import chunks
from geoosd.bridge.core.tokens import TokenStream, entropy_bits

numbers = st.one_of(
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-40.0, 0.0),
    st.sampled_from([0.0, -0.0, -9999.0, 1e308, -1e308, 5e-324]),
)
candidates = st.fixed_dictionaries(
    {"token": st.sampled_from(["a", "b", "", "token_id:7"])},
    optional={"id": st.integers(-2, 3), "logprob": numbers, "prob": numbers},
)
entries = st.builds(
    lambda entry, top, name: entry | {name: top},
    candidates,
    st.lists(candidates, max_size=24),
    st.sampled_from(["top_logprobs", "top_probs"]),
)
unit = st.floats(0.0, 1.0)


def is_unit(value: float | None) -> bool:
    return value is None or (math.isfinite(value) and 0.0 <= value <= 1.0)


@given(st.lists(entries, max_size=12))
def test_every_number_is_in_its_range(given_entries):
    stream = TokenStream("s", 0)
    for entry in given_entries:
        choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [entry]}}
        chunk = chunks.decode(json.dumps({"choices": [choice]}).encode())
        assert not chunk.partial
        (piece,) = chunk.pieces
        (token,) = stream.tokens(piece, "m")
        state = stream.state()
        assert is_unit(token.activation)
        assert is_unit(token.confidence)
        assert (token.activation is None) == (token.confidence is None)
        assert token.entropy is None or (
            math.isfinite(token.entropy) and 0.0 <= token.entropy <= math.log2(22)
        )
        shown = token.alternatives or []
        assert len(shown) <= 20
        assert all(is_unit(probability) for _, probability in shown)
        assert state is None or is_unit(state.strength)
        for name in ("token_id", "activation", "confidence", "entropy", "alternatives"):
            known = token.provenance[name] != "absent"
            assert known == (getattr(token, name) is not None)


words = st.none() | st.sampled_from(["", "a", "b"])
choices = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(-1, 2),
        "text": words,
        "delta": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "content": words,
                "reasoning_content": words,
                "reasoning": words,
                "tool_calls": st.none() | st.just([{"function": {"name": "f"}}]),
            },
        ),
        "logprobs": st.none()
        | st.fixed_dictionaries({"content": st.none() | st.lists(entries, max_size=2)}),
        "token_ids": st.none() | st.lists(st.integers(-1, 3), max_size=2),
    },
)


@given(choices)
def test_the_short_way_says_what_the_long_way_says(choice):
    # A choice that is at its end is never read the short way.
    short = chunks.decode(json.dumps({"choices": [choice]}).encode())
    long = chunks.decode(json.dumps({"choices": [choice | {"finish_reason": "stop"}]}).encode())
    assert short.pieces == long.pieces


def bucketed(parts: list[float]) -> float:
    """Entropy by its definition, the rest of the probability being one outcome more."""
    total = math.fsum(parts)
    scaled = [part / total for part in parts] if total > 1.0 else [*parts, 1.0 - total]
    return math.fsum(-part * math.log2(part) for part in scaled if part > 0.0)


@given(unit, st.booleans(), st.lists(unit, max_size=20))
def test_entropy_is_that_of_the_alternatives_and_the_rest(probability, among, others):
    parts = others if among else [probability, *others]
    bits = entropy_bits(probability, among, others)
    assert bits == pytest.approx(bucketed(parts), abs=1e-9)
    assert bits >= 0.0


@given(st.lists(unit, min_size=1, max_size=40))
def test_confidence_is_the_exponentially_weighted_mean(activations):
    stream = TokenStream("s", 0)
    for activation in activations:
        logprob = math.log(activation) if activation > 0.0 else -1e9
        logprobs = {"content": [{"token": "a", "logprob": logprob}]}
        choice = {"index": 0, "delta": {"content": "a"}, "logprobs": logprobs}
        chunk = chunks.decode(json.dumps({"choices": [choice]}).encode())
        (token,) = stream.tokens(chunk.pieces[0], None)
    first, *rest = activations
    weights = [0.8 ** len(rest), *(0.2 * 0.8**age for age in reversed(range(len(rest))))]
    mean = math.fsum(w * a for w, a in zip(weights, [first, *rest], strict=True))
    assert token.confidence == pytest.approx(mean, abs=1e-9)
    assert token.provenance["confidence"] == "derived"
