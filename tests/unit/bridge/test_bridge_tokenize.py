"""geoosd.bridge.core.tokenize: reading /tokenize, and remembering."""

import json

import pytest

from geoosd.bridge.core.tokenize import Vocabulary, read_answer, request_of
from geoosd.errors import MessageError


def answer(*tokens) -> bytes:
    return json.dumps({"tokens": [{"id": i, "piece": piece} for i, piece in tokens]}).encode()


def test_a_request_asks_for_pieces_and_nothing_special():
    assert json.loads(request_of(["a", "é"], "m")) == {
        "content": ["a", "é"],
        "add_special": False,
        "parse_special": False,
        "with_pieces": True,
        "model": "m",
    }
    assert "model" not in json.loads(request_of(["a"], None))


def test_tokens_are_shared_out_to_the_texts():
    body = answer((3, " me"), (4, "ab"), (5, "c"))
    assert read_answer([" me", "abc"], body) == [((" me", 3),), (("ab", 4), ("c", 5))]
    assert read_answer([], answer()) == []


def test_bytes_of_a_character_become_one_part_with_the_last_id():
    flag = list("🇫".encode())
    body = answer((1, flag[:2]), (2, flag[2:]), (3, "!"))
    assert read_answer(["🇫!"], body) == [(("🇫", 2), ("!", 3))]


@pytest.mark.parametrize(
    "tokens",
    [
        [(1, " a")],  # a vocabulary that puts a space before every text
        [(1, "a"), (2, "b")],
        [],
        [(1, "")],
        [(-1, "a")],
        [(1, [300])],
    ],
)
def test_tokens_that_do_not_make_up_the_text(tokens):
    assert read_answer(["a"], answer(*tokens)) is None


def test_a_part_of_a_character_at_the_end_is_no_text():
    assert read_answer(["é"], answer((1, [0xC3]))) is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"tokens":[1,2]}', b"\xff", b'{"tokens":5}'])
def test_another_answer_is_refused(body):
    with pytest.raises(MessageError):
        read_answer(["a"], body)


def test_a_vocabulary_forgets_what_was_not_asked_for_longest():
    vocabulary = Vocabulary(room=6)
    for text in "abc":
        vocabulary.learn(text, ((text, 1),))
    assert vocabulary.get("a") == (("a", 1),)
    vocabulary.learn("d", ((("d"), 4),))
    assert vocabulary.get("b") is None
    assert vocabulary.get("a") is not None
    vocabulary.learn("a", ())
    assert vocabulary.get("a") == ()
    assert len(vocabulary) == 5
    vocabulary.learn("long", tuple(("x", 1) for _ in range(50)))
    assert vocabulary.get("long") is not None
    assert vocabulary.get("d") is None
    assert len(vocabulary) == 51
