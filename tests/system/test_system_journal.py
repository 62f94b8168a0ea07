"""What an administrator finds in the journal."""

import json

import pytest
from conftest import NO_ENGINE, until


@pytest.fixture(scope="module")
def prompted(machine):
    """A machine on which one session has ended; and that session's id."""
    machine.start_all()
    machine.model(3, 0)
    machine.run("geoosctl", "prompt", "hello", "--model", "scripted")
    with_session = until(
        lambda: [each for each in machine.journal("-u", "geoos-bridge") if "GEOOS_SESSION" in each],
        "a record with a session",
    )
    return machine, with_session[-1]["GEOOS_SESSION"]


def test_a_session_is_found_by_its_field(prompted):
    machine, session = prompted
    found = machine.journal(f"GEOOS_SESSION={session}")
    assert found
    assert {each["GEOOS_SESSION"] for each in found} == {session}
    assert {each["_SYSTEMD_UNIT"] for each in found} <= {
        f"geoos-{daemon}.service" for daemon in ("bridge", "compositor", "broadcaster", "control")
    }


def test_records_have_priorities_and_say_where_they_come_from(prompted):
    machine, _ = prompted
    for each in machine.journal("-u", "geoos-bridge", "SYSLOG_IDENTIFIER=geoos-bridge"):
        assert each["PRIORITY"] in {"2", "3", "4", "5", "6", "7"}
        assert each["GEOOS_DAEMON"] == "bridge"


def test_warnings_alone(prompted):
    machine, _ = prompted
    machine.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: machine.active("bridge"), "back")
    found = until(lambda: machine.journal("-u", "geoos-bridge", "-p", "warning"), "a warning")
    assert any("last run did not end" in str(each["MESSAGE"]) for each in found)
    assert all(int(each["PRIORITY"]) <= 4 for each in found)


def test_json_line_by_line(prompted):
    machine, _ = prompted
    machine.configure(f'{NO_ENGINE}[log]\nformat = "json"\n')
    machine.run("systemctl", "restart", "geoos-bridge")
    until(lambda: machine.active("bridge"), "active")
    pid = machine.main_pids()["bridge"]
    machine.run("journalctl", "--sync")
    lines = machine.run("journalctl", "-o", "cat", f"_PID={pid}").splitlines()
    records = [json.loads(line) for line in lines]
    assert any(each["event"] == "ready" for each in records)
    assert all({"timestamp", "level", "event", "daemon"} <= set(each) for each in records)
