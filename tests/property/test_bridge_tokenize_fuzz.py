"""Whatever a server answers to /tokenize: parts make up their texts, or there are none."""

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.tokenize import Vocabulary, read_answer
from geoosd.errors import MessageError

words = st.text(st.sampled_from("abé👩 \n"), min_size=1, max_size=5)


@st.composite
def answers(draw):
    """Texts, and an answer that cuts their bytes anywhere, or does something odd."""
    texts = draw(st.lists(words, max_size=5))
    tokens = []
    for text in texts:
        data = text.encode()
        while data:
            size = draw(st.integers(1, len(data)))
            piece, data = data[:size], data[size:]
            try:
                shown = piece.decode()
            except UnicodeDecodeError:
                shown = list(piece)
            tokens.append({"id": draw(st.integers(0, 9)), "piece": shown})
    odd = draw(st.booleans())
    if odd and tokens:
        tokens[draw(st.integers(0, len(tokens) - 1))] = draw(
            st.fixed_dictionaries(
                {"id": st.integers(-1, 3), "piece": words | st.lists(st.integers(-1, 300))}
            )
        )
    return texts, tokens, odd


@given(answers())
def test_parts_make_up_their_texts(answer):
    texts, tokens, odd = answer
    found = read_answer(texts, json.dumps({"tokens": tokens}).encode())
    assert odd or found is not None
    for text, parts in zip(texts, found or (), strict=found is not None):
        assert "".join(part for part, _ in parts) == text
        assert all(token_id >= 0 for _, token_id in parts)


@given(st.lists(words, max_size=2), st.binary(max_size=40) | st.just(b'{"tokens":[{"id":1e9}]}'))
def test_garbage_raises_only_message_errors(texts, body):
    with contextlib.suppress(MessageError):
        read_answer(texts, body)


@given(st.lists(st.tuples(words, st.integers(0, 30)), max_size=40), st.integers(1, 60))
def test_a_vocabulary_stays_within_its_room(learnt, room):
    vocabulary = Vocabulary(room)
    for text, count in learnt:
        parts = (("a", 1),) * count
        vocabulary.learn(text, parts)
        assert vocabulary.get(text) == parts
        assert len(vocabulary) <= max(room, 1 + count)
