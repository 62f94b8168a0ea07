"""What ``geoosctl health`` says of faults under systemd, and the way back, each remedy typed as
it is printed: docs/health/faults-systemd.md, held true.

After a change that is meant: ``GEOOS_WRITE_FAULTS=1 make test-system ARGS="-k system_health"``.
"""

import json
import os
import re
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import HERE, ROOT, until

TABLE = ROOT / "docs/health/faults-systemd.md"
WRITE = bool(os.environ.get("GEOOS_WRITE_FAULTS"))
CONFIG = "[engine]\nenabled = 'no'\n"
BROKEN = f"[bridge]\nlisen = 'x'\n{CONFIG}"
RUN = "/run/geoos"
STATE = "/var/lib/geoos/control"
BACKUPS = "/var/lib/geoos/backup"

BY_ITSELF = "by itself"
REMEDY = "by the printed remedy"
AND_NEXT = "by the printed remedy, and the one printed then"
UNDONE = "when the cause was gone"


@pytest.fixture(scope="module")
def running(machine):
    # Root needs no sudo; whoever types a remedy does.
    machine.write("/usr/local/bin/sudo", '#!/bin/sh\nexec "$@"\n')
    machine.run("chmod", "755", "/usr/local/bin/sudo")
    machine.run("mkdir", "-p", STATE)
    machine.run("mount", "-t", "tmpfs", "-o", "size=600m,mode=0700", "none", STATE)
    machine.start_all(CONFIG)
    machine.model(1, 0)
    return machine


def health(machine):
    done = machine.call("geoosctl", "--timeout", "2", "--json", "health")
    return done.returncode, json.loads(done.stdout)


# -- the faults ------------------------------------------------------------------------------------


def port_taken(machine):
    machine.run("systemctl", "stop", "geoos-bridge")
    squatter = ("/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", "1235")
    machine.background("squatter", *squatter)
    until(lambda: machine.call("curl", "-s", "http://127.0.0.1:1235").returncode == 0, "taken")
    machine.call("systemctl", "start", "geoos-bridge")
    yield
    machine.run("systemctl", "stop", "squatter")


def broken_at_a_restart(machine):
    machine.configure(BROKEN)
    machine.call("systemctl", "restart", "geoos-broadcaster")
    yield
    machine.configure(CONFIG)


def broken_at_a_reload(machine):
    machine.configure(BROKEN)
    assert machine.call("systemctl", "reload", "geoos-bridge").returncode
    yield
    machine.configure(CONFIG)


def typed(*command):
    """A fault that one command makes."""

    def inject(machine):
        machine.run(*command)
        yield

    return inject


def signalled(daemon, name):
    return typed("systemctl", "kill", "-s", name, "--kill-who=main", f"geoos-{daemon}")


def given_up(machine):
    machine.drop_in("geoos-compositor.service", "[Unit]\nStartLimitBurst=1\n")
    kill = ("systemctl", "kill", "-s", "KILL", "--kill-who=main", "geoos-compositor")
    machine.call("systemctl", "reset-failed", "geoos-compositor")
    before = machine.show("geoos-compositor", "MainPID")
    machine.run(*kill)
    until(lambda: machine.show("geoos-compositor", "MainPID") not in ("0", before), "a restart")
    until(lambda: machine.active("compositor"), "it runs")
    machine.run(*kill)
    until(lambda: machine.show("geoos-compositor", "ActiveState") == "failed", "given up")
    machine.drop_in("geoos-compositor.service", "")
    yield


def out_of_memory(machine):
    used = machine.show("geoos-bridge", "MemoryCurrent")
    if not used.isdigit() or int(used) > 1 << 40:
        pytest.skip("the memory controller does not act in this sandbox")
    limit = ("systemctl", "set-property", "--runtime", "geoos-bridge.service")
    machine.run(*limit, f"MemoryMax={int(used) + (48 << 20)}")
    pid = str(machine.main_pids()["bridge"])
    machine.call("/usr/bin/python3", str(HERE / "memory_hog.py"), pid)
    yield
    machine.run(*limit, "MemoryMax=")


def disk_full(machine):
    machine.run("fallocate", "-l", "580M", f"{STATE}/filler")
    yield
    machine.run("rm", f"{STATE}/filler")


def model_server_ends(machine):
    machine.run("systemctl", "stop", "model")
    yield
    machine.model(1, 0)


def backup_fails(machine):
    machine.run("mkdir", "-p", BACKUPS)
    machine.run("mount", "-t", "tmpfs", "-o", "size=4k", "none", BACKUPS)
    machine.call("dd", "if=/dev/zero", f"of={BACKUPS}/fill")  # ends with: no space left
    assert machine.call("systemctl", "start", "geoos-backup.service").returncode
    yield
    machine.run("umount", BACKUPS)
    machine.run("systemctl", "start", "geoos-backup.service")


@dataclass(frozen=True)
class Fault:
    """``says`` is a part of the root cause that is there once health has found it."""

    name: str
    inject: Any
    says: str
    back: str = REMEDY
    seconds: float = 20.0


FAULTS = (
    Fault("the bridge's port is taken", port_taken, "the port is taken"),
    Fault("a broken configuration at a restart", broken_at_a_restart, "it cannot start"),
    Fault("a broken configuration at a reload", broken_at_a_reload, "a reload was refused"),
    Fault("ingest.sock lets nobody in", typed("chmod", "0", f"{RUN}/ingest.sock"), "has mode"),
    Fault("feed.sock lets everybody in", typed("chmod", "666", f"{RUN}/feed.sock"), "has mode"),
    Fault("feed.sock is gone", typed("rm", f"{RUN}/feed.sock"), "feed.sock is gone"),
    Fault("a daemon's socket is gone", typed("rm", f"{RUN}/bridge.varlink"), "no socket"),
    Fault("the broadcaster is stopped", typed("geoosctl", "stop", "broadcaster"), "is stopped"),
    Fault(
        "the bridge is masked",
        typed("systemctl", "mask", "--now", "geoos-bridge.service"),
        "is masked",
        AND_NEXT,
    ),
    Fault("control is stopped", typed("geoosctl", "stop", "control"), "control is stopped"),
    Fault("all are stopped", typed("geoosctl", "stop"), "not running"),
    Fault("the bridge is killed", signalled("bridge", "KILL"), "the bridge restarted", BY_ITSELF),
    Fault("the compositor hangs", signalled("compositor", "STOP"), "does not answer"),
    Fault("control hangs", signalled("control", "STOP"), "control does not answer"),
    Fault("the bridge runs out of memory", out_of_memory, "the bridge restarted", BY_ITSELF),
    Fault("systemd gives the compositor up", given_up, "systemd has given it up"),
    Fault("the disk is full", disk_full, "disk:", UNDONE),
    Fault("the model server ends", model_server_ends, "no upstream", UNDONE),
    Fault("a backup fails", backup_fails, "backup: failed", UNDONE),
)


# -- the table -------------------------------------------------------------------------------------

HEAD = """# Faults under systemd

As [faults.md](faults.md), with the installed units under a real systemd
(`tests/system/test_system_health.py`). Remedies that mend are typed as they are printed, after
what has to be mended by hand.

| fault | verdict | exit | root cause | remedy | back |
| --- | --- | --- | --- | --- | --- |
"""


def rows():
    """The lines of the table by the fault's name."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    table = [line for line in lines if line.startswith("| ")][2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table}


def write(line, name):
    known = rows() | {name: line}
    TABLE.write_text(
        HEAD + "".join(f"{known[each.name]}\n" for each in FAULTS if each.name in known)
    )


def row(fault, code, found):
    said, remedy = (
        re.sub(
            r"(?<![\w.:/])[+-]?(?!(?:0?000|0?660|0?666)\b)\d+(?:\.\d+)?(?=[ ,;)]|$)",
            "N",
            found[key] or "–",
        )
        for key in ("root_cause", "remedy")
    )
    return f"| {fault.name} | {found['status']} | {code} | {said} | `{remedy}` | {fault.back} |"


@pytest.mark.parametrize("fault", FAULTS, ids=[each.name.replace(" ", "-") for each in FAULTS])
def test_health_names_the_fault_and_it_heals(running, fault):
    # Control remembers restarts for ten minutes; those of the last fault are none of this one's.
    running.run("geoosctl", "restart", "control")
    until(lambda: is_well(running), "health before the fault", 30)
    injection = fault.inject(running)
    next(injection)
    wanted = None if WRITE else rows()[fault.name]
    seen = []

    def named():
        code, found = health(running)
        seen[:] = [row(fault, code, found), found]
        return fault.says in (found["root_cause"] or "") and wanted in (None, seen[0])

    try:
        until(named, "the root cause", fault.seconds)
    except AssertionError:
        raise AssertionError(f"wanted {wanted}\n got   {seen[0]}") from None
    if WRITE:
        write(seen[0], fault.name)
    command = command_of(seen[1])
    if fault.back in (REMEDY, AND_NEXT):
        next(injection, None)
        running.run("bash", "-c", command)
        if fault.back == AND_NEXT:
            running.run("bash", "-c", command_of(health(running)[1]))
    else:
        assert running.call("bash", "-c", f"type {command.split()[0]}").returncode == 0
        next(injection, None)
    until(lambda: is_well(running), f"health again: {health(running)[1]}", 30)


def command_of(found):
    """What is to be typed: there may be words before it."""
    return re.split("then: |else: ", found["remedy"])[-1]


TIMERS = ("geoos-backup.timer", "geoos-structure.timer")
SOON = "[Timer]\nOnCalendar=\nOnActiveSec=100ms\nRandomizedDelaySec=0\nAccuracySec=10ms\n"


def test_timers_start_their_jobs_and_health_tells(running):
    """As they do at night, but soon."""
    for timer in TIMERS:
        running.run("systemd-analyze", "verify", f"/usr/local/lib/systemd/system/{timer}")
        (when,) = re.findall("OnCalendar=(.*)", running.run("systemctl", "cat", timer))
        assert "Next elapse" in running.run("systemd-analyze", "calendar", when)
    for part in range(12):
        running.write(f"/srv/tree/part{part}.py", '"""A part."""\n')
    running.configure(f"{CONFIG}[control]\nstructure_root = '/srv/tree'\nalerts = []\n")
    running.run("systemctl", "restart", "geoos-control")
    before = until(lambda: health(running)[1]["structure"], "the first look at the tree")
    try:
        for timer in TIMERS:
            running.drop_in(timer, SOON)
            running.run("systemctl", "start", timer)

        def told():
            found = health(running)[1]
            checks = {each["name"]: each["summary"] for each in found["checks"]}
            wanted = ("control: backup", "control: structure job")
            done = all(checks.get(each, "").startswith("done 0 min ago") for each in wanted)
            return done and found["structure"]["at"] > before["at"]

        until(told, "both are done", 30)
        assert running.run("ls", BACKUPS).endswith(".tar.zst\n")
    finally:
        for timer in TIMERS:
            running.run("systemctl", "stop", timer)
            running.drop_in(timer, "")
        running.configure(CONFIG)
        running.run("geoosctl", "restart", "control")


def test_a_restart_that_somebody_asks_for_is_no_fault_and_a_crash_is(running):
    def entry(daemon):
        daemons = json.loads(running.call("geoosctl", "--json", "status").stdout)["daemons"]
        return next(each for each in daemons if each["name"] == daemon)

    def process_of(daemon):
        checks = {each["name"]: each for each in health(running)[1]["checks"]}
        return checks.get(f"{daemon}: process", {"status": "unknown", "summary": ""})

    def told(daemon, words, verdict):
        found = process_of(daemon)
        return words in found["summary"] and found["status"] == verdict

    for daemon, *command in (
        ("compositor", "geoosctl", "restart", "compositor"),
        ("bridge", "systemctl", "restart", "geoos-bridge"),
        ("broadcaster", "geoosctl", "restart", "broadcaster"),
    ):
        before = entry(daemon)["restarts"]
        running.run(*command)
        until(lambda name=daemon: told(name, "as was asked", "healthy"), f"{daemon} is told of")
        assert entry(daemon)["restarted"] is not None
        assert entry(daemon)["restarts"] == before
        assert f"the {daemon} restarted" not in (health(running)[1]["root_cause"] or "")
    running.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: told("bridge", "restarted", "warning"), "the crash is told of")
    found = health(running)[1]
    assert found["root_cause"].endswith("it ended and was started again")
    assert entry("bridge")["restarts"] > 0


def is_well(machine):
    """Healthy, or with nothing left to tell but that something was restarted."""
    code, found = health(machine)
    return code == 0 or (code == 1 and "restarted" in (found["root_cause"] or ""))


def test_the_table_is_complete():
    assert list(rows()) == [each.name for each in FAULTS]
