"""When a recorded message is due, and as whose."""

import msgspec
import pytest

from geoosd.bridge.core.replay import Replay, kind_of
from geoosd.wire.messages import SessionEnded, SessionStarted, TokenVisualizationUpdate, Usage
from geoosd.wire.sessions import Session, Timed


def timed(after, kind="TokenVisualizationUpdate", **payload):
    body = {"current_token": "a", "sequence_position": 0, "session": "old", **payload}
    return Timed(after, kind, msgspec.json.encode(body))


def test_a_replay_says_that_it_is_one():
    replay = Replay(Session("old", "m", "u", choices=2), "new", speed=1.0, now=0.0)
    assert replay.started() == SessionStarted("new", "m", "u", 2, replay_of="old")


def test_its_pace():
    replay = Replay(Session("old"), "new", speed=4.0, now=100.0)
    assert replay.due(timed(8.0)) == 102.0
    assert replay.due(timed(-1.0)) == 100.0
    replay.hold(3.0)
    assert replay.due(timed(8.0)) == 105.0


def test_only_the_session_changes():
    replay = Replay(Session("old"), "new", speed=1.0, now=0.0)
    found = replay.message(timed(0.0, activation=0.5, provenance={"activation": "measured"}))
    assert found == TokenVisualizationUpdate(
        "a", 0, session="new", activation=0.5, provenance={"activation": "measured"}
    )
    assert kind_of(found) == "TokenVisualizationUpdate"
    assert replay.message(timed(0.0, "FromTheFuture")) is None
    with pytest.raises(msgspec.MsgspecError):
        replay.message(Timed(0.0, "TokenVisualizationUpdate", b"{"))


def test_its_end():
    recorded = Session(
        "old", completion_tokens=2, finish_reason="stop", time_to_first_token=0.1, error="broke_off"
    )
    replay = Replay(recorded, "new", speed=1.0, now=0.0)
    assert replay.ended() == SessionEnded(
        "new", "stop", Usage(None, 2, None), 0.1, None, "broke_off"
    )
    assert replay.ended("stopped").error == "stopped"
    assert Replay(Session("old"), "new", speed=1.0, now=0.0).ended() == SessionEnded("new")
