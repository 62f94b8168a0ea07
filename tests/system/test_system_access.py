"""Who may do what, and what a daemon cannot reach."""

import pytest
from conftest import until

READ = ("geoosctl", "status")
USE = ("geoosctl", "prompt", "hello", "--model", "scripted")
ADMIN = ("geoosctl", "log-level", "info")
REFUSED = 77

# The group `geoos-admin` adds rights; the sockets open for the group `geoos`.
PEOPLE = {
    "root": (0, 0, 0),
    "member": (0, 0, REFUSED),
    "chief": (0, 0, 0),
    "stranger": (REFUSED, REFUSED, REFUSED),
    "geoos-bridge": (0, 0, REFUSED),
}
SOCKETS = (
    "control.sock",
    "ingest.sock",
    "feed.sock",
    "bridge.varlink",
    "compositor.varlink",
    "broadcaster.varlink",
)


@pytest.fixture(scope="module")
def peopled(machine):
    machine.run("useradd", "--create-home", "--groups", "geoos", "member")
    machine.run("useradd", "--groups", "geoos,geoos-admin", "chief")
    machine.run("useradd", "stranger")
    machine.start_all()
    machine.model(3, 0)
    return machine


def attempt(machine, who, command):
    if who == "root":
        return machine.call(*command)
    group = "geoos" if who.startswith("geoos-") else who
    return machine.call(*command, user=who, group=group)


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize(("index", "command"), list(enumerate((READ, USE, ADMIN))))
def test_verbs(peopled, who, index, command):
    answer = attempt(peopled, who, command)
    assert answer.returncode == PEOPLE[who][index], answer.stdout + answer.stderr
    if answer.returncode == REFUSED:
        assert "usermod -aG geoos" in answer.stderr  # the remedy


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", SOCKETS)
def test_sockets(peopled, who, name):
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('/run/geoos/{name}')"
    answer = attempt(peopled, who, ("/usr/bin/python3", "-c", code))
    assert (answer.returncode == 0) == (who != "stranger"), answer.stderr


def inside(machine, daemon, code):
    """Run *code* in a unit with every property of *daemon*'s: geoos-.service.d applies by name."""
    unit = machine.run("cat", f"/usr/local/lib/systemd/system/geoos-{daemon}.service")
    kept = [
        line
        for line in unit.splitlines()
        if not line.startswith(("ExecStart", "ExecCondition", "Requires", "After"))
    ]
    machine.write("/run/probe/code.py", code)
    machine.write("/run/systemd/system/geoos-probe.service", "\n".join(kept) + "\n")
    machine.drop_in(
        "geoos-probe.service",
        "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\n"
        "ExecStart=/usr/bin/python3 -I /run/probe/code.py\n",
    )
    answer = machine.call("systemctl", "start", "geoos-probe")
    said = machine.journal("-u", "geoos-probe", "-n", "12")
    return answer.returncode == 0, "\n".join(str(each["MESSAGE"]) for each in said)


@pytest.mark.parametrize("daemon", ["bridge", "compositor", "broadcaster", "control", "engine"])
def test_the_probe_itself_works(peopled, daemon):
    worked, said = inside(peopled, daemon, "import os; os.listdir('/usr')")
    assert worked, said


FORBIDDEN = {
    "another's state": "import os; os.listdir('/var/lib/geoos/{other}')",
    "a home": "import os; assert os.listdir('/home'), 'Error: empty'",
    "root's home": "import os; os.listdir('/root/.')",
    "credentials": "import os; os.listdir('/etc/geoos/credentials')",
    "writing to /etc": "open('/etc/geoos/geoos.toml', 'a')",
    "writing to its own code": "open('/opt/geoos/x', 'w')",
    "replacing a socket": "import os; os.unlink('/run/geoos/control.sock')",
    "another's process": "import os; os.stat('/proc/1/root')",
    "the internet": "import socket; socket.create_connection(('192.0.2.1', 80), 3)",
    "a raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW)",
    "a packet socket": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "becoming root": "import os; os.setuid(0)",
    "a namespace": "import ctypes, os; assert not ctypes.CDLL(None).unshare(0x10000000)",
    "a device": "open('/dev/mem', 'rb')",
}


@pytest.mark.parametrize("what", FORBIDDEN)
@pytest.mark.parametrize("daemon", ["bridge", "compositor", "broadcaster", "control", "engine"])
def test_cannot(peopled, daemon, what):
    other = "compositor" if daemon != "compositor" else "bridge"
    worked, said = inside(peopled, daemon, FORBIDDEN[what].format(other=other))
    assert not worked, said
    assert "Error" in said, said


@pytest.mark.parametrize("daemon", ["compositor", "control"])
def test_no_network_at_all(peopled, daemon):
    code = "import socket; socket.create_connection(('127.0.0.1', 8765), 3)"
    worked, said = inside(peopled, daemon, code)
    assert not worked, said


def test_remote_machines_by_drop_in_alone(peopled):
    """network.conf lifts what keeps a daemon on this machine: a packet to elsewhere then leaves."""
    peopled.run("ip", "addr", "add", "192.0.2.1/32", "dev", "lo")
    peopled.background("far", "/usr/bin/python3", "-m", "http.server", "-b", "192.0.2.1", "8099")
    until(lambda: peopled.call("curl", "-s", "http://192.0.2.1:8099").returncode == 0, "far is up")
    code = "import socket; socket.create_connection(('192.0.2.1', 8099), 3)"
    assert not inside(peopled, "bridge", code)[0]
    text = peopled.run("cat", "/usr/local/share/doc/geoos/drop-ins/network.conf")
    peopled.write("/run/systemd/system/geoos-probe.service.d/50-network.conf", text)
    try:
        worked, said = inside(peopled, "bridge", code)
        assert worked, said
    finally:
        peopled.run("rm", "/run/systemd/system/geoos-probe.service.d/50-network.conf")
        peopled.run("systemctl", "stop", "far")


def test_there_is_a_home_to_hide(peopled):
    """So that a home which a daemon cannot see is not merely one that is not there."""
    assert "member" in peopled.run("ls", "/home", user="geoos-bridge", group="geoos").split()
