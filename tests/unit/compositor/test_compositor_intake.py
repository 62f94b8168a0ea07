"""What ingest takes, and only once."""

import pytest

from geoosd.compositor.core import intake
from geoosd.errors import MessageError
from geoosd.wire.messages import (
    NeuralStateUpdate,
    SessionEnded,
    SessionStarted,
    Subscribe,
    TokenVisualizationUpdate,
    encode,
)


def test_good_messages_are_decoded():
    message = intake.read(encode(TokenVisualizationUpdate("a", 1), 2.0, n=3), 0.0)
    assert (message.payload.current_token, message.timestamp, message.n) == ("a", 2.0, 3)
    assert intake.read(encode(NeuralStateUpdate(), 2.0), 0.0)


def test_what_travels_another_way_is_refused():
    with pytest.raises(MessageError, match="does not travel") as refused:
        intake.read(encode(Subscribe(), 0.0), 0.0)
    assert refused.value.field == "message_type"


def test_a_state_has_a_size():
    with pytest.raises(MessageError, match="at most 16384"):
        intake.read(encode(NeuralStateUpdate(), 0.0) + b" " * 16_384, 0.0)


def test_the_number_of_a_refused_message():
    assert intake.number_of(b'{"n":4,"message_type":1}') == 4
    assert intake.number_of(b'{"message_type":1}') is None
    assert intake.number_of(b'{"n":"x"}') is None
    assert intake.number_of(b"{") is None


def test_numbers_are_taken_once():
    producers = intake.Producers()
    assert producers.through("p") == -1
    assert producers.hello("p", 5) == 4
    assert [producers.take("p", n) for n in (4, 5, 5, 9, 6)] == [False, True, False, True, False]
    assert producers.through("p") == 9
    assert producers.hello("p", 7) == 9
    assert producers.take("q", 0)


def test_the_least_recent_producer_is_forgotten(monkeypatch):
    monkeypatch.setattr(intake, "MAX_PRODUCERS", 2)
    producers = intake.Producers()
    for name in ("a", "b", "a", "c"):
        producers.hello(name, 1)
    assert [producers.through(name) for name in ("a", "b", "c")] == [0, -1, 0]


def test_what_a_producer_has_begun_and_not_ended(monkeypatch):
    monkeypatch.setattr(intake, "MAX_UNFINISHED", 2)
    unfinished = intake.Unfinished()
    unfinished.note("p", SessionEnded("never begun"))
    unfinished.note("p", TokenVisualizationUpdate("no session", 0))
    assert unfinished.of("p") == []
    for payload in (SessionStarted("a"), SessionEnded("a"), SessionStarted("b")):
        unfinished.note("p", payload)
    assert unfinished.of("p") == ["b"]
    # A token alone tells of its session: the compositor may have started after that began.
    unfinished.note("p", TokenVisualizationUpdate("x", 3, session="c"))
    assert unfinished.of("p") == ["b", "c"]
    unfinished.note("p", SessionStarted("d"))
    assert unfinished.of("p") == ["c", "d"]
    assert [end.session for end in unfinished.abandon("p")] == ["c", "d"]
    assert unfinished.abandon("p") == []
