"""Start, look, reload, stop, boot again."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import DAEMONS, NO_ENGINE, in_time, until
from streaming import Stream, watch, words

START_SECONDS = 3.0
STOP_SECONDS = 3.0
SERVICES = [f"geoos-{daemon}.service" for daemon in DAEMONS]


def stamp(machine, unit, name):
    """A time of *unit*, seconds of systemd's monotonic clock."""
    return int(machine.show(unit, f"{name}TimestampMonotonic")) / 1e6


def start_and_measure(machine):
    """Seconds from the first process to the target: READY=1 of all."""
    machine.run("systemctl", "start", "geoos.target")
    began = min(stamp(machine, unit, "InactiveExit") for unit in SERVICES)
    return stamp(machine, "geoos.target", "ActiveEnter") - began


def stop_and_measure(machine):
    """Seconds from the first SIGTERM to the end of the last process."""
    machine.stop_all()
    began = min(stamp(machine, unit, "ActiveExit") for unit in SERVICES)
    return max(stamp(machine, unit, "InactiveEnter") for unit in SERVICES) - began


@pytest.fixture(scope="module")
def running(machine):
    machine.configure(NO_ENGINE)
    machine.started_in = start_and_measure(machine)
    return machine


def test_ready_in_time(running, record_testsuite_property):
    def again():
        running.stop_all()
        return start_and_measure(running)

    in_time(record_testsuite_property, "start", START_SECONDS, running.started_in, again)
    assert all(running.active(each) for each in DAEMONS)
    assert running.run("systemctl", "--failed", "--no-legend") == ""
    # Side by side: no daemon waits for another one's READY=1.
    ready = [stamp(running, unit, "ActiveEnter") for unit in SERVICES]
    assert all(stamp(running, unit, "InactiveExit") < min(ready) for unit in SERVICES)


PROMISED = {
    "Type": "notify",
    "Restart": "always",
    "RestartPreventExitStatus": "78",
    "WatchdogUSec": "10s",
    "OOMPolicy": "stop",
    "Slice": "geoos.slice",
    "StateDirectoryMode": "0700",
}


@pytest.mark.parametrize("daemon", [*DAEMONS, "engine"])
def test_each_unit_is_as_promised(running, daemon):
    """As systemd reads it, drop-ins and defaults included."""
    unit = f"geoos-{daemon}.service"
    assert {name: running.show(unit, name) for name in PROMISED} == PROMISED
    for limit in ("MemoryMax", "TasksMax", "StartLimitBurst"):
        assert running.show(unit, limit).isdigit(), limit
    assert running.show(unit, "StateDirectory") == f"geoos/{daemon}"
    assert running.show(unit, "User") == f"geoos-{daemon}"
    after = set(running.show(unit, "After").split())
    assert not [each for each in after if re.fullmatch(r"geoos-\w+\.service", each)]
    sockets = set(running.show(unit, "TriggeredBy").split())
    assert sockets <= after
    assert bool(sockets) == (daemon != "engine")
    # Nobody waits for the model; the target is there when all others are.
    assert ("geoos.target" in after) == (daemon == "engine")


def test_it_answers(running):
    for path in ("/", "/metrics", "/api/status"):
        running.run("curl", "-fsS", f"http://127.0.0.1:8765{path}")
    text = running.run("geoosctl", "metrics")  # /proc/stat is closed to daemons: ProcSubset=pid
    told = set(re.findall(r'^(process_\w+)\{daemon="(\w+)"\} [1-9]', text, re.MULTILINE))
    assert told >= {("process_resident_memory_bytes", each) for each in DAEMONS}
    assert told >= {("process_start_time_seconds", each) for each in DAEMONS}
    status = json.loads(running.run("geoosctl", "--json", "status"))
    assert {each["state"] for each in status["daemons"]} == {"active"}
    health = running.call("geoosctl", "health")
    assert health.returncode == 1, health.stdout
    assert health.stdout.startswith("warning: no upstream")  # it runs without, and says so
    assert "→" in health.stdout.split("\n\n")[0]  # and what to do


def test_an_unwanted_engine_is_skipped_not_failed(running):
    until(lambda: running.show("geoos-engine", "Result") == "exec-condition", "skipped")
    until(lambda: running.show("geoos-engine", "ActiveState") == "inactive", "it is down")
    assert running.show("geoos-engine", "Result") == "exec-condition"


def level(machine, daemon):
    """The level that *daemon* logs at; sets it to ``info``."""
    call = ("geoosctl", "call", "io.geoos.Daemon.SetLogLevel", '{"level": "info"}')
    return json.loads(machine.run(*call, "--unit", daemon, "--json"))["parameters"]["previous"]


@pytest.mark.parametrize("daemon", DAEMONS)
def test_reload_returns_when_it_is_done(running, daemon):
    before = running.main_pids()
    running.configure(f"{NO_ENGINE}[log]\nlevel = 'warning'\n")
    try:
        running.run("systemctl", "reload", f"geoos-{daemon}")
        assert level(running, daemon) == "warning"  # by now, not soon
    finally:
        running.configure(NO_ENGINE)
    assert running.main_pids() == before


def test_a_reload_needs_no_control_and_is_no_error(running):
    since = running.run("date", "+@%s.%6N").strip()
    running.run("systemctl", "stop", "geoos-control")
    try:
        running.run("systemctl", "reload", "geoos-bridge")
        assert running.journal("-u", "geoos-bridge", "GEOOS_EVENT=reloaded", "--since", since)
        assert running.journal("-u", "geoos-bridge", "-p", "warning", "--since", since) == []
    finally:
        running.run("systemctl", "start", "geoos-control")


def test_a_reload_waits_for_its_daemon(running):
    pid = str(running.main_pids()["bridge"])
    running.run("kill", "-STOP", pid)
    try:
        with ThreadPoolExecutor(1) as another:
            reload = another.submit(running.call, "systemctl", "reload", "geoos-bridge")
            until(lambda: running.show("geoos-bridge", "SubState") == "reload", "it is asked to")
            assert not reload.done()
            running.run("kill", "-CONT", pid)
            assert reload.result().returncode == 0
    finally:
        running.run("kill", "-CONT", pid)
    assert str(running.main_pids()["bridge"]) == pid


def test_a_refused_reload_fails_and_changes_nothing(running):
    running.configure("[bridge]\nlisen = '127.0.0.1:1'\n")
    try:
        assert running.call("systemctl", "reload", "geoos-bridge").returncode != 0
        assert running.active("bridge")
    finally:
        running.configure(NO_ENGINE)


def test_stop_leaves_nothing_also_while_a_stream_runs(running, record_testsuite_property):
    running.model(400, 0.1)
    watch(running)
    Stream(running, 400)
    took = stop_and_measure(running)

    def again():
        running.run("systemctl", "start", "geoos.target")
        running.model(400, 0.1)
        Stream(running, 400)
        return stop_and_measure(running)

    in_time(record_testsuite_property, "stop while a stream runs", STOP_SECONDS, took, again)
    running.run("systemctl", "stop", "viewer", "model")
    running.call("systemctl", "stop", "client")
    assert running.call("pgrep", "-f", "bin/geoosd").stdout == ""
    assert running.run("ls", "/run/geoos").split() == ["engine.varlink"]
    assert running.call("ls", "/run/geoos/engine.varlink/").returncode != 0  # a link to nothing
    users = ",".join(f"geoos-{daemon}" for daemon in (*DAEMONS, "engine"))
    assert running.call("ps", "--no-headers", "-u", users).stdout == ""
    owned = ("find", "/tmp", "/var/tmp", "/dev/shm", "/run", "-xdev", "-user")
    for daemon in DAEMONS:
        assert running.run(*owned, f"geoos-{daemon}", check=False) == ""
    said = running.journal("-u", "geoos-*", "-p", "warning", "-n", "50")
    assert not [each for each in said if "did not end as it should" in str(each["MESSAGE"])]
    assert running.run("systemctl", "--failed", "--no-legend") == ""


# -- any order -------------------------------------------------------------------------------------


def say(machine, first, count):
    """Send numbered messages to ingest, as a producer does, whoever runs or does not."""
    code = (
        "import json, socket, struct, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.connect('/run/geoos/ingest.sock')\n"
        "for n in range(int(sys.argv[1]), int(sys.argv[2])):\n"
        "    token = {'current_token': f'v{n} ', 'sequence_position': n, 'session': 'early'}\n"
        "    message = {'message_type': 'TokenVisualizationUpdate', 'timestamp': time.time()}\n"
        "    data = json.dumps({**message, 'payload': token}).encode()\n"
        "    s.sendall(struct.pack('<I', len(data)) + data)\n"
    )
    machine.run("/usr/bin/python3", "-c", code, str(first), str(first + count))


ORDERS = {
    "the broadcaster first, the compositor last": (
        "broadcaster",
        "control",
        "bridge",
        "compositor",
    ),
    "from the source to the viewer": ("bridge", "compositor", "broadcaster", "control"),
    "from the viewer to the source": ("control", "broadcaster", "compositor", "bridge"),
}


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_and_nothing_is_lost(running, order):
    """A socket may start its daemon earlier than we ask: what is sent before it is ready waits."""
    running.stop_all()
    running.run("systemctl", "start", "geoos-ingest.socket", "geoos-feed.socket")
    say(running, 0, 50)  # by now the compositor is only beginning to start
    for daemon in ORDERS[order]:
        running.run("systemctl", "start", "--no-block", f"geoos-{daemon}")
    say(running, 50, 50)
    until(lambda: all(running.active(each) for each in DAEMONS), "all are up")
    watch(running)
    say(running, 100, 50)
    wanted = list(range(150))
    until(lambda: sorted(words(running, "early")) == wanted, "all that was said has arrived")
    until(lambda: running.call("geoosctl", "status").returncode == 0, "status is well")
    running.run("systemctl", "stop", "viewer")


def boot_waited_for(machine):
    """The daemon that the target had to wait for at boot, and for how many seconds.

    systemd-analyze's critical chain is of the boot alone.
    """
    until(lambda: not machine.run("systemctl", "list-jobs", "--no-legend").strip(), "it is up")
    chain = machine.run("systemd-analyze", "critical-chain", "geoos.target")
    daemons = re.findall(r"geoos-(\w+)\.service.*? \+([\d.]+)(m?s)", chain)
    assert len(daemons) == 1, chain  # none waits for another
    ((name, took, unit),) = daemons
    return name, float(took) / (1000 if unit == "ms" else 1)


def test_everything_is_back_after_a_reboot(running, record_testsuite_property):
    running.start_all()
    before = running.main_pids()
    running.run("systemctl", "enable", "geoos.target")
    running.run("geoosctl", "config", "check", "/etc/geoos/geoos.toml")
    running.reboot()
    until(lambda: all(running.active(each) for each in DAEMONS), "all are back")
    assert running.main_pids() != before
    name, seconds = boot_waited_for(running)
    assert name in DAEMONS  # not the engine
    record_testsuite_property("start at boot", f"{seconds:.2f} s")  # beside all the rest of it
    status = running.call("geoosctl", "status")
    assert status.returncode == 0
    assert "not enabled" not in status.stdout
    for path in ("/", "/metrics", "/api/status"):
        running.run("curl", "-fsS", f"http://127.0.0.1:8765{path}")
    running.model(20, 0.02)
    watch(running)
    Stream(running, 20).must_be_whole()
    # It was shut down, not killed.
    said = running.journal("-u", "geoos-*", "-b", "-p", "warning")
    assert not [each for each in said if "did not end as it should" in str(each["MESSAGE"])]
