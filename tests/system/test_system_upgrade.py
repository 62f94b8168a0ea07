"""The bridge's database over versions of geoos, and on a disk that is full."""

import json

import pytest
from conftest import NO_ENGINE, until

DATABASE = "/var/lib/geoos/bridge/sessions.db"
PYTHON = "/opt/geoos/bin/python"

OLDER = f"""
import os, pwd, sqlite3
from geoosd.bridge.adapters.store_schema import APPLICATION_ID, STEPS
connection = sqlite3.connect({DATABASE!r}, isolation_level=None)
connection.executescript(STEPS[0])
connection.execute(f"PRAGMA application_id={{APPLICATION_ID}}")
connection.execute("PRAGMA user_version=1")
connection.execute(
    "INSERT INTO session (id, path, dialect, choices, record, started, ended, tokens, model) "
    "VALUES ('of-old', 'Prompt', 'chat', 1, 'metadata', strftime('%s'), strftime('%s'), 7, 'm')"
)
connection.close()
user = pwd.getpwnam("geoos-bridge")
os.chown({DATABASE!r}, user.pw_uid, user.pw_gid)
"""
NEWER = f"""
import sqlite3
connection = sqlite3.connect({DATABASE!r}, isolation_level=None)
connection.execute("PRAGMA journal_mode=DELETE")
connection.execute("PRAGMA user_version=1000")
connection.close()
"""


@pytest.fixture
def stopped(machine):
    machine.start_all()
    machine.stop_all()
    machine.call("sh", "-c", f"rm -f {DATABASE}*")
    yield machine
    machine.call("systemctl", "stop", "model")
    machine.stop_all()
    machine.call("umount", "/var/lib/geoos/bridge")
    machine.call("sh", "-c", f"rm -f {DATABASE}*")
    machine.configure(NO_ENGINE)


def sessions(machine):
    return json.loads(machine.run("geoosctl", "--json", "sessions"))["sessions"]


def test_an_older_database_is_brought_forward(stopped):
    stopped.run(PYTHON, "-c", OLDER)
    stopped.start_all()
    (found,) = sessions(stopped)
    assert (found["id"], found["tokens"]) == ("of-old", 7)
    stopped.run("geoosctl", "feedback", "add", "of-old", "4", "still there")
    assert "4.00" in stopped.run("geoosctl", "feedback", "summary")
    assert stopped.run("stat", "-c", "%U %a", DATABASE).startswith("geoos-bridge")


def test_a_newer_database_ends_the_start_and_is_not_touched(stopped):
    stopped.run(PYTHON, "-c", OLDER)
    stopped.run(PYTHON, "-c", NEWER)
    before = stopped.run("sh", "-c", f"sha256sum {DATABASE}*")
    stopped.configure(NO_ENGINE)
    assert stopped.call("systemctl", "start", "geoos-bridge").returncode
    until(lambda: stopped.show("geoos-bridge", "ActiveState") == "failed", "it stays down")
    assert stopped.show("geoos-bridge", "ExecMainStatus") == "78"
    assert stopped.run("sh", "-c", f"sha256sum {DATABASE}*") == before
    said = [
        str(each["MESSAGE"])
        for each in stopped.journal("-u", "geoos-bridge", "-p", "err")
        if each.get("_SYSTEMD_UNIT") == "geoos-bridge.service"
    ]
    assert len([line for line in said if "written by a newer geoos" in line]) == 1
    assert "upgrade, or move it away" in said[-1]
    assert "Traceback" not in "".join(said)
    # As the line says:
    stopped.run("mv", DATABASE, "/var/tmp/newer.db")
    stopped.call("systemctl", "reset-failed", "geoos-bridge.service", "geoos-bridge.socket")
    stopped.start_all()
    assert sessions(stopped) == []


def test_a_full_disk_stops_the_recording_alone(stopped):
    options = "size=256k,mode=0700,uid=geoos-bridge,gid=geoos"
    stopped.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", "/var/lib/geoos/bridge")
    stopped.start_all(NO_ENGINE + "[bridge]\nrecord = 'full'\n")
    stopped.model(400, 0)
    ask = ("geoosctl", "prompt", "hello", "--model", "scripted")

    def refused():
        assert "w399" in stopped.run(*ask)
        return "cannot record sessions" in stopped.call("geoosctl", "health").stdout

    until(refused, "the disk is full", 60)
    assert "df -h /var/lib/geoos/bridge" in stopped.call("geoosctl", "health").stdout
    assert stopped.active("bridge")
    assert stopped.run("geoosctl", "status")
    stopped.run("mount", "-o", "remount,size=64m", "/var/lib/geoos/bridge")

    def mended():
        # Not in the text: its history still tells of it.
        checks = json.loads(stopped.call("geoosctl", "--json", "health").stdout)["checks"]
        return all("cannot record sessions" not in each["summary"] for each in checks)

    until(mended, "it records again", 30)
    stopped.run(*ask)
    newest = sessions(stopped)[0]
    assert (newest["messages"] > 400, newest["lost"]) == (True, 0)
