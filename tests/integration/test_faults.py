"""Daemons die, others do not notice: kill -9, resume, and traffic that nothing touches."""

import json
import os
import signal
import time

import httpx
import pytest
from websockets.exceptions import InvalidHandshake

from .stack import payloads, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
BACK_WITHIN = {"engine": 10.0}


@pytest.mark.engine
@pytest.mark.parametrize("victim", ["compositor", "bridge", "broadcaster", "control", "engine"])
def test_a_killed_daemon_is_back_soon_and_the_others_stay(stack, victim):
    before = stack.pids()
    assert set(before) == set(stack.daemons)
    os.kill(before[victim], signal.SIGKILL)
    began = time.monotonic()

    def back():
        pids = stack.pids()
        return pids if pids.get(victim) not in (None, before[victim]) else None

    after = until(back, BACK_WITHIN.get(victim, 2.0), f"the return of {victim}")
    assert time.monotonic() - began < BACK_WITHIN.get(victim, 2.0)
    assert {name: pid for name, pid in after.items() if name != victim} == {
        name: pid for name, pid in before.items() if name != victim
    }
    # Whoever looks a moment later still learns of it.
    health = stack.json("health")
    said = str(health)
    assert victim in said
    assert "restarted" in said
    stack.wait_for_model()
    done = stack.ctl("prompt", "One two three", "--param", "max_tokens=4")
    assert done.returncode == 0, done.stderr


def test_status_and_health_say_who_is_down(light_stack):
    """A stopped process answers nothing: it is named, with a remedy, and the rest goes on."""
    pid = light_stack.pids()["compositor"]
    os.kill(pid, signal.SIGSTOP)
    try:
        down = light_stack.ctl("status")
        assert down.returncode == 3
        entries = light_stack.status()
        assert entries["compositor"]["state"] == "unreachable"
        assert entries["compositor"]["reason"]
        assert entries["bridge"]["state"] == "active"
        health = light_stack.ctl("health")
        assert health.returncode == 2
        assert "compositor" in health.stdout.splitlines()[0] + health.stdout.splitlines()[1]
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: light_stack.ctl("status").returncode == 0, 10, "recovery")


def test_a_resumed_viewer_misses_nothing_over_a_broadcaster_crash(light_stack, scripted):
    with light_stack.viewer() as viewer:
        epoch = viewer.messages[0]["payload"]["epoch"]
        scripted.gate.clear()
        body = {"model": "gemma-3-270m", "stream": True, "messages": []}
        with httpx.stream(
            "POST", f"{light_stack.openai}/chat/completions", json=body, timeout=30
        ) as response:
            viewer.read("SessionStarted")
            victim = light_stack.pids()["broadcaster"]
            os.kill(victim, signal.SIGKILL)
            scripted.gate.set()
            response.read()
    until(lambda: light_stack.pids().get("broadcaster") not in (None, victim))
    last = max(each["seq"] for each in viewer.messages if "seq" in each)

    def resumed():
        try:
            with light_stack.viewer(f"?epoch={epoch}&after={last}") as second:
                second.read("SessionEnded")
                return second.messages
        except (OSError, InvalidHandshake):
            return None

    messages = viewer.messages + until(resumed, 10, "a resumed viewer")
    assert not payloads(messages, "Gap")
    assert not payloads(messages[len(viewer.messages) :], "Snapshot")
    tokens = [each for each in messages if each["message_type"] == "TokenVisualizationUpdate"]
    assert "".join(each["payload"]["current_token"] for each in tokens) == content(scripted.body)
    seqs = [each["seq"] for each in messages if "seq" in each]
    assert seqs == sorted(set(seqs))


def content(body):
    """The text of a recorded chat stream, by the plainest reading."""
    text = ""
    for line in body.decode().splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
    return text


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_proxied_stream_does_not_notice_the_map(light_stack, scripted, number):
    pids = light_stack.pids()
    scripted.gate.clear()
    body = {"model": "gemma-3-270m", "stream": True, "messages": []}
    try:
        with httpx.stream(
            "POST", f"{light_stack.openai}/chat/completions", json=body, timeout=30
        ) as response:
            assert scripted.begun.wait(10)
            for name in ("compositor", "broadcaster"):
                os.kill(pids[name], number)
            scripted.gate.set()
            received = b"".join(response.iter_raw())
    finally:
        for name in ("compositor", "broadcaster"):
            try:
                os.kill(pids[name], signal.SIGCONT)
            except ProcessLookupError:
                continue
    assert received == scripted.body
    assert len(scripted.requests) == 1


def test_what_the_bridge_said_while_the_compositor_was_away_arrives_later(light_stack):
    pids = light_stack.pids()
    os.kill(pids["compositor"], signal.SIGKILL)
    body = {"model": "gemma-3-270m", "stream": True, "messages": []}
    answer = httpx.post(f"{light_stack.openai}/chat/completions", json=body, timeout=30)
    session = answer.headers["x-geoos-session"]

    def arrived():
        entry = httpx.get(f"{light_stack.page}api/status", timeout=10)
        return entry.status_code == 200 and light_stack.pids().get("compositor")

    until(arrived, 10, "the compositor's return")
    # A viewer that comes late finds the session in its snapshot.

    def known():
        with light_stack.viewer() as viewer:
            (snapshot,) = payloads(viewer.read("Snapshot"), "Snapshot")
        return any(token["session"] == session for token in snapshot["tokens"])

    until(known, 10, "the session's tokens")
