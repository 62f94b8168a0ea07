"""One daemon at a time is killed, hung or out of memory while a stream runs; the others go on."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from conftest import DAEMONS, HERE, in_time, until
from streaming import Stream, watch

ALL = (*DAEMONS, "engine")
BACK_SECONDS = dict.fromkeys(DAEMONS, 2.0) | {"engine": 10.0}
"""From a process's end to its successor's READY=1."""

PATIENCE = 20
"""Seconds to wait for what is measured."""

TOKENS, PAUSE = 60, 0.05
WATCHDOG_SECONDS = 5
TELL = ("health", "status")
CONFIG = "[engine]\nenabled = 'yes'\n"


def model_answers(machine):
    return machine.call("curl", "-fs", "http://127.0.0.1:1236/health").returncode == 0


@pytest.fixture(scope="module")
def running(machine):
    """All five daemons, a model server, and a viewer."""
    for daemon in ALL:
        limits = f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}s\n"
        machine.write(f"/run/systemd/system/geoos-{daemon}.service.d/50-test.conf", limits)
    machine.run("systemctl", "daemon-reload")
    machine.start_all(CONFIG)
    machine.model(TOKENS, PAUSE)
    until(lambda: model_answers(machine), "the engine has its model", 60)
    return machine


@pytest.fixture
def streaming(running):
    running.call("systemctl", "reset-failed", *(f"geoos-{each}" for each in ALL))
    watch(running)
    return running


def pids(machine):
    return {each: int(machine.show(f"geoos-{each}", "MainPID")) for each in ALL}


def wait_until_back(machine, daemon, pid):
    """Wait for another process than *pid* that is ready; seconds from the end to READY=1, as
    systemd measured them."""
    unit = f"geoos-{daemon}"
    until(
        lambda: int(machine.show(unit, "MainPID")) not in (0, pid) and machine.active(daemon),
        f"{daemon} is back",
        PATIENCE + WATCHDOG_SECONDS,
    )
    ready = int(machine.show(unit, "ActiveEnterTimestampMonotonic"))
    ended = int(machine.show(unit, "ActiveExitTimestampMonotonic"))
    assert ready > ended
    return (ready - ended) / 1e6


def others_never_noticed(before, after, daemon):
    assert {each: pid for each, pid in after.items() if each != daemon} == {
        each: pid for each, pid in before.items() if each != daemon
    }


def what_was_promised_holds(machine, stream, daemon):
    """Client and viewer got everything. The bridge carries the request itself: there the stream
    ends, the viewer is told so, and the next one is whole."""
    if daemon == "bridge":
        end = until(stream.ended, "the viewer is told that the stream has ended")
        assert "went away" in end["error"]
        found = stream.words()
        assert sorted(found) == list(range(len(found)))
        until(lambda: "scripted" in machine.call("geoosctl", "models").stdout, "the model is known")
        stream = Stream(machine, TOKENS)
    stream.must_be_whole()
    status = json.loads(until(lambda: status_when_well(machine), "status is well again"))
    sessions = next(each for each in status["daemons"] if each["name"] == "compositor")
    assert ", 0 sessions" in sessions["status"]["status"]


def status_when_well(machine):
    answer = machine.call("geoosctl", "--json", "status")
    return answer.stdout if answer.returncode == 0 else None


def is_news(machine, daemon):
    """That it was restarted is told by status and by health, with where to look."""
    entry = next(
        each
        for each in json.loads(machine.call("geoosctl", "--json", "status").stdout)["daemons"]
        if each["name"] == daemon
    )
    assert entry["restarts"] >= 1
    health = machine.call("geoosctl", "health")
    assert health.returncode in (1, 2)
    assert any(
        line.split(":")[0].endswith(f" {daemon}") and "restarted" in line
        for line in health.stdout.splitlines()
    ), health.stdout
    assert f"geoosctl logs --unit {daemon}" in health.stdout


@pytest.mark.engine
@pytest.mark.parametrize("daemon", ALL)
def test_killed_it_is_back_and_the_others_never_noticed(
    streaming, daemon, record_testsuite_property
):
    before = pids(streaming)
    restarts = int(streaming.show(f"geoos-{daemon}", "NRestarts"))
    stream = Stream(streaming, TOKENS)
    took = kill(streaming, daemon)
    others_never_noticed(before, pids(streaming), daemon)
    assert int(streaming.show(f"geoos-{daemon}", "NRestarts")) == restarts + 1
    until(lambda: status_when_well(streaming), "status is well again")
    is_news(streaming, daemon)
    if daemon == "engine":
        until(lambda: model_answers(streaming), "the engine has its model", 30)
    what_was_promised_holds(streaming, stream, daemon)
    again = partial(kill, streaming, daemon)
    in_time(record_testsuite_property, f"kill {daemon}", BACK_SECONDS[daemon], took, again)


def kill(machine, daemon):
    pid = pids(machine)[daemon]
    machine.run("systemctl", "kill", "-s", "KILL", "--kill-who=main", f"geoos-{daemon}")
    return wait_until_back(machine, daemon, pid)


@pytest.mark.engine
def test_the_killed_engine_answers_again_in_time(streaming, record_testsuite_property):
    def kill_and_ask():
        kill(streaming, "engine")
        pid = f"_PID={pids(streaming)['engine']}"
        ready = until(lambda: streaming.journal(pid, "GEOOS_EVENT=model ready"), "ready", PATIENCE)
        assert model_answers(streaming)
        ended = int(streaming.show("geoos-engine", "ActiveExitTimestampMonotonic"))
        return (int(ready[0]["__MONOTONIC_TIMESTAMP"]) - ended) / 1e6

    limit = BACK_SECONDS["engine"]
    took = kill_and_ask()
    in_time(record_testsuite_property, "kill engine, to model", limit, took, kill_and_ask)


@pytest.mark.engine
@pytest.mark.parametrize("daemon", ALL)
def test_hung_it_is_named_then_ended_and_its_stack_is_in_the_journal(
    streaming, daemon, record_testsuite_property
):
    before = pids(streaming)
    stream = Stream(streaming, TOKENS)
    hang(streaming, daemon, before[daemon])
    hung_is_named(streaming, daemon)
    took = wait_until_back(streaming, daemon, before[daemon])
    others_never_noticed(before, pids(streaming), daemon)
    said = [str(each["MESSAGE"]) for each in streaming.journal(f"_PID={before[daemon]}")]
    assert any("Fatal Python error: Aborted" in each for each in said)
    assert any("trio/_core/_run.py" in each for each in said), said  # where the loop stood
    systemd = [
        str(each["MESSAGE"])
        for each in streaming.journal("-u", f"geoos-{daemon}", "_PID=1", "-n", "20")
    ]
    assert any("Watchdog timeout" in each for each in systemd)
    if daemon == "engine":
        until(lambda: model_answers(streaming), "the engine has its model", 30)
    what_was_promised_holds(streaming, stream, daemon)

    def again():
        pid = pids(streaming)[daemon]
        hang(streaming, daemon, pid)
        return wait_until_back(streaming, daemon, pid)

    in_time(record_testsuite_property, f"hang {daemon}", BACK_SECONDS[daemon], took, again)


def hang(machine, daemon, pid):
    """Stop the process just after a sign of life, so that the watchdog leaves us the most time."""
    seen = machine.show(f"geoos-{daemon}", "WatchdogTimestampMonotonic")
    until(lambda: machine.show(f"geoos-{daemon}", "WatchdogTimestampMonotonic") != seen, "a sign")
    machine.run("kill", "-STOP", str(pid))


def hung_is_named(machine, daemon):
    """While it hangs: which daemon, why, and what to do."""
    with ThreadPoolExecutor(2) as both:
        asked = [both.submit(machine.call, "geoosctl", "--timeout", "2", verb) for verb in TELL]
    health, status = (each.result() for each in asked)
    remedy = f"sudo geoosctl restart {daemon}"
    first, advice = " ".join(health.stdout.split("\n\n")[0].split()).split(" → ")
    assert health.returncode == 2, health.stdout
    assert first.startswith(f"critical: {'' if daemon == 'control' else 'the '}{daemon}")
    assert "does not answer" in first
    assert advice == remedy
    assert status.returncode == 3
    lines = status.stdout.splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith(f"{daemon} "))
    assert "unreachable" in lines[row]
    assert any(remedy in line for line in lines[row : row + 6]), status.stdout
    assert sum("unreachable" in line for line in lines) == 1


@pytest.mark.engine
@pytest.mark.parametrize("daemon", ALL)
def test_out_of_memory_ends_one_daemon_alone(streaming, daemon, record_testsuite_property):
    used = streaming.show(f"geoos-{daemon}", "MemoryCurrent")
    if not used.isdigit() or int(used) > 1 << 40:
        pytest.skip("the memory controller does not act in this sandbox")
    before = pids(streaming)
    unit, limit = f"geoos-{daemon}.service", int(used) + (48 << 20)
    streaming.run("systemctl", "set-property", "--runtime", unit, f"MemoryMax={limit}")
    try:
        stream = Stream(streaming, TOKENS)
        took = out_of_memory(streaming, daemon)
        others_never_noticed(before, pids(streaming), daemon)
        if daemon != "engine":
            until(lambda: status_when_well(streaming), "status is well again")
            is_news(streaming, daemon)
        what_was_promised_holds(streaming, stream, daemon)
        again = partial(out_of_memory, streaming, daemon)
        in_time(record_testsuite_property, f"oom {daemon}", BACK_SECONDS[daemon], took, again)
    finally:
        streaming.run("systemctl", "set-property", "--runtime", unit, "MemoryMax=")


def out_of_memory(machine, daemon):
    """Have the kernel kill *daemon*, because its cgroup has reached its limit; seconds until it is
    back. The engine's model is in a child of its own, the first to be killed."""
    if daemon == "engine":
        return engine_out_of_memory(machine)
    pid = pids(machine)[daemon]
    eat_memory(machine, pid)
    return wait_until_back(machine, daemon, pid)


def eat_memory(machine, pid):
    """Until the kernel has killed *pid*: it may take the eater first."""

    def is_gone():
        eaten = machine.call("/usr/bin/python3", str(HERE / "memory_hog.py"), str(pid))
        # With cgroup v2, systemd ends the rest of the cgroup too (OOMPolicy=stop).
        assert eaten.returncode in (0, -9, 137, -15, 143), eaten.stderr
        return eaten.returncode == 0

    until(is_gone, f"the kernel has killed {pid}", 60)


def engine_out_of_memory(machine):
    """From the end of the model server, as the engine told it, to the next one's first answer."""
    since = machine.run("date", "+@%s.%6N").strip()
    status = json.loads(machine.run("geoosctl", "--json", "status"))
    engine = next(each for each in status["daemons"] if each["name"] == "engine")
    eat_memory(machine, engine["status"]["details"]["server_pid"])

    def told(*words):
        said = machine.journal("-u", "geoos-engine", "--since", since)
        return [each for each in said if any(word in str(each["MESSAGE"]) for word in words)]

    ended = until(lambda: told("model server ended", "oom-kill"), "its end is told")[0]
    assert "SIGKILL" in str(ended) or "oom" in str(ended)
    ready = until(lambda: told("model ready"), "the engine has its model", PATIENCE)[-1]
    assert model_answers(machine)
    return (int(ready["__MONOTONIC_TIMESTAMP"]) - int(ended["__MONOTONIC_TIMESTAMP"])) / 1e6


def test_who_is_killed_again_and_again_stays_down_and_is_named(streaming):
    """And nothing is lost: the bridge keeps what the compositor has not taken."""
    streaming.call("systemctl", "reset-failed", "geoos-compositor")  # counts starts from now on
    streaming.drop_in("geoos-compositor.service", "[Unit]\nStartLimitBurst=1\n")
    unit = "geoos-compositor"
    try:
        stream = Stream(streaming, TOKENS)
        before = pids(streaming)
        kill(streaming, "compositor")
        streaming.run("systemctl", "kill", "-s", "KILL", "--kill-who=main", unit)
        until(lambda: streaming.show(unit, "ActiveState") == "failed", "systemd gives it up")
        others_never_noticed(before, pids(streaming), "compositor")
        health = streaming.call("geoosctl", "health")
        assert health.returncode == 2
        first, advice = " ".join(health.stdout.split("\n\n")[0].split()).split(" → ")
        assert first.startswith("critical: the compositor does not answer")
        assert advice == "sudo geoosctl start compositor"
        status = streaming.call("geoosctl", "status")
        assert status.returncode == 3
        assert "failed: too often in a short time" in " ".join(status.stdout.split())
        assert "geoosctl start compositor" in status.stdout
        streaming.run("geoosctl", "start", "compositor")
        stream.must_be_whole()
    finally:
        streaming.drop_in("geoos-compositor.service", "")
        streaming.call("geoosctl", "start", "compositor")
