"""What goes wrong, one daemon or one circumstance at a time; the others go on."""

import json

import pytest
from conftest import DAEMONS, HERE, NO_ENGINE, until

BACK_SECONDS = 2.0
LOADED_MACHINE = 3
VIEW = "/var/tmp/view.jsonl"


@pytest.fixture
def running(machine):
    machine.start_all()
    yield machine
    machine.call("systemctl", "stop", "viewer", "model", "squatter")
    machine.configure(NO_ENGINE)
    machine.stop_all()


@pytest.fixture
def streaming(running):
    """A stream of 120 words at 20 a second, and a viewer who watches it."""
    running.model(120, 0.05)
    script = str(HERE / "steady_viewer.py")
    running.run("rm", "-f", VIEW)
    running.background("viewer", "/opt/geoos/bin/python", script, VIEW)
    until(lambda: running.call("grep", "-q", "Hello", VIEW).returncode == 0, "the viewer is in")
    body = '{"model": "scripted", "stream": true, "messages": []}'
    url = "http://127.0.0.1:1235/v1/chat/completions"
    running.background(
        "client", "sh", "-c", 'exec curl -sN -d "$1" "$2" >/var/tmp/answer', "sh", body, url
    )
    until(lambda: "w5 " in words(running), "words arrive")
    return running


def viewed(machine):
    lines = machine.call("cat", VIEW).stdout.splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def words(machine):
    """All words seen: one by one, and in the snapshots that begin a new epoch."""
    seen = []
    for each in viewed(machine):
        if each["message_type"] == "TokenVisualizationUpdate":
            seen.append(each["payload"])
        elif each["message_type"] == "Snapshot":
            seen += each["payload"]["tokens"]
    return "".join(each["current_token"] for each in seen)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_killed_it_is_back_and_the_others_never_noticed(streaming, daemon):
    before = streaming.main_pids()
    streaming.run("systemctl", "kill", "-s", "KILL", "--kill-who=main", f"geoos-{daemon}")
    until(
        lambda: (
            streaming.main_pids()[daemon] not in (0, before[daemon]) and streaming.active(daemon)
        ),
        f"{daemon} is back",
        BACK_SECONDS * LOADED_MACHINE,
    )
    after = streaming.main_pids()
    assert {each: pid for each, pid in after.items() if each != daemon} == {
        each: pid for each, pid in before.items() if each != daemon
    }
    assert streaming.show(f"geoos-{daemon}", "NRestarts") == "1"
    until(lambda: streaming.call("geoosctl", "status").returncode == 0, "status is well again")
    if daemon == "bridge":  # it carried the request itself
        return
    until(lambda: "w119 " in words(streaming), "the stream's end")
    assert set(words(streaming).split()) == {f"w{index}" for index in range(120)}
    until(lambda: "[DONE]" in streaming.run("cat", "/var/tmp/answer"), "the client's end")


def test_a_hung_daemon_is_ended_and_its_stack_is_in_the_journal(running):
    running.drop_in("geoos-bridge.service", "[Service]\nWatchdogSec=2s\n")
    try:
        running.run("systemctl", "restart", "geoos-bridge")
        pid = running.main_pids()["bridge"]
        running.run("kill", "-STOP", str(pid))
        until(lambda: running.main_pids()["bridge"] not in (0, pid), "restarted")
        said = [str(each["MESSAGE"]) for each in running.journal(f"_PID={pid}")]
        assert any("Fatal Python error" in each for each in said)
        assert any("trio/_core" in each for each in said)
        until(lambda: running.active("bridge"), "active again")
    finally:
        running.drop_in("geoos-bridge.service", "")


@pytest.mark.parametrize(
    ("daemon", "key", "port"),
    [("bridge", "bridge.listen", 1235), ("broadcaster", "broadcaster.listen", 8765)],
)
def test_a_taken_port_is_one_clear_line_and_no_restart(machine, daemon, key, port):
    machine.configure(NO_ENGINE)
    machine.background(
        "squatter", "/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", str(port)
    )
    try:
        until(
            lambda: machine.call("curl", "-s", f"http://127.0.0.1:{port}").returncode == 0, "taken"
        )
        machine.run("systemctl", "start", "geoos.target")
        until(lambda: machine.show(f"geoos-{daemon}", "ActiveState") == "failed", "it gave up")
        assert machine.show(f"geoos-{daemon}", "ExecMainStatus") == "78"
        assert machine.show(f"geoos-{daemon}", "NRestarts") == "0"
        shown = machine.call("systemctl", "status", "--no-pager", "-l", f"geoos-{daemon}").stdout
        assert f"cannot listen on 127.0.0.1:{port}: the port is taken" in shown
        assert key in shown
        assert all(machine.active(each) for each in DAEMONS if each != daemon)
    finally:
        machine.run("systemctl", "stop", "squatter")
        machine.stop_all()


def test_a_bad_configuration_is_one_clear_line_and_no_restart(machine):
    machine.start_all(f"{NO_ENGINE}[compositor]\nfpps = 3\n")
    try:
        for daemon in DAEMONS:
            until(lambda: machine.show(f"geoos-{daemon}", "ActiveState") == "failed", "gave up")  # noqa: B023
            assert machine.show(f"geoos-{daemon}", "ExecMainStatus") == "78"
            assert machine.show(f"geoos-{daemon}", "NRestarts") == "0"
        why = machine.journal("-u", "geoos-bridge", "-p", "err", "-b", "-n", "20")
        assert any("do you mean compositor.fps?" in str(each["MESSAGE"]) for each in why)
    finally:
        machine.configure(NO_ENGINE)
        machine.stop_all()


def test_out_of_memory_ends_one_daemon_alone(running):
    if running.show("geoos-bridge", "MemoryCurrent").startswith("["):
        pytest.skip("the memory controller does not act in this sandbox")
    before = running.main_pids()
    running.drop_in("geoos-broadcaster.service", "[Service]\nMemoryMax=12M\nRestartSec=1s\n")
    try:
        running.call("systemctl", "restart", "geoos-broadcaster")
        killed = running.journal("-u", "geoos-broadcaster")
        said = " ".join(str(each["MESSAGE"]) for each in killed)
        assert "oom-kill" in said or "status=9/KILL" in said  # cgroup v1 does not tell why
    finally:
        running.drop_in("geoos-broadcaster.service", "")
    until(lambda: running.active("broadcaster"), "back by itself")
    for each in set(DAEMONS) - {"broadcaster"}:
        assert running.main_pids()[each] == before[each]


def test_a_full_state_disk_keeps_nobody_from_running(machine):
    state = "/var/lib/geoos/compositor"
    machine.run("mkdir", "-p", state)
    machine.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", state)
    machine.run("chown", "geoos-compositor:geoos", state)
    machine.call("dd", "if=/dev/zero", f"of={state}/fill")  # ends with: no space left
    try:
        machine.start_all()
        assert all(machine.active(each) for each in DAEMONS)
        machine.stop_all()
        assert machine.call("pgrep", "-f", "bin/geoosd").stdout == ""
    finally:
        machine.stop_all()
        machine.run("umount", state)


def test_a_read_only_etc_is_enough(machine):
    machine.configure(NO_ENGINE)
    machine.run("sh", "-c", "mount --bind /etc /etc && mount -o remount,bind,ro /etc")
    try:
        machine.run("systemctl", "start", "geoos.target")
        assert all(machine.active(each) for each in DAEMONS)
    finally:
        machine.stop_all()
        machine.run("umount", "/etc")
