"""The thought stream."""

from geoosd.compositor.core import thoughts
from geoosd.compositor.core.thoughts import Thoughts
from geoosd.wire.messages import TokenVisualizationUpdate


def token(text, **fields):
    return TokenVisualizationUpdate(text, 0, **fields)


def test_thoughts_keep_their_stream_time_and_order():
    it = Thoughts()
    it.add(token("a", session="s", choice=0), 1.0)
    it.add(token("b", session="t", choice=0, confidence=0.25), 2.0)
    it.add(token("c", session="s", choice=0), 3.5)
    assert [(t.at, t.token.current_token) for t in it.of("s", 0)] == [(1.0, "a"), (3.5, "c")]
    assert it.of("t", 0)[0].token.confidence == 0.25
    assert it.of("nobody") == []
    assert [t.token.current_token for t in it.all()] == ["a", "b", "c"]
    assert list(it.streams()) == [("t", 0), ("s", 0)]
    assert (len(it), it.count, len(it.newest)) == (3, 3, 3)
    assert [t.current_token for t in it.latest(2, 5)] == ["c", "a", "b"]
    assert [t.current_token for t in it.latest(1, 1)] == ["c"]


def test_both_bounds_hold(monkeypatch):
    monkeypatch.setattr(thoughts, "MAX_STREAMS", 2)
    monkeypatch.setattr(thoughts, "MAX_TOKENS", 3)
    it = Thoughts()
    for number in range(10):
        it.add(token(str(number)), 0.0)
    assert [t.token.current_token for t in it.of(None)] == ["7", "8", "9"]
    it.add(token("a", session="a"), 0.0)
    it.add(token("again"), 0.0)
    it.add(token("b", session="b"), 0.0)
    assert list(it.streams()) == [(None, None), ("b", None)]
    assert it.count == 13


def test_what_was_saved_comes_back():
    it = Thoughts()
    it.restore([(token("a"), 1.0), (token("b"), 2.0)])
    assert [(t.token.current_token, t.at) for t in it.all()] == [("a", 1.0), ("b", 2.0)]
