"""geoosd.bridge.core.tokenize_vllm: ids and strings of both kinds of vocabularies."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.tokenize_vllm import read_answer, request_of
from geoosd.errors import MessageError


def answer(*tokens, **change):
    body = {
        "count": len(tokens),
        "max_model_len": 32768,
        "tokens": [number for number, _ in tokens],
        "token_strs": [string for _, string in tokens],
    }
    return json.dumps(body | change).encode()


def test_a_request_asks_for_strings_and_nothing_special():
    assert json.loads(request_of("é", "m")) == {
        "prompt": "é",
        "add_special_tokens": False,
        "return_token_strs": True,
        "model": "m",
    }
    assert "model" not in json.loads(request_of("a", None))


@pytest.mark.parametrize(
    ("text", "tokens", "parts"),
    [
        (" me", [(757, "Ġme")], ((" me", 757),)),
        ("abc\n", [(4, "ab"), (5, "c"), (198, "Ċ")], (("ab", 4), ("c", 5), ("\n", 198))),
        ("é", [(1, "Ã"), (2, "©")], (("é", 2),)),
        (" me", [(592, "▁me")], ((" me", 592),)),
        ("é!", [(198, "<0xC3>"), (172, "<0xA9>"), (3, "!")], (("é", 172), ("!", 3))),
        ("日本", [(7, "日本")], (("日本", 7),)),
        # those that a space was put before, and those that are something else
        ("me", [(592, "▁me")], ()),
        ("me", [(1, "<s>"), (592, "me")], ()),
        ("me", [], ()),
        ("é", [(1, "Ã")], ()),
        ("a", [(-1, "a")], ()),
    ],
)
def test_strings_of_vocabularies(text, tokens, parts):
    assert read_answer(text, answer(*tokens)) == parts


def test_without_strings_it_cannot_be_told():
    assert read_answer("a", answer((1, "a"), token_strs=None)) == ()
    assert read_answer("a", b'{"count":1,"max_model_len":9,"tokens":[1]}') == ()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"tokens":["a"]}', b"\xff", b"[" * 100_000])
def test_another_answer_is_refused(body):
    with pytest.raises(MessageError):
        read_answer("a", body)


@given(st.text(min_size=1, max_size=8), st.lists(st.tuples(st.integers(), st.text(max_size=4))))
def test_what_is_told_makes_up_the_text(text, tokens):
    parts = (
        read_answer(text, answer(*tokens)) if all(-(2**63) <= n < 2**63 for n, _ in tokens) else ()
    )
    assert "".join(part for part, _ in parts) in ("", text)
