"""The nightly backup and the drill, with the installed units."""

import json

import pytest
from conftest import NO_ENGINE, until

FULL = f'{NO_ENGINE}[bridge]\nrecord = "full"\n'
BACKUPS = "/var/lib/geoos/backup"


@pytest.fixture(scope="module")
def recorded(machine):
    """A machine that has answered something, and backed itself up."""
    machine.start_all(FULL)
    machine.model(5, 0)
    for _ in range(2):
        done = machine.call("geoosctl", "prompt", "hello", "--model", "scripted")
        assert done.returncode == 0, done.stderr
    machine.run("geoosctl", "theme", "set", "paper")
    until(lambda: sessions(machine, "ended"), "both are recorded")
    machine.run("systemctl", "start", "geoos-backup.service")
    return machine


def sessions(machine, state=None):
    found = json.loads(machine.run("geoosctl", "--json", "sessions"))["sessions"]
    return found if state is None or all(each["state"] == state for each in found) else []


def places(machine):
    return json.loads(machine.run("cat", "/var/lib/geoos/compositor/places.json"))


def newest(machine):
    return f"{BACKUPS}/{machine.run('ls', BACKUPS).split()[-1]}"


def wrongly_owned(machine):
    """What of the state does not belong to its daemon alone."""
    state = ("/var/lib/geoos/bridge", "/var/lib/geoos/compositor")
    listed = machine.run("find", *state, "-printf", "%u %m %y %p\n")
    found = [line.split() for line in listed.splitlines()]
    assert len(found) >= 4
    return [
        (user, mode, path)
        for user, mode, kind, path in found
        if user != f"geoos-{path.split('/')[4]}" or mode != {"d": "700", "f": "600"}[kind]
    ]


def test_every_night(recorded):
    shown = recorded.run("systemctl", "cat", "geoos-backup.timer")
    assert "OnCalendar" in shown
    recorded.run("systemctl", "enable", "--now", "geoos-backup.timer")
    assert recorded.show("geoos-backup.timer", "ActiveState") == "active"
    assert recorded.show("geoos-backup.timer", "Triggers") == "geoos-backup.service"
    recorded.run("systemctl", "disable", "--now", "geoos-backup.timer")


def test_the_service_needs_no_root_and_its_backups_are_its_own(recorded):
    name = newest(recorded)
    assert recorded.run("stat", "-c", "%U %a", name).split() == ["geoos-backup", "600"]
    assert recorded.run("stat", "-c", "%U %a", BACKUPS).split() == ["geoos-backup", "700"]
    # What applies to daemons does not apply to it.
    assert recorded.show("geoos-backup.service", "Type") == "oneshot"
    assert recorded.show("geoos-backup.service", "WatchdogUSec") in ("0", "infinity")
    for _ in range(8):
        recorded.run("systemctl", "start", "geoos-backup.service")
    assert len(recorded.run("ls", BACKUPS).split()) <= 7


def test_the_drill(recorded):
    before = sessions(recorded), places(recorded)
    recorded.run("cp", newest(recorded), "/root/b.tar.zst")
    pids = recorded.main_pids()
    recorded.run("systemctl", "stop", "geoos-*.service", "geoos-*.socket", "geoos.target")
    recorded.run("sh", "-c", "rm -rf /var/lib/geoos/* /etc/geoos/geoos.toml")
    recorded.run("systemctl", "start", "geoos.target")
    assert sessions(recorded) == []

    done = recorded.call("geoosctl", "restore", "/root/b.tar.zst")
    assert done.returncode == 0, done.stderr
    assert "restored" in done.stdout
    assert recorded.show("geoos.target", "ActiveState") == "active"
    after = recorded.main_pids()
    assert all(after[name] != pids[name] for name in pids)
    assert (sessions(recorded), places(recorded)) == before
    assert wrongly_owned(recorded) == []
    assert 'record = "full"' in recorded.run("cat", "/etc/geoos/geoos.toml")
    assert json.loads(recorded.run("geoosctl", "--json", "status"))["state"] == "active"


def test_a_state_that_cannot_be_used_is_taken_back_by_itself(recorded):
    """A database of a later version: the bridge refuses to start."""
    recorded.write("/root/newer.py", MAKE_NEWER)
    recorded.run("/opt/geoos/bin/python", "/root/newer.py")
    before = sessions(recorded)
    done = recorded.call("geoosctl", "restore", "/root/newer.tar.zst")
    assert done.returncode == 70
    assert "cannot start geoos-bridge.service" in done.stderr
    assert "the state before it is back" in done.stderr
    until(lambda: recorded.active("bridge"), "it runs again")
    until(lambda: recorded.active("broadcaster"), "so do the others")
    assert sessions(recorded) == before


MAKE_NEWER = """
import pathlib
from geoosctl import archive

files = {}
archive.read(pathlib.Path("/root/b.tar.zst"), lambda entry, pieces: files.update(
    {entry.path: b"".join(pieces)}))
database = bytearray(files["state/bridge/sessions.db"])
database[60:64] = (99).to_bytes(4, "big")
files["state/bridge/sessions.db"] = bytes(database)
with open("/root/newer.tar.zst", "wb") as target:
    archive.write(
        target, [archive.Incoming(name, len(it), [it]) for name, it in files.items()], 1.0
    )
"""


def test_a_stopped_geoos_stays_stopped(recorded):
    before = sessions(recorded)
    recorded.run("geoosctl", "stop")
    done = recorded.call("geoosctl", "restore", "/root/b.tar.zst")
    assert done.returncode == 0, done.stderr
    assert "start geoos: sudo geoosctl start" in done.stdout
    assert recorded.show("geoos.target", "ActiveState") == "inactive"
    recorded.run("geoosctl", "restore", "--undo")
    assert recorded.show("geoos.target", "ActiveState") == "inactive"
    recorded.run("geoosctl", "start")
    assert sessions(recorded) == before


def test_a_full_disk_leaves_the_old_backup(recorded):
    recorded.run("mkdir", "-p", "/mnt/small")
    recorded.run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/mnt/small")
    try:
        recorded.run(
            "sh", "-c", "echo before >/mnt/small/b; head -c 10000 /dev/urandom >/mnt/small/x"
        )
        done = recorded.call("geoosctl", "backup", "/mnt/small/b")
        assert done.returncode == 70
        assert "no space left on device" in done.stderr
        assert sorted(recorded.run("ls", "-A", "/mnt/small").split()) == ["b", "x"]
        assert recorded.run("cat", "/mnt/small/b") == "before\n"
    finally:
        recorded.run("umount", "/mnt/small")


@pytest.mark.parametrize("verb", [["backup", "/tmp/b.chief"], ["restore", "/tmp/b.tar.zst"]])
def test_who_may(recorded, verb):
    recorded.call("useradd", "--groups", "geoos,geoos-admin", "chief")
    recorded.call("useradd", "--groups", "geoos", "member")
    recorded.run("cp", "/root/b.tar.zst", "/tmp/b.tar.zst")
    recorded.run("chmod", "644", "/tmp/b.tar.zst")
    before = recorded.main_pids()
    refused = recorded.call("geoosctl", *verb, user="member")
    assert refused.returncode == 77, refused.stderr
    chief = recorded.call("geoosctl", *verb, user="chief")
    assert chief.returncode == (0 if verb[0] == "backup" else 77), chief.stderr
    if chief.returncode:
        assert "use sudo" in chief.stderr
    assert recorded.main_pids() == before
