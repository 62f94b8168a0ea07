"""The drill: everything is destroyed, the backup restored, and nothing has moved or is missing."""

import contextlib
import os
import shutil
import signal
import struct
import subprocess

import pytest

from geoosctl import archive

from .scripted import DATA
from .stack import BIN, Stack, payloads, until


def record(stack, mode):
    text = stack.config.read_text().replace("[bridge]", f'[bridge]\nrecord = "{mode}"', 1)
    stack.config.write_text(text)


@pytest.fixture
def full(tmp_path, scripted):
    """A geoos that records everything."""
    stack = Stack(tmp_path, engine=False, upstream=scripted.url)
    record(stack, "full")
    try:
        stack.start()
        stack.wait_for_model()
        yield stack
    finally:
        stack.kill()


def prompt(stack, text="count"):
    assert stack.ctl("prompt", text).returncode == 0


def seen(stack):
    """What there is to lose: sessions with their text, feedback, theme, places, thought stream."""
    sessions = stack.json("sessions")["sessions"]
    shown = [stack.json("session", "show", each["id"]) for each in sessions]
    feedback = stack.json("feedback", "list")["feedback"]
    with stack.viewer() as viewer:
        (snapshot,) = payloads(viewer.read("Snapshot"), "Snapshot")
    return {
        "sessions": sessions,
        "messages": [each["messages"] for each in shown],
        "prompts": [each["prompt"] for each in shown],
        "feedback": feedback,
        "theme": stack.json("theme", "list")["current"],
        "districts": snapshot["districts"],
        "places": [
            (each["current_token"], each["district"], each["cell"], each["hilbert_position"])
            for each in snapshot["tokens"]
        ],
    }


def settled(stack):
    """:func:`seen`, when the last token has arrived on the map and in the database."""

    def idle():
        queues = stack.status()["bridge"]["status"]["queues"]
        running = [
            each for each in stack.json("sessions")["sessions"] if each["state"] == "running"
        ]
        return not running and not any(each["depth"] for each in queues)

    until(idle, 20, "everything has arrived")
    return seen(stack)


def test_the_drill(full, scripted, tmp_path):
    scripted.body = (DATA / "02_chat_logprobs_usage_timings_progress.body").read_bytes()
    layout = tmp_path / "layout.i32"
    layout.write_bytes(struct.pack("<1000i", *reversed(range(1000))))
    (model,) = [each["id"] for each in full.json("models")["models"]]
    assert full.ctl("map", "adopt", model, str(layout)).returncode == 0
    prompt(full)
    prompt(full, "again")
    session = full.json("sessions")["sessions"][0]["id"]
    assert full.ctl("feedback", "add", session, "4", "fine").returncode == 0
    assert full.ctl("theme", "set", "paper").returncode == 0
    before = settled(full)
    assert len(before["sessions"]) == 2
    assert before["places"]
    assert [each["layout"] > 0 for each in before["districts"]] == [True]
    done = full.ctl("backup", str(tmp_path / "b.tar.zst"))
    assert done.returncode == 0, done.stderr

    prompt(full, "what is not in the backup")
    assert full.ctl("restore", str(tmp_path / "b.tar.zst")).returncode == 69  # it runs
    full.stop()
    shutil.rmtree(tmp_path / "state")
    full.start()
    lost = seen(full)
    assert (lost["sessions"], lost["districts"], lost["feedback"]) == ([], [], [])
    full.stop()

    done = full.ctl("restore", str(tmp_path / "b.tar.zst"))
    assert done.returncode == 0, done.stderr
    assert "start geoos: geoosd up" in done.stdout
    full.start()
    full.wait_for_model()
    assert seen(full) == before
    # A token that comes now lies where it lay.
    prompt(full)
    after = settled(full)
    assert after["districts"] == before["districts"]
    places = {text: rest for text, *rest in before["places"]}
    assert all(places[text] == rest for text, *rest in after["places"])

    full.stop()
    assert full.ctl("restore", "--undo").returncode == 0
    full.start()
    assert seen(full)["sessions"] == []


def test_a_backup_while_tokens_stream(full, scripted, tmp_path):
    scripted.gate.clear()
    scripted.begun.clear()
    asking = subprocess.Popen(
        [BIN / "geoosctl", "prompt", "count"],
        env=full.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert scripted.begun.wait(20)
    for number in range(3):
        assert full.ctl("backup", str(tmp_path / f"b{number}")).returncode == 0
    scripted.gate.set()
    text, _ = asking.communicate(timeout=20)
    assert text.strip()
    assert full.ctl("backup", str(tmp_path / "b3")).returncode == 0
    for number in range(4):
        assert full.json("restore", "--check", str(tmp_path / f"b{number}"))["ok"] is True


def unpacked(backup):
    files = {}

    def sink(entry, pieces):
        files[entry.path] = b"".join(pieces)

    archive.read(backup, sink)
    return files


@pytest.mark.parametrize("was_full", [False, True])
def test_without_a_recording_no_text_is_in_a_backup(tmp_path, scripted, was_full):
    stack = Stack(tmp_path, engine=False, upstream=scripted.url)
    record(stack, "full" if was_full else "metadata")
    try:
        stack.start()
        stack.wait_for_model()
        prompt(stack, "the-secret-prompt")
        settled(stack)
        if was_full:
            assert stack.ctl("backup", str(tmp_path / "with")).returncode == 0
            held = b"".join(unpacked(tmp_path / "with").values())
            assert b"the-secret-prompt" in held  # else the check below would check nothing
            stack.config.write_text(stack.config.read_text().replace('"full"', '"metadata"', 1))
            assert stack.ctl("reload").returncode == 0
        assert stack.ctl("backup", str(tmp_path / "without")).returncode == 0
    finally:
        stack.kill()
    files = unpacked(tmp_path / "without")
    assert sorted(files) == [
        "etc/geoos.toml",
        "state/bridge/sessions.db",
        "state/compositor/places.json",
    ]
    held = b"".join(files.values())
    assert b"the-secret-prompt" not in held
    for word in (b"TokenVisualizationUpdate", b"current_token"):
        assert word not in files["state/bridge/sessions.db"]


def resume(pid):
    with contextlib.suppress(ProcessLookupError):  # the watchdog was faster
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(("number", "left"), [(signal.SIGINT, False), (signal.SIGKILL, True)])
def test_interrupted_in_the_middle(full, tmp_path, number, left):
    """The bridge is stopped, so that the backup waits for it; then geoosctl goes."""
    prompt(full)
    bridge = full.pids()["bridge"]
    target = tmp_path / "b"
    target.write_bytes(b"the one before")
    os.kill(bridge, signal.SIGSTOP)
    try:
        writing = subprocess.Popen(
            [BIN / "geoosctl", "backup", target],
            env=full.environ,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A shell that runs the tests in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        until((tmp_path / ".b.part").exists, 20)
        writing.send_signal(number)
        _, said = writing.communicate(timeout=20)
    finally:
        resume(bridge)
    assert b"Traceback" not in said
    assert target.read_bytes() == b"the one before"
    assert (tmp_path / ".b.part").exists() == left
    until(lambda: full.ctl("backup", str(target)).returncode == 0, 20)
    assert full.json("restore", "--check", str(target))["ok"] is True
    assert not (tmp_path / ".b.part").exists()
    assert not list((tmp_path / "state" / "bridge").glob(".*"))


def test_without_the_bridge_there_is_no_backup(light_stack, tmp_path):
    bridge = light_stack.pids()["bridge"]
    os.kill(bridge, signal.SIGSTOP)
    try:
        done = light_stack.ctl("--timeout", "2", "backup", str(tmp_path / "b"))
    finally:
        resume(bridge)
    assert done.returncode == 69
    assert not (tmp_path / "b").exists()
