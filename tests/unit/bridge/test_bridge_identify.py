"""geoosd.bridge.core.identify: nothing overtakes, and positions stay without gaps."""

from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.identify import Line
from geoosd.bridge.core.tokenize import Vocabulary
from geoosd.wire.messages import (
    NeuralStateUpdate,
    SessionEnded,
    SessionProgress,
    TokenVisualizationUpdate,
)


def token(text, position, token_id=None, choice=0):
    return TokenVisualizationUpdate(
        current_token=text,
        sequence_position=position,
        token_id=token_id,
        session="s",
        choice=choice,
        role="answer",
        model="m",
        provenance={"token_id": "absent" if token_id is None else "measured", "layer": "absent"},
    )


def test_what_is_known_passes_at_once():
    vocabulary = Vocabulary()
    vocabulary.learn("a", (("a", 7),))
    line = Line(vocabulary)
    (progress, first) = line.put([SessionProgress("s", "generating"), token("a", 0)])
    assert isinstance(progress, SessionProgress)
    assert (first.token_id, first.sequence_position) == (7, 0)
    assert first.provenance == {"token_id": "derived", "layer": "absent"}
    assert len(line) == 0


def test_nothing_overtakes_what_waits():
    vocabulary = Vocabulary()
    line = Line(vocabulary)
    given = token("b", 1, 9)
    assert line.put([token("a", 0), given, SessionEnded("s")]) == []
    assert list(line.unknown()) == ["a"]
    vocabulary.learn("a", (("a", 7),))
    first, second, ended = line.release()
    assert (first.token_id, second) == (7, given)
    assert isinstance(ended, SessionEnded)


def test_several_tokens_move_what_follows():
    vocabulary = Vocabulary()
    vocabulary.learn("abc", (("ab", 1), ("c", 2)))
    line = Line(vocabulary)
    sent = [
        token("abc", 0),
        NeuralStateUpdate(sequence_position=0),
        NeuralStateUpdate(),
        token("x", 1, 5),
        token("y", 0, 6, choice=1),
        NeuralStateUpdate(sequence_position=0),
    ]
    ab, c, state, nowhere, x, y, other = line.put(sent)
    assert [(each.current_token, each.token_id) for each in (ab, c)] == [("ab", 1), ("c", 2)]
    assert [each.sequence_position for each in (ab, c, state, x, y, other)] == [0, 1, 1, 2, 0, 0]
    assert nowhere.sequence_position is None
    assert (c.session, c.choice, c.role, c.model) == ("s", 0, "answer", "m")
    assert c.provenance == {"token_id": "derived", "activation": "absent"}
    assert sent[0].token_id is None


def test_giving_up_lets_all_pass_as_they_are():
    line = Line(Vocabulary())
    tokens = [token("a", 0), token("", 1)]
    assert line.put(tokens) == []
    assert line.release(give_up=True) == tokens
    assert not list(line.unknown())


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=6), st.integers(0, 1)), max_size=20),
    st.data(),
)
def test_texts_and_order_stay_whatever_is_known_when(said, data):
    vocabulary = Vocabulary()
    line = Line(vocabulary)
    positions = {0: 0, 1: 0}
    got = []
    for text, choice in said:
        got += line.put([token(text, positions[choice], choice=choice)])
        positions[choice] += 1
        if data.draw(st.booleans()):
            for unknown in list(line.unknown()):
                cut = data.draw(st.integers(0, len(unknown)))
                halves = [part for part in (unknown[:cut], unknown[cut:]) if part]
                known = tuple((part, len(part)) for part in halves)
                vocabulary.learn(unknown, data.draw(st.sampled_from([known, ()])))
            got += line.release()
            assert len(line) == 0
    got += line.release(give_up=True)
    for choice in (0, 1):
        mine = [each for each in got if each.choice == choice]
        assert "".join(each.current_token for each in mine) == "".join(
            text for text, of in said if of == choice
        )
        assert [each.sequence_position for each in mine] == list(range(len(mine)))
