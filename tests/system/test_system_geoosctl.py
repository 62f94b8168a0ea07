"""geoosctl start, stop, restart and status: what they do to the units and say of them."""

import json

import jsonschema
import pytest
from conftest import DAEMONS, NO_ENGINE, ROOT, until
from runbook import runbook

NARROW = {"COLUMNS": "80"}
UNPRIVILEGED = 77
BAD_CONFIGURATION = 78
SOCKETS = {
    "bridge": ["geoos-bridge"],
    "compositor": ["geoos-compositor", "geoos-ingest", "geoos-feed"],
    "broadcaster": ["geoos-broadcaster"],
    "control": ["geoos-control"],
}


@pytest.fixture
def running(machine):
    """Everything runs, by geoosctl's doing."""
    machine.configure(NO_ENGINE)
    machine.run("geoosctl", "start")
    return machine


@pytest.fixture(scope="module")
def member(machine):
    machine.run("useradd", "--groups", "geoos", "member")
    return "member"


def status(machine):
    """What ``status --json`` says, and of each daemon by name."""
    found = json.loads(machine.call("geoosctl", "--json", "status").stdout)
    return found, {each["name"]: each for each in found["daemons"]}


def shown(machine, *verb):
    """What a person sees in a terminal of 80 columns, in one line; and the exit code."""
    answer = machine.call("geoosctl", *verb, environ=NARROW)
    said = answer.stdout + answer.stderr
    # A command or a name may be longer than what fits; prose may not.
    assert [line for line in said.splitlines() if len(line) > 80] == []
    return " ".join(said.split()), answer.returncode


def sockets(machine, daemon):
    return {machine.show(f"{name}.socket", "ActiveState") for name in SOCKETS[daemon]}


def missed(machine, daemon):
    """Whether control has asked a daemon in vain."""
    checks = json.loads(machine.call("geoosctl", "--json", "health").stdout)["checks"]
    return any(
        check["name"] == f"{daemon}: process" and check["status"] != "healthy" for check in checks
    )


def test_start_and_what_status_says(running):
    said, code = shown(running, "start")  # again: nothing happens to what runs
    assert code == 0
    found, daemons = status(running)
    assert (found["state"], found["manager"], found["enabled"]) == ("active", "system", False)
    for name, pid in running.main_pids().items():
        assert f"{name} active pid {pid}" in said
        unit = daemons[name]["unit"]
        assert (unit["active"], unit["pid"], unit["restarts"]) == ("active", pid, 0)
        assert (unit["result"], unit["last_error"]) == ("success", None)


def test_whether_it_is_enabled(running):
    assert "not enabled" in shown(running, "status")[0]
    remedy = "systemctl enable geoos.target"
    assert f"sudo {remedy}" in shown(running, "status")[0]
    running.run(*remedy.split())
    try:
        assert "not enabled" not in shown(running, "status")[0]
        assert status(running)[0]["enabled"] is True
    finally:
        running.run("systemctl", "disable", "geoos.target")


@pytest.mark.parametrize("daemon", ["bridge", "compositor"])
@pytest.mark.parametrize("tool", ["geoosctl", "systemctl"])
def test_one_that_is_stopped_stays_stopped(running, daemon, tool):
    """Although control, and whoever has a link to it, go on trying its sockets."""
    before = running.main_pids()
    running.run(tool, "stop", daemon if tool == "geoosctl" else f"geoos-{daemon}")
    until(lambda: sockets(running, daemon) == {"inactive"}, "no socket is left")

    until(lambda: missed(running, daemon), "control has tried")
    said, code = shown(running, "status")
    assert code == 3
    assert "geoos is degraded: 3 of 4 daemons active" in said
    assert f"stopped by the administrator → sudo geoosctl start {daemon}" in said
    assert running.show(f"geoos-{daemon}", "ActiveState") == "inactive"
    # What was wanted is no fault, and neither is what the others miss because of it.
    said, code = shown(running, "health")
    assert code == 1
    assert said.startswith(
        f"warning: the {daemon} is stopped → sudo geoosctl start {daemon} warning {daemon}: process"
    )
    health = json.loads(running.call("geoosctl", "--json", "health").stdout)
    assert {each["status"] for each in health["checks"]} == {"healthy", "warning"}
    others = {name: pid for name, pid in before.items() if name != daemon}
    assert {name: running.main_pids()[name] for name in others} == others

    said, code = shown(running, "start", daemon)
    assert (code, said) == (0, f"{daemon} active pid {running.main_pids()[daemon]}")
    assert sockets(running, daemon) == {"active"}


def test_a_stopped_control_is_told_as_that(running):
    running.run("geoosctl", "stop", "control")
    said, code = shown(running, "health")
    assert code == 1
    assert said.startswith("warning: control is stopped; what the others find is not")
    assert "→ sudo geoosctl start control" in said
    said, code = shown(running, "status")
    assert code == 3
    assert "stopped by the administrator → sudo geoosctl start control" in said
    assert shown(running, "start", "control")[1] == 0
    until(lambda: running.call("geoosctl", "status").returncode == 0, "all is well again")


def test_a_masked_one_is_told_as_that(running):
    running.run("geoosctl", "stop", "broadcaster")
    running.run("systemctl", "mask", "--runtime", "geoos-broadcaster")
    try:
        said, code = shown(running, "health")
        assert code == 1
        unmask = "sudo systemctl unmask geoos-broadcaster.service"
        assert said.startswith(f"warning: the broadcaster is masked → {unmask}")
        assert f"masked: it is kept from starting → {unmask}" in shown(running, "status")[0]
        assert shown(running, "start")[1] == 0  # the others run, and this one is not wanted
    finally:
        running.run("systemctl", "unmask", "--runtime", "geoos-broadcaster")


def test_restart_keeps_the_sockets(running):
    before = running.main_pids()
    opened = [running.show("geoos-ingest.socket", "ActiveEnterTimestampMonotonic")]
    assert shown(running, "restart", "compositor")[1] == 0
    assert shown(running, "restart")[1] == 0
    opened.append(running.show("geoos-ingest.socket", "ActiveEnterTimestampMonotonic"))
    assert opened[0] == opened[1]
    after = running.main_pids()
    assert all(after[name] != before[name] for name in DAEMONS)


def test_a_crash_is_counted_and_told(running):
    opened = running.show("geoos-bridge.socket", "ActiveEnterTimestampMonotonic")
    running.run("geoosctl", "restart", "bridge")
    running.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: running.show("geoos-bridge", "NRestarts") == "1", "systemd restarted it")
    until(lambda: running.active("bridge"), "it is back")
    running.run("journalctl", "--sync")
    unit = status(running)[1]["bridge"]["unit"]
    assert (unit["restarts"], unit["last_exit"]) == (1, "killed by SIGKILL")
    assert "systemd restarted it once (killed by SIGKILL)" in shown(running, "status")[0]
    assert running.show("geoos-bridge.socket", "ActiveEnterTimestampMonotonic") == opened


def failed(machine, verb, daemon, why):
    """*verb* ends with 78 and says *why*; so does ``status``, after control has looked again."""
    said, code = shown(machine, *verb)
    machine.run("journalctl", "--sync")
    assert code == BAD_CONFIGURATION, said
    assert f"{daemon} failed failed: exited with 78 {why}" in said
    assert f"→ mend that; then: sudo geoosctl start {daemon}" in said
    until(lambda: missed(machine, daemon), "control has looked")
    said, code = shown(machine, "health")
    assert code == 2
    assert said.startswith(f"critical: the {daemon} does not answer: it cannot start: {why}")
    assert f"→ mend that; then: sudo geoosctl start {daemon}" in said
    said, code = shown(machine, "status")
    assert code == 3
    assert f"failed: exited with 78 last error: {why}" in said
    unit = status(machine)[1][daemon]["unit"]
    assert (unit["active"], unit["exit_code"], unit["restarts"]) == ("failed", 78, 0)
    assert unit["last_error"].startswith(why)
    assert machine.show(f"geoos-{daemon}", "NRestarts") == "0"
    assert sockets(machine, daemon) == {"inactive"}  # so that nobody starts it by asking it


def test_a_bad_configuration(running):
    # The engine, which is still being asked whether it is wanted, would read the bad file too.
    until(lambda: running.show("geoos-engine", "ActiveState") == "inactive", "it is skipped")
    running.configure(f'[bridge]\nlisen = "127.0.0.1:1"\n{NO_ENGINE}')
    why = "cannot use /etc/geoos/geoos.toml: unknown key bridge.lisen; do you mean bridge.listen?"
    failed(running, ["restart", "bridge"], "bridge", why)
    running.configure(NO_ENGINE)
    assert shown(running, "start", "bridge")[1] == 0
    until(lambda: status(running)[0]["state"] == "active", "all is well again")


def test_a_taken_port(running):
    running.run("geoosctl", "stop", "broadcaster")
    running.background(
        "squatter", "/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", "8765"
    )
    try:
        taken = "http://127.0.0.1:8765"
        until(lambda: running.call("curl", "-s", taken).returncode == 0, "the port is taken")
        why = "cannot listen on 127.0.0.1:8765: the port is taken"
        failed(running, ["start", "broadcaster"], "broadcaster", why)
    finally:
        running.run("systemctl", "stop", "squatter")
    assert shown(running, "start")[1] == 0
    until(lambda: status(running)[0]["state"] == "active", "all is well again")


def test_start_leaves_alone_what_is_on_its_way_down(running):
    """Else systemd would forget that the engine is being skipped, and start it again."""
    running.run("geoosctl", "stop")
    running.drop_in("geoos-engine.service", "[Service]\nExecStopPost=/bin/sleep 2\n")
    since = running.run("date", "+@%s.%6N").strip()
    try:
        running.run("systemctl", "start", "geoos.target")
        until(
            lambda: running.show("geoos-engine", "SubState") == "stop-post", "it is being skipped"
        )
        assert "engine deactivating" in shown(running, "start")[0]
        until(lambda: running.show("geoos-engine", "ActiveState") == "inactive", "it is down")
        assert running.show("geoos-engine", "Result") == "exec-condition"
        assert running.show("geoos-engine", "NRestarts") == "0"
        asked = running.journal("-u", "geoos-engine", "--since", since, "-g", "not wanted")
        assert len(asked) == 1
    finally:
        running.drop_in("geoos-engine.service", "")


def test_a_start_does_not_forget_the_restarts_of_what_runs(running):
    running.run("geoosctl", "restart", "bridge")
    running.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: running.show("geoos-bridge", "NRestarts") == "1", "systemd restarted it")
    until(lambda: running.active("bridge"), "it is back")
    assert shown(running, "start")[1] == 0
    assert running.show("geoos-bridge", "NRestarts") == "1"


def test_who_starts_and_stops_all_the_time_is_not_refused(running):
    """Although systemd refuses what was started 8 times within 30 s (StartLimitBurst=)."""
    for _ in range(6):
        for verb in (("restart", "control"), ("stop", "control"), ("start", "control")):
            said, code = shown(running, *verb)
            assert code == 0, said


@pytest.mark.parametrize("verb", [("start",), ("stop",), ("restart",), ("stop", "bridge")])
def test_who_may_not_is_told_how(running, member, verb):
    before = running.main_pids()
    answer = running.call("geoosctl", *verb, user=member)
    assert answer.returncode == UNPRIVILEGED
    asked = " ".join(verb)
    said = f"geoosctl: cannot {asked}: systemd refuses it to you; use: sudo geoosctl {asked}\n"
    assert (answer.stdout, answer.stderr) == ("", said)
    assert running.main_pids() == before


def test_json_says_what_became_of_each(running):
    units = json.loads(running.run("geoosctl", "--json", "restart", "control"))["units"]
    assert list(units) == ["control"]
    assert units["control"]["pid"] == running.main_pids()["control"]
    assert set(units["control"]) == set(status(running)[1]["control"]["unit"])
    schema = json.loads((ROOT / "docs/api/geoosctl.schema.json").read_text(encoding="utf-8"))
    for verb, *options in (["restart", "control"], ["start"], ["stop", "engine"], ["status"]):
        told = json.loads(running.call("geoosctl", "--json", verb, *options).stdout)
        jsonschema.validate(told, {**schema, "$ref": f"#/$defs/verb:%20{verb}"})


def test_the_runbooks_commands_work(running):
    commands = runbook("### Start and stop")
    assert len(commands) == 7
    for command in commands:
        asked = ["bash", "-c", command.removeprefix("sudo ")]
        until(lambda: running.call(*asked).returncode == 0, command)  # noqa: B023
    assert running.call("pgrep", "-f", "bin/geoosd").stdout == ""


def test_stop_leaves_nothing(running):
    said, code = shown(running, "stop")
    assert code == 0
    assert said == "compositor inactive bridge inactive broadcaster inactive " + (
        "control inactive engine inactive"
    )
    assert running.call("pgrep", "-f", "bin/geoosd").stdout == ""
    assert running.run("ls", "/run/geoos").split() == ["engine.varlink"]  # a link to nothing
    left = running.run("systemctl", "list-units", "--no-legend", "--state=active", "geoos-*")
    assert left == ""
    said, code = shown(running, "status")
    assert (code, said) == (3, "geoos is stopped start it: sudo systemctl start geoos.target")
