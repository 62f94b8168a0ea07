"""The scene and its Snapshot."""

import base64
import math
import struct

import pytest

from geoosd.compositor.core import scene as scenes
from geoosd.compositor.core import thoughts
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import (
    MAX_SNAPSHOT_BYTES,
    Canary,
    NeuralStateUpdate,
    SessionEnded,
    SessionProgress,
    SessionStarted,
    TokenVisualizationUpdate,
    encode,
)


def token(cell=1, text="a", district=1, **fields):
    return TokenVisualizationUpdate(text, 0, district=district, cell=cell, **fields)


def test_tokens_light_up_and_are_remembered():
    scene = Scene(8.0)
    scene.apply(token(activation=0.25), 0.0, 0.0)
    scene.apply(token(2), 0.0, 0.0)
    assert scene.activation.value((1 << 20) + 1, 0.0) == 0.25
    assert scene.activation.value((1 << 20) + 2, 0.0) == scenes.UNKNOWN_ACTIVATION
    assert scene.memory.value((1 << 20) + 1, 0.0) == 1.0
    assert len(scene.recent) == 2


def test_a_token_has_to_be_placed():
    with pytest.raises(ValueError, match="placed"):
        Scene(8.0).apply(TokenVisualizationUpdate("a", 0), 0.0, 0.0)


def test_sessions_go_through_their_phases():
    scene = Scene(8.0)
    scene.apply(SessionStarted("s", "m", "up"), 5.0, 0.0)
    view = scene.sessions["s"]
    assert (view.phase, view.model, view.upstream, view.started) == ("queued", "m", "up", 5.0)
    scene.apply(SessionProgress("s", "queued", upstream="other"), 5.5, 0.0)
    assert (scene.sessions["s"].phase, scene.sessions["s"].upstream) == ("queued", "other")
    scene.apply(SessionProgress("s", "prefill"), 6.0, 0.0)
    assert scene.sessions["s"].upstream == "other"
    assert view.phase == "prefill"
    scene.apply(token(session="s", model="other"), 7.0, 0.0)
    assert (view.phase, view.tokens, view.model) == ("generating", 1, "m")
    assert scene.in_flight == [view]
    scene.apply(SessionEnded("s"), 8.0, 0.0)
    scene.apply(token(session="s"), 9.0, 0.0)
    assert (view.phase, view.tokens) == ("ended", 2)
    assert scene.in_flight == []
    scene.apply(token(session="unannounced", model="m2"), 9.0, 0.0)
    assert scene.sessions["unannounced"].model == "m2"
    scene.apply(NeuralStateUpdate(session="s"), 9.0, 0.0)
    scene.apply(Canary("c", {}), 9.0, 0.0)
    assert [inside.name for inside in scene.insides.all()] == ["s"]


def test_ended_sessions_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(scenes, "MAX_SESSIONS", 2)
    scene = Scene(8.0)
    scene.apply(SessionStarted("a"), 0.0, 0.0)
    scene.apply(SessionEnded("b"), 0.0, 0.0)
    scene.apply(SessionStarted("c"), 0.0, 0.0)
    assert list(scene.sessions) == ["a", "c"]
    scene.apply(SessionStarted("d"), 0.0, 0.0)
    assert list(scene.sessions) == ["c", "d"]


def test_a_snapshot_packs_the_cells_of_the_memory_strongest_first():
    scene = Scene(8.0)
    scene.apply(token(3, activation=0.5, district=2), 0.0, 0.0)
    scene.apply(token(4, activation=1.0), 0.0, 0.0)
    scene.apply(token(4, activation=0.1), 0.0, 0.0)
    snapshot = scene.snapshot(9, [], 0.0)
    assert snapshot.at_seq == 9
    records = list(struct.iter_unpack("<IIf", base64.b64decode(snapshot.cells)))
    assert records == [(1, 4, 2.0), (2, 3, 1.0)]
    assert [each.cell for each in snapshot.tokens] == [3, 4, 4]


def test_a_snapshot_is_bounded_and_the_oldest_tokens_give_way():
    scene = Scene(1e6)
    for number in range(20_000):
        scene.apply(token(number, activation=1.0), 0.0, 0.0)
    for number in range(thoughts.MAX_NEWEST):
        scene.apply(token(number, '"\n' * 1024), 0.0, 0.0)
    snapshot = scene.snapshot(1, [], 0.0)
    assert len(base64.b64decode(snapshot.cells)) == 8192 * 12
    assert len(encode(snapshot, 1e9)) <= MAX_SNAPSHOT_BYTES
    assert 0 < len(snapshot.tokens) < thoughts.MAX_NEWEST
    assert snapshot.tokens[-1] is scene.recent[-1]


def test_a_snapshot_of_thousands_of_long_names_is_bounded():
    places = Places()
    for number in range(2500):
        places.place(TokenVisualizationUpdate("a", 0, token_id=1, model=f"{number:x>250}"))
    scene = Scene(8.0)
    scene.apply(SessionStarted("s"), 0.0, 0.0)
    scene.apply(token(3), 0.0, 0.0)
    snapshot = scene.snapshot(1, places.districts, 0.0)
    assert MAX_SNAPSHOT_BYTES - 1024 <= len(encode(snapshot, 1e9)) <= MAX_SNAPSHOT_BYTES
    assert snapshot.districts[-1].index == 2500
    assert [view.session for view in snapshot.sessions] == ["s"]


def test_a_late_joiner_learns_that_a_session_is_a_replay():
    scene = Scene(8.0)
    scene.apply(SessionStarted("new", "m", "u", replay_of="old"), 1.0, 0.0)
    scene.apply(SessionStarted("live", "m", "u"), 1.0, 0.0)
    views = scene.snapshot(1, [], 0.0).sessions
    assert [(view.session, view.replay_of) for view in views] == [("new", "old"), ("live", None)]


def test_a_day_of_idling_changes_nothing_but_decay():
    scene = Scene(8.0)
    for number in range(500):
        scene.apply(token(number, activation=1.0, session="s"), float(number), 0.0)
    before = scene.snapshot(1, [], 0.0)
    _, counts = scene.memory.cells(0.0)
    # Looked at every minute, as a viewer that stays connected does; and once more at the end.
    for minute in range(24 * 60):
        scene.activation.cells(minute * 60.0, 10)
    day = 86_400.0
    after = scene.snapshot(1, [], day)
    assert (after.sessions, after.tokens) == (before.sessions, before.tokens)
    assert len(scene.activation.cells(day)[0]) == 0
    keys, weights = scene.memory.cells(day)
    assert len(keys) == 500
    assert weights == pytest.approx(counts * math.exp(-day / scenes.MEMORY_DECAY))


def test_streams_keep_their_words_beside_a_fast_one():
    scene = Scene(8.0)
    scene.apply(token(1, "slow", session="slow", confidence=0.5), 5.0, 0.0)
    for number in range(2 * thoughts.MAX_NEWEST):
        scene.apply(token(2, "fast", session="fast"), float(number), 0.0)
    (slow,) = scene.thoughts.of("slow")
    assert (slow.at, slow.token.current_token, slow.token.confidence) == (5.0, "slow", 0.5)
    assert len(scene.recent) == thoughts.MAX_NEWEST
