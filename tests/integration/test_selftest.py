"""``geoosctl selftest``: passes where all is well, and names what is not."""

import contextlib
import os
import signal

import pytest

from .stack import until

STEPS = [
    "configuration",
    "daemons",
    "ingest",
    "server",
    "models",
    "WebSocket",
    "SSE",
    "token",
    "neural state",
    "GPU",
]


def tried(stack, *options):
    """The exit code and each step by its name."""
    told = stack.json("selftest", *options)
    code = stack.ctl("selftest", *options).returncode
    assert {"pass": 0, "warn": 1, "fail": 2}[told["status"]] == code
    return code, {step["name"]: step for step in told["steps"]}


def of_status(steps, status):
    return [name for name, step in steps.items() if step["status"] == status]


@pytest.mark.engine
def test_with_the_real_engine_all_passes(shared_stack):
    done = shared_stack.ctl("selftest")
    assert done.returncode == 0, done.stdout
    assert "pass: 10 passed, 0 warned, 0 failed" in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    code, steps = tried(shared_stack)
    assert (code, list(steps)) == (0, STEPS)
    assert steps["token"]["summary"].startswith("10 tokens")


@pytest.mark.engine
def test_it_leaves_nothing_on_the_map_but_its_request(shared_stack):
    before = shared_stack.status()["compositor"]["status"]["details"]["districts"]
    tried(shared_stack)
    assert shared_stack.status()["compositor"]["status"]["details"]["districts"] == before


def test_a_server_that_tells_little_is_a_warning(light_stack):
    light_stack.wait_for_model()
    code, steps = tried(light_stack)
    assert code == 1
    assert of_status(steps, "fail") == []
    assert of_status(steps, "warn") == ["token", "neural state"]
    assert "no token ids" in steps["token"]["summary"]
    assert "no probabilities" in steps["neural state"]["summary"]
    assert all(steps[name]["remedy"] for name in of_status(steps, "warn"))


def test_what_the_server_refuses_is_shown(light_stack, scripted):
    light_stack.wait_for_model()
    scripted.status, scripted.body = 500, b'{"error": {"message": "out of\\u001b[2J memory"}}'
    code, steps = tried(light_stack)
    assert code == 2
    assert of_status(steps, "fail") == ["SSE"]
    assert "refuses with 500: out of" in steps["SSE"]["summary"]
    assert scripted.url in steps["SSE"]["remedy"]
    assert of_status(steps, "skip") == ["token", "neural state"]
    assert "\x1b" not in light_stack.ctl("selftest").stdout


def test_a_stream_that_stops_short_is_a_warning(light_stack, scripted):
    light_stack.wait_for_model()
    scripted.body = scripted.body.replace(b"data: [DONE]", b"")
    _, steps = tried(light_stack)
    assert (steps["SSE"]["status"], steps["token"]["status"]) == ("warn", "warn")
    assert "without [DONE]" in steps["SSE"]["summary"]


def test_a_stream_of_nothing_fails(light_stack, scripted):
    light_stack.wait_for_model()
    scripted.body = b": ping\n\n"
    _, steps = tried(light_stack)
    assert steps["SSE"]["summary"] == "the stream ended without any event"
    assert steps["SSE"]["status"] == "fail"


def test_another_model_than_there_is(light_stack):
    light_stack.wait_for_model()
    code, steps = tried(light_stack, "--model", "gtp-5")
    assert code == 2
    assert steps["models"]["summary"] == "'gtp-5' is not ready; there are gemma-3-270m"


def test_without_a_server(unstarted):
    unstarted.start()
    code, steps = tried(unstarted)
    assert code == 2
    assert of_status(steps, "fail") == ["server"]
    assert "start your model server" in steps["server"]["remedy"]
    assert of_status(steps, "pass") == ["configuration", "daemons", "ingest", "WebSocket", "GPU"]


@pytest.mark.parametrize(
    ("daemon", "failing"),
    [
        ("compositor", {"daemons", "ingest"}),
        ("bridge", {"daemons", "server"}),
        ("broadcaster", {"daemons", "WebSocket"}),
    ],
)
def test_a_daemon_that_hangs(light_stack, daemon, failing):
    light_stack.wait_for_model()
    pid = light_stack.pids()[daemon]
    os.kill(pid, signal.SIGSTOP)
    try:
        told = light_stack.json("--timeout", "1.5", "selftest")
    finally:
        with contextlib.suppress(ProcessLookupError):  # the watchdog was faster
            os.kill(pid, signal.SIGCONT)
    steps = {step["name"]: step for step in told["steps"]}
    assert failing <= set(of_status(steps, "fail"))
    assert f"the {daemon} is not active" in steps["daemons"]["summary"]
    assert all(steps[name]["remedy"] for name in failing)
    until(lambda: light_stack.pids()[daemon], 20)


def test_nothing_runs(unstarted):
    done = unstarted.ctl("selftest")
    assert done.returncode == 2
    assert "→ geoosd up" in done.stdout
    unstarted.config.write_text("[bridge]\nlisen = 1\n")
    done = unstarted.ctl("selftest")
    assert "do you mean bridge.listen?" in " ".join(done.stdout.split())
