"""Recorded, looked up, shown again, rated, exported and deleted: as a user does it."""

import json

import pytest

from .stack import payloads, text_of

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
