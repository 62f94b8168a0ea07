"""Every event worth an alert happens for real: found by its id, explained by ``journalctl -x``."""

import re

import pytest
from conftest import NO_ENGINE, until
from streaming import Stream, watch

from geoosd.wire import events

INJECTED = "/var/tmp/injected"
PLACES = "/var/lib/geoos/compositor/places.json"

FAILING_METHOD = """
from geoosd.runtime.daemon import DaemonInterface

async def fail(self, call):
    raise LookupError("injected")

DaemonInterface._get_metrics = fail
"""
HANGING_THREADS = """
import threading
from geoosd.runtime import watchdog

watchdog._nothing = threading.Event().wait
"""


@pytest.fixture(scope="module")
def running(machine):
    machine.run("journalctl", "--update-catalog")  # the tree was staged, which does not do it
    machine.start_all()
    machine.model(3, 0)
    return machine


def inject(machine, daemon, code, more=""):
    """Have *daemon* run *code* before its own, from its next start on; an empty one ends that."""
    machine.write(f"{INJECTED}/sitecustomize.py", code)
    machine.run("chmod", "-R", "a+rX", INJECTED)
    text = f"[Service]\nEnvironment=PYTHONPATH={INJECTED}\nPrivateTmp=no\n{more}" if code else ""
    machine.drop_in(f"geoos-{daemon}.service", text)
    machine.run("systemctl", "restart", f"geoos-{daemon}")


def limit_files(machine, daemon, size):
    """No file of *daemon*'s may grow beyond *size*: its disk is full, as far as it can tell."""
    limit = ("prlimit", f"--pid={machine.main_pids()[daemon]}", f"--fsize={size}:")
    machine.run(*limit, user=f"geoos-{daemon}", group="geoos")


def told(machine, event, since):
    return machine.journal(f"MESSAGE_ID={event.message_id}", "--since", since)


# -- what happens ----------------------------------------------------------------------------------


def restart(machine, _since):
    machine.run("systemctl", "restart", "geoos-bridge")


def bad_configuration(machine, _since):
    machine.configure(f"[bridge]\nlisen = 'x'\n{NO_ENGINE}")
    machine.call("systemctl", "restart", "geoos-bridge")
    until(lambda: machine.show("geoos-bridge", "ActiveState") == "failed", "it stays down")
    machine.configure(NO_ENGINE)
    machine.run("geoosctl", "start", "bridge")


def kill(machine, _since):
    before = machine.main_pids()
    machine.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: machine.main_pids()["bridge"] not in (0, before["bridge"]), "another process")


def bugs(machine, since):
    """One is caught; after twenty within a minute the daemon is started afresh."""
    inject(machine, "broadcaster", FAILING_METHOD)
    try:
        socket = ("--socket", "/run/geoos/broadcaster.varlink")
        ask = "for i in $(seq 20); do geoosctl $* call io.geoos.Daemon.GetMetrics; done"
        until(lambda: machine.active("broadcaster"), "it runs")
        answer = machine.call("sh", "-c", ask, "sh", *socket)
        assert "LookupError" not in answer.stdout  # a bug's words are for the log
        until(lambda: told(machine, events.CRASHED, since), "it ends")
        found = told(machine, events.BUG, since)
        ended = sum(each["_PID"] == found[0]["_PID"] for each in found)  # the next has bugs too
        assert ended in (20, 21)  # control may be asking at the same moment
    finally:
        inject(machine, "broadcaster", "")


def hang_threads(machine, since):
    """The loop lives and the daemon's threads do not: no sign of life, and the watchdog acts."""
    inject(machine, "control", HANGING_THREADS, "WatchdogSec=2s\n")
    try:
        hung = until(lambda: told(machine, events.HUNG, since), "it is told")
        assert hung[0]["GEOOS_PART"] == "a worker thread"
        until(lambda: "Aborted" in str(machine.journal(f"_PID={hung[0]['_PID']}")), "it is ended")
    finally:
        inject(machine, "control", "")
        until(lambda: machine.active("control"), "it runs again")


def reload(machine, _since):
    machine.run("systemctl", "reload", "geoos-bridge")


def refused_reload(machine, _since):
    machine.configure(f"[bridge]\nlisen = 'x'\n{NO_ENGINE}")
    assert machine.call("systemctl", "reload", "geoos-bridge").returncode
    machine.configure(NO_ENGINE)


def model_dies(machine, since):
    """In the middle of an answer; it is lost, and found again."""
    machine.model(400, 0.05)
    watch(machine)
    stream = Stream(machine, 400)
    machine.run("systemctl", "kill", "-s", "KILL", "model")
    until(stream.ended, "the viewer is told")
    until(lambda: told(machine, events.UPSTREAM_LOST, since), "its loss is told")
    machine.model(3, 0)
    machine.run("systemctl", "stop", "viewer")


def disk_is_full(machine, since):
    """For the map and for the recordings; then there is room again."""
    asked = ("geoosctl", "prompt", "hello", "--model", "scripted")
    for daemon in ("bridge", "compositor"):
        limit_files(machine, daemon, 0)
    machine.run(*asked)
    machine.run("geoosctl", "theme", "set", "aurora")  # is saved at once
    for event in (events.RECORDING_STOPPED, events.SAVE_FAILED):
        until(lambda: told(machine, event, since), event.name, 40)  # noqa: B023
    for daemon in ("bridge", "compositor"):
        limit_files(machine, daemon, "unlimited")
    until(lambda: told(machine, events.RECORDING_RESUMED, since), "it records again", 40)


def damaged_state(machine, _since):
    machine.run("systemctl", "stop", "geoos-compositor")
    machine.write(PLACES, "not what we wrote")
    machine.run("geoosctl", "start", "compositor")


def alert(machine, since):
    """A daemon hangs, and the address for alerts does not take the news; then it goes on."""
    rules = '[control]\nalerts = ["daemons_down > 0"]\nwebhook = "http://127.0.0.1:9/secret"\n'
    machine.configure(f"{rules}{NO_ENGINE}")
    machine.run("systemctl", "reload", "geoos-control")
    machine.run("systemctl", "kill", "-s", "STOP", "geoos-broadcaster")
    fired = until(lambda: told(machine, events.ALERT_FIRED, since), "it fires", 20)
    assert fired[0]["GEOOS_ALERT"] == "daemons_down > 0"
    machine.run("systemctl", "kill", "-s", "CONT", "geoos-broadcaster")
    lost = until(lambda: told(machine, events.ALERT_NOT_POSTED, since), "it is not posted", 40)
    assert "secret" not in str(lost)
    until(lambda: told(machine, events.ALERT_RESOLVED, since), "it resolves", 60)
    machine.configure(NO_ENGINE)
    machine.run("systemctl", "reload", "geoos-control")


HAPPENS = {
    restart: {"bridge": (events.STOPPED, events.READY)},
    bad_configuration: {"bridge": (events.CANNOT_START,)},
    kill: {
        "bridge": (events.ENDED_BADLY,),
        "control": (events.DAEMON_LOST, events.DAEMON_RESTARTED),
    },
    bugs: {"broadcaster": (events.BUG, events.CRASHED)},
    hang_threads: {"control": (events.HUNG,)},
    reload: {"bridge": (events.RELOADED,)},
    refused_reload: {"bridge": (events.RELOAD_REFUSED,)},
    model_dies: {"bridge": (events.REQUEST_FAILED, events.UPSTREAM_LOST, events.UPSTREAM_READY)},
    disk_is_full: {
        "bridge": (events.RECORDING_STOPPED, events.RECORDING_RESUMED),
        "compositor": (events.SAVE_FAILED,),
    },
    damaged_state: {"compositor": (events.STATE_SET_ASIDE,)},
    alert: {"control": (events.ALERT_FIRED, events.ALERT_RESOLVED, events.ALERT_NOT_POSTED)},
}
"""What is done, and the events that each daemon then tells of."""

NEEDS_A_GPU = [events.GPU_FAILED]
"""There is none in a sandbox; tests of the compositor's backends make one fail."""

HARMLESS = (
    events.READY,
    events.STOPPED,
    events.RELOADED,
    events.UPSTREAM_READY,
    events.RECORDING_RESUMED,
    events.ALERT_RESOLVED,
)
"""Whoever looks for warnings does not want these."""


def test_every_event_happens_here():
    happens = [event for each in HAPPENS.values() for told in each.values() for event in told]
    happens += NEEDS_A_GPU
    assert sorted(event.name for event in happens) == sorted(event.name for event in events.EVENTS)


@pytest.mark.parametrize("what", HAPPENS, ids=lambda each: each.__name__)
def test_an_event_is_found_by_its_id_and_explained(running, what):
    since = running.run("date", "+@%s.%6N").strip()
    what(running, since)
    for daemon, expected in HAPPENS[what].items():
        unit = f"_SYSTEMD_UNIT=geoos-{daemon}.service"
        for event in expected:
            found = until(
                lambda: running.journal(unit, f"MESSAGE_ID={event.message_id}", "--since", since),  # noqa: B023
                event.name,
            )
            assert (int(found[-1]["PRIORITY"]) > 4) == (event in HARMLESS), found[-1]
            asked = (unit, f"MESSAGE_ID={event.message_id}", "--since", since)
            shown = running.run("journalctl", "-x", "--no-pager", "-n", "1", *asked)
            explained = "\n".join(line.removeprefix("░░ ") for line in shown.splitlines())
            for text in (f"Subject: {event.subject}", event.meaning, event.remedy):
                assert filled(text, found[-1]) in explained
            assert "Documentation: man:geoosd(8)" in explained
    until(lambda: running.call("geoosctl", "status").returncode == 0, "all is well again")


def filled(text, entry):
    """*text* of the catalog with the fields of *entry*, all of which must be there."""
    return re.sub("@([A-Z_]+)@", lambda field: entry[field[1]], text)


def test_a_client_that_hangs_up_is_nobodys_alert(running):
    running.model(400, 0.05)
    watch(running)
    stream = Stream(running, 400)
    running.run("systemctl", "stop", "client")
    until(stream.ended, "the viewer is told")
    asked = (f"GEOOS_SESSION={stream.session}", "GEOOS_EVENT=request ended")
    (said,) = until(lambda: running.journal(*asked), "it is logged")
    assert said["GEOOS_ERROR"] == "the client went away"
    assert said["PRIORITY"] == "6"
    assert "MESSAGE_ID" not in said
    running.run("systemctl", "stop", "viewer")
