"""kill -9 of a real compositor in the midst of its work: no place moves, what was saved stays."""

import random
import signal
import threading

from geoosd.compositor.adapters.snapshot import StateFiles
from geoosd.wire.messages import Snapshot, SnapshotRequest, TokenVisualizationUpdate

from .compositor_process import CompositorProcess, Producer, feed
from .stack import until

MODELS = ("a", "b", "c")


def tokens(first, count):
    return [
        TokenVisualizationUpdate(str(n), n, token_id=n % 997, session="s", model=MODELS[n % 3])
        for n in range(first, first + count)
    ]


def placed(compositor):
    """The places by model and id, and the numbers of the tokens that are remembered."""
    for message in feed(compositor, SnapshotRequest()):
        if isinstance(message.payload, Snapshot):
            seen = message.payload
            districts = {each.index: each.model for each in seen.districts}
            places = {(districts[t.district], t.token_id): t.cell for t in seen.tokens}
            return districts, places, [int(t.current_token) for t in seen.tokens]
    raise EOFError


def test_kill_9_at_any_moment_loses_at_most_what_came_since_the_last_save(tmp_path):
    """Saves follow each other at once, so that most kills hit one."""
    compositor = CompositorProcess(tmp_path, interval=0.01)
    chance = random.Random(5)
    known, places, following = {}, {}, 0

    def on_disk():
        files = StateFiles(compositor.scene.parent)
        scene = files.load_scene(files.load_places().districts)
        return (
            scene and scene.thoughts and int(scene.thoughts[-1][0].current_token) == following - 1
        )

    try:
        for life in range(5):
            compositor.start()
            districts, where, remembered = placed(compositor)
            assert districts.items() >= known.items()
            assert all(places.get(key, cell) == cell for key, cell in where.items())
            if life:
                assert remembered == list(range(remembered[0], remembered[-1] + 1))
                assert following - 1 <= remembered[-1]
                following = remembered[-1] + 1
            known, places = districts, places | where
            producer = Producer(compositor.run_dir, f"producer-{life}")
            producer.say(*tokens(following, 300))
            producer.wait_acknowledged()
            following += 300
            until(on_disk, 10, "a save at the interval")
            producer.say(*tokens(following, 3000))
            # Somewhere in the midst of taking and saving these.
            producer.socket.recv(1)
            threading.Event().wait(chance.uniform(0.0, 0.3))
            compositor.stop(signal.SIGKILL)
            producer.close()
    finally:
        compositor.stop()
    assert set(known.values()) == set(MODELS)
    assert len(places) > 500
