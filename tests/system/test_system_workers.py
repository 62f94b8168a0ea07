"""The broadcaster with ``workers = 2`` under systemd: one unit, three processes."""

import json

import pytest
from conftest import NO_ENGINE, until

RESTARTS = "broadcast_worker_restarts_total"


@pytest.fixture(scope="module")
def running(machine):
    machine.start_all(f"{NO_ENGINE}[broadcaster]\nworkers = 2\n")
    return machine


def workers_of(machine):
    pid = machine.main_pids()["broadcaster"]
    return set(machine.run("cat", f"/proc/{pid}/task/{pid}/children").split())


def details(machine):
    daemons = json.loads(machine.call("geoosctl", "--json", "status").stdout)["daemons"]
    [found] = [each for each in daemons if each["name"] == "broadcaster"]
    return (found["status"] or {}).get("details", {})


def test_it_is_ready_when_both_are(running):
    assert running.active("broadcaster")
    assert len(workers_of(running)) == 2
    assert details(running)["workers"] == "2 of 2"
    for path in ("/", "/metrics", "/healthz"):
        assert running.call("curl", "-sS", f"http://127.0.0.1:8765{path}").returncode == 0
    said = running.journal("-u", "geoos-broadcaster")
    ready = {each["_PID"] for each in said if each["MESSAGE"].startswith("ready ")}
    assert workers_of(running) < ready, "workers log to the journal themselves"
    running.run("systemctl", "reload", "geoos-broadcaster")
    for pid in workers_of(running):  # else none gives its keeper a sign of life
        assert f"WATCHDOG_PID={pid}" in running.run("cat", f"/proc/{pid}/environ").split("\0")


def test_a_worker_that_is_killed_is_replaced(running):
    main, before = running.main_pids()["broadcaster"], workers_of(running)
    running.run("kill", "-9", min(before))
    until(lambda: len(workers_of(running) - before) == 1, "a new worker")
    until(lambda: details(running).get("workers") == "2 of 2", "both are there")
    assert running.main_pids()["broadcaster"] == main
    assert running.show("geoos-broadcaster", "NRestarts") == "0"
    said = [each["MESSAGE"] for each in running.journal(f"_PID={main}", "-p", "err")]
    assert len(said) == 1, said
    assert "killed by SIGKILL; restarting" in said[0]
    assert RESTARTS in running.run("curl", "-fsS", "http://127.0.0.1:8765/metrics")


def test_all_go_with_the_unit_and_come_with_it(running):
    before = workers_of(running)
    running.run("kill", "-9", str(running.main_pids()["broadcaster"]))
    until(lambda: details(running).get("workers") == "2 of 2", "all are there again")
    assert not before & workers_of(running)
    assert running.active("broadcaster")
    running.stop_all()
    alive = running.call("pgrep", "-f", "geoosd broadcaster")
    assert alive.stdout == ""
