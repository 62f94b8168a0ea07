"""Recorded, looked up, shown again, rated, exported and deleted: as a user does it."""

import json
import signal
import subprocess
import threading
import time

import pytest

from .scripted import ScriptedUpstream
from .stack import BIN, payloads, running, text_of, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def recording(light_stack):
    """A stack that records in full, and one session that it has recorded."""
    text = light_stack.config.read_text()
    light_stack.config.write_text(text.replace("[bridge]", '[bridge]\nrecord = "full"', 1))
    assert light_stack.ctl("reload").returncode == 0
    assert light_stack.ctl("prompt", "Say something").returncode == 0
    (session,) = light_stack.json("sessions")["sessions"]
    return light_stack, session["id"]


def test_a_replay_is_seen_by_all_and_says_so(recording):
    stack, session = recording
    with stack.viewer() as viewer:
        viewer.read("Snapshot")
        done = stack.ctl("session", "replay", session, "--speed", "100")
        assert done.returncode == 0, done.stderr
        viewer.read("SessionEnded")
        (started,) = payloads(viewer.messages, "SessionStarted")
        assert started["replay_of"] == session
        shown = stack.ctl("session", "show", session).stdout
        assert text_of(viewer.messages, started["session"]) in shown
        assert "Say something" in shown
    with stack.viewer() as late:
        (snapshot,) = payloads(late.read("Snapshot"), "Snapshot")
    of = {view["session"]: view["replay_of"] for view in snapshot["sessions"]}
    assert of == {session: None, started["session"]: session}
    assert len(stack.json("sessions")["sessions"]) == 1


def test_a_replay_keeps_the_recorded_pace_or_a_multiple_of_it(recording, scripted):
    stack, _ = recording
    scripted.gate.clear()
    scripted.begun.clear()
    asking = threading.Thread(target=stack.ctl, args=("prompt", "Say it slowly"))
    asking.start()
    assert scripted.begun.wait(10)
    assert not scripted.gate.wait(1.0)  # so long is the pause that is recorded
    scripted.gate.set()
    asking.join(30)
    session = stack.json("sessions")["sessions"][0]["id"]
    shown = stack.json("session", "show", session)["messages"]
    recorded = [m["after"] for m in shown if m["message_type"] == "TokenVisualizationUpdate"]
    took = {}
    for speed in (1, 4):
        with stack.viewer() as viewer:
            viewer.read("Snapshot")
            before = time.time()
            assert stack.ctl("session", "replay", session, "--speed", str(speed)).returncode == 0
            messages = viewer.read("SessionEnded")
        at = [m["timestamp"] for m in messages if m["message_type"] == "TokenVisualizationUpdate"]
        assert len(at) == len(recorded)
        assert at[-1] - before >= recorded[-1] / speed  # never faster than it is to be
        took[speed] = at[-1] - at[0]
    assert recorded[-1] - recorded[0] > 0.9
    assert took[4] < took[1]


def test_rated_exported_and_deleted(recording, tmp_path):
    stack, session = recording
    assert stack.ctl("feedback", "add", session, "5", "to the point").returncode == 0
    (said,) = stack.json("feedback", "list")["feedback"]
    assert (said["rating"], said["prompt"]) == (5, "Say something")
    assert stack.json("feedback", "summary")["models"][0]["rating"] == 5.0
    file = tmp_path / "out.jsonl"
    assert stack.ctl("session", "export", session, str(file)).returncode == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["session"]["messages"] == len(lines) - 1
    assert stack.ctl("session", "delete", session).returncode == 64
    assert stack.ctl("session", "delete", session, "--yes").returncode == 0
    assert stack.json("sessions")["sessions"] == []
    state = b"".join(p.read_bytes() for p in (tmp_path / "state" / "bridge").glob("sessions.db*"))
    assert b"Say something" not in state


def test_a_batch(recording, tmp_path, scripted):
    stack, _ = recording
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"p{n}"}) + "\n" for n in range(6)))
    before = len(scripted.requests)
    done = stack.json("batch", str(prompts), "--concurrency", "3")
    assert (done["asked"], done["failed"]) == (6, 0)
    assert stack.json("batch", str(prompts))["asked"] == 0
    assert len(scripted.requests) - before == 6
    out = (tmp_path / "prompts.results.jsonl").read_text()
    answers = [json.loads(line) for line in out.splitlines()]
    assert sorted(answer["id"] for answer in answers) == [1, 2, 3, 4, 5, 6]
    assert len({answer["text"] for answer in answers}) == 1
    assert answers[0]["text"]


class StopsAfter(threading.Event):
    """The ``begun`` of *upstream* that closes its gate once *count* requests have come."""

    def __init__(self, upstream, count):
        super().__init__()
        self.upstream, self.count = upstream, count

    def set(self):
        if len(self.upstream.requests) > self.count:
            self.upstream.gate.clear()
        super().set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_batch_that_is_interrupted_goes_on_where_it_was(tmp_path, number):
    prompts, results = tmp_path / "prompts.jsonl", tmp_path / "prompts.results.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"p{n}"}) + "\n" for n in range(12)))

    def answers():
        lines = results.read_text().splitlines() if results.exists() else []
        return [json.loads(line) for line in lines]

    with ScriptedUpstream() as upstream:
        upstream.begun = StopsAfter(upstream, 5)
        with running(tmp_path, engine=False, upstream=upstream.url) as stack:
            command = [BIN / "geoosctl", "batch", str(prompts), "--concurrency", "2"]
            process = subprocess.Popen(
                command, env=stack.environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            until(lambda: len(upstream.requests) >= 6 and len(answers()) >= 4, 20, "the middle")
            process.send_signal(number)
            said = process.communicate(timeout=10)[1]
            if number == signal.SIGINT:
                assert process.returncode == 130
                assert b"run it again to ask the others" in said
            upstream.begun = threading.Event()
            upstream.gate.set()
            done = answers()
            assert 4 <= len(done) < 12
            asked = len(upstream.requests)
            again = stack.json("batch", str(prompts))
            assert (again["asked"], again["failed"]) == (12 - len(done), 0)
            assert len(upstream.requests) - asked == again["asked"]
            assert stack.json("batch", str(prompts))["asked"] == 0
    assert answers()[: len(done)] == done
    assert sorted(answer["id"] for answer in answers()) == list(range(1, 13))
    assert all(answer["text"] and answer["error"] is None for answer in answers())
