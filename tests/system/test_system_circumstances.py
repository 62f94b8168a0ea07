"""What an administrator may run into: ports, configuration, disks, other versions' state."""

import json

import pytest
from conftest import DAEMONS, NO_ENGINE, until
from streaming import Stream, watch

from geoosd.wire import events


def gave_up_at_once(machine, daemon, since):
    """It was started once, said why it cannot run, and neither systemd nor a peer that connects
    started it again, though control and the others keep knocking."""
    unit = f"geoos-{daemon}"
    until(lambda: machine.show(unit, "ActiveState") == "failed", "it gave up")
    machine.call("geoosctl", "--timeout", "3", "health")  # asks every daemon
    assert machine.show(unit, "ActiveState") == "failed"
    assert machine.show(unit, "ExecMainStatus") == "78"
    assert machine.show(unit, "NRestarts") == "0"
    said = machine.journal(
        "-u", unit, f"MESSAGE_ID={events.CANNOT_START.message_id}", "--since", since
    )
    assert len(said) == 1, said


def now(machine):
    return machine.run("date", "+@%s.%6N").strip()


def told_by_geoosctl(machine, daemon):
    """What ``geoosctl status`` says of a daemon that is down, its lines joined."""
    status = machine.call("geoosctl", "status")
    assert status.returncode == 3
    lines = status.stdout.splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith(f"{daemon} "))
    details = []
    for line in lines[row + 1 :]:
        if not line.startswith("   "):
            break
        details.append(line.strip())
    return " ".join(details)


@pytest.mark.parametrize(
    ("daemon", "key", "port"),
    [("bridge", "bridge.listen", 1235), ("broadcaster", "broadcaster.listen", 8765)],
)
def test_a_taken_port_is_one_clear_line_and_no_restart(machine, daemon, key, port):
    machine.configure(NO_ENGINE)
    since = now(machine)
    machine.background(
        "squatter", "/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", str(port)
    )
    try:
        until(
            lambda: machine.call("curl", "-s", f"http://127.0.0.1:{port}").returncode == 0, "taken"
        )
        machine.run("systemctl", "start", "geoos.target")
        gave_up_at_once(machine, daemon, since)
        shown = machine.call("systemctl", "status", "--no-pager", "-l", f"geoos-{daemon}").stdout
        assert f'Status: "cannot listen on 127.0.0.1:{port}: the port is taken' in shown
        assert key in shown
        said = told_by_geoosctl(machine, daemon)
        assert f"cannot listen on 127.0.0.1:{port}: the port is taken" in said
        assert "→ mend that; then: sudo geoosctl start" in said
        assert all(machine.active(each) for each in DAEMONS if each != daemon)
    finally:
        machine.run("systemctl", "stop", "squatter")
        machine.stop_all()


def test_a_bad_configuration_is_one_clear_line_and_no_restart(machine):
    since = now(machine)
    machine.start_all(f"{NO_ENGINE}[compositor]\nfpps = 3\n")
    try:
        for daemon in DAEMONS:
            gave_up_at_once(machine, daemon, since)
            shown = machine.call("systemctl", "status", "--no-pager", "-l", f"geoos-{daemon}")
            lines = [line for line in shown.stdout.splitlines() if "compositor.fpps" in line]
            # Once as the unit's status and once as its last log record, in the same words.
            (status,) = (line for line in lines if line.lstrip().startswith("Status: "))
            (record,) = (line for line in lines if line != status)
            assert record.split("]: ", 1)[1] == status.split('"')[1]
            assert "do you mean compositor.fps?" in record
            said = told_by_geoosctl(machine, daemon)
            assert "do you mean compositor.fps?" in said
            assert f"mend that; then: sudo geoosctl start {daemon}" in said
    finally:
        machine.configure(NO_ENGINE)
        machine.stop_all()


def test_a_full_state_disk_keeps_nobody_from_running(machine):
    state = "/var/lib/geoos/compositor"
    machine.run("mkdir", "-p", state)
    machine.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", state)
    machine.run("chown", "geoos-compositor:geoos", state)
    machine.call("dd", "if=/dev/zero", f"of={state}/fill")  # ends with: no space left
    try:
        machine.start_all()
        assert all(machine.active(each) for each in DAEMONS)
        machine.model(40, 0.02)
        watch(machine)
        Stream(machine, 40).must_be_whole()
        health = machine.call("geoosctl", "health")
        assert health.returncode == 2
        first, advice = " ".join(health.stdout.split()).split(" → ")[:2]
        assert first.startswith(f"critical: compositor: state: cannot save the map in {state}: no")
        assert advice.startswith(f"df -h {state}; ls -ld {state}")
        machine.run("rm", f"{state}/fill")
        Stream(machine, 40).must_be_whole()
        health = machine.call("geoosctl", "health")
        assert health.returncode == 0, health.stdout
        assert json.loads(machine.run("cat", f"{state}/places.json"))["districts"]
        machine.run("dd", "if=/dev/zero", f"of={state}/fill", check=False)
        machine.stop_all()  # and a full disk does not keep it from stopping
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


def test_a_downgrade_refuses_and_changes_nothing(machine):
    """State of a newer format: one clear line, exit code 78, and the state as it was."""
    state = "/var/lib/geoos/compositor"
    newer = '{"format": "geoos-compositor", "version": 99, "districts": {"new": "shape"}}'
    machine.start_all()
    machine.stop_all()
    machine.write(f"{state}/places.json", newer)
    since = now(machine)
    try:
        machine.run("systemctl", "start", "geoos.target")
        gave_up_at_once(machine, "compositor", since)
        said = told_by_geoosctl(machine, "compositor")
        assert "places.json: a newer geoos wrote it (format version 99" in said
        assert "install that version again" in said
        health = machine.call("geoosctl", "health")
        assert health.returncode == 2
        assert "places.json: a newer geoos wrote it" in health.stdout
        assert machine.run("cat", f"{state}/places.json") == newer
        assert "unreadable" not in machine.run("ls", state)
        assert all(machine.active(each) for each in DAEMONS if each != "compositor")
    finally:
        machine.run("rm", f"{state}/places.json")
        machine.stop_all()
