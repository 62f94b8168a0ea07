"""Start, look, reload, stop, boot again."""

import json
import time

import pytest
from conftest import DAEMONS, NO_ENGINE, until

START_SECONDS = 3.0
STOP_SECONDS = 3.0
LOADED_MACHINE = 3
"""Other work on the machine may make it this many times slower before a test fails."""


@pytest.fixture(scope="module")
def running(machine, record_testsuite_property):
    machine.configure(NO_ENGINE)
    began = time.monotonic()
    machine.run("systemctl", "start", "geoos.target")
    took = time.monotonic() - began
    record_testsuite_property("start_seconds", f"{took:.2f}")
    machine.started_in = took
    return machine


def test_ready_in_time(running):
    chain = running.run("systemd-analyze", "critical-chain", "geoos.target")
    assert running.started_in <= START_SECONDS * LOADED_MACHINE, chain
    assert all(running.active(each) for each in DAEMONS)
    assert running.run("systemctl", "--failed", "--no-legend") == ""


def test_it_answers(running):
    for path in ("/", "/metrics", "/api/status"):
        running.run("curl", "-fsS", f"http://127.0.0.1:8765{path}")
    status = json.loads(running.run("geoosctl", "--json", "status"))
    assert {each["state"] for each in status["daemons"]} == {"active"}
    health = running.call("geoosctl", "health")
    assert health.returncode == 1, health.stdout
    assert "no upstream" in health.stdout  # it runs without, and says so


def test_an_unwanted_engine_is_skipped_not_failed(running):
    until(lambda: running.show("geoos-engine", "Result") == "exec-condition", "skipped")
    until(lambda: running.show("geoos-engine", "ActiveState") == "inactive", "it is down")
    assert running.show("geoos-engine", "Result") == "exec-condition"


@pytest.mark.parametrize("daemon", DAEMONS)
def test_reload_returns_when_it_is_done(running, daemon):
    before = running.main_pids()
    running.run("systemctl", "reload", f"geoos-{daemon}")
    assert running.journal("-u", f"geoos-{daemon}", "-n", "3", "MESSAGE=reloaded") or any(
        "reloaded" in str(each["MESSAGE"]) for each in running.journal("-u", f"geoos-{daemon}")
    )
    assert running.main_pids() == before


def test_a_refused_reload_fails_and_changes_nothing(running):
    running.configure("[bridge]\nlisen = '127.0.0.1:1'\n")
    try:
        assert running.call("systemctl", "reload", "geoos-bridge").returncode != 0
        assert running.active("bridge")
    finally:
        running.configure(NO_ENGINE)


def test_stop_leaves_nothing(running):
    began = time.monotonic()
    running.stop_all()
    assert time.monotonic() - began <= STOP_SECONDS * LOADED_MACHINE
    assert running.call("pgrep", "-f", "bin/geoosd").stdout == ""
    assert running.run("ls", "/run/geoos").split() == ["engine.varlink"]
    assert running.call("ls", "/run/geoos/engine.varlink/").returncode != 0  # a link to nothing


def test_everything_is_back_after_a_reboot(running):
    running.run("systemctl", "enable", "geoos.target")
    running.run("geoosctl", "config", "check", "/etc/geoos/geoos.toml")
    running.reboot()
    until(lambda: all(running.active(each) for each in DAEMONS), "all are back")
    assert running.call("geoosctl", "status").returncode == 0
