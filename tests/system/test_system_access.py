"""Who may do what, and what a daemon cannot reach."""

import json

import pytest
import verbs
from conftest import HERE, NO_ENGINE, until

from geoosctl.cli import cli

UNAVAILABLE, REFUSED = 69, 77

SOCKETS = (
    "control.sock",
    "ingest.sock",
    "feed.sock",
    "bridge.varlink",
    "compositor.varlink",
    "broadcaster.varlink",
    "engine.varlink",
)


@pytest.fixture(scope="module")
def peopled(machine):
    machine.run("useradd", "--create-home", "--groups", "geoos", "member")
    machine.run("useradd", "--groups", "geoos,geoos-admin", "chief")
    machine.run("useradd", "stranger")
    machine.write("/etc/geoos/credentials/viewers", "0123456789abcdef" * 4)
    machine.run("chmod", "0600", "/etc/geoos/credentials/viewers")
    machine.write("/tmp/prompts.jsonl", '{"prompt": "hello", "model": "scripted"}\n')
    machine.run("chmod", "0644", "/tmp/prompts.jsonl")
    machine.start_all(f"{NO_ENGINE}[bridge]\nrecord = 'full'\n")
    machine.model(3, 0)
    return machine


def attempt(machine, who, command):
    if who == "root":
        return machine.call(*command)
    group = "geoos" if who.startswith("geoos-") else who
    return machine.call(*command, user=who, group=group)


def test_every_verb_has_an_access_class():
    assert set(verbs.leaves(cli)) == set(verbs.TRIED), "put the verb into tests/system/verbs.py"


def recorded(machine):
    """The id of a new session, when it is on the disk."""
    until(
        lambda: machine.call("geoosctl", "prompt", "hello", "--model", "scripted").returncode == 0,
        "answered",
    )
    rows = json.loads(machine.run("geoosctl", "--json", "sessions"))["sessions"]
    return rows[0]["id"]


def watched(machine):
    """The id of a viewer that is connected; it comes back after it was sent away."""
    if machine.call("systemctl", "is-active", "viewer").returncode != 0:
        viewer = str(HERE / "steady_viewer.py")
        machine.background("viewer", "/opt/geoos/bin/python", viewer, "/dev/null")
    shown = []

    def connected():
        shown[:] = json.loads(machine.run("geoosctl", "--json", "viewers"))["viewers"]
        return shown

    until(connected, "somebody watches")
    return shown[0]["id"]


@pytest.mark.parametrize(
    "verb", [verb for verb, (_, how) in verbs.TRIED.items() if how is not None]
)
def test_verbs(peopled, verb):
    access, arguments = verbs.TRIED[verb]
    for who, may in verbs.MAY.items():
        session = recorded(peopled) if "{session}" in arguments else ""
        viewer = watched(peopled) if "{viewer}" in arguments else ""
        filled = [each.format(who=who, session=session, viewer=viewer) for each in arguments]
        answer = attempt(peopled, who, ("geoosctl", *verb.split(), *filled))
        told = f"{who}: {answer.returncode}\n{answer.stdout}{answer.stderr}"
        if access in may:
            assert answer.returncode not in (UNAVAILABLE, REFUSED), told
            assert "cannot" not in answer.stderr, told
        elif verb == "token create":
            assert answer.returncode != 0, told
            assert "0123456789abcdef" not in answer.stdout + answer.stderr
        else:
            assert answer.returncode == REFUSED, told
            remedy = "sudo geoosctl" if access == verbs.ROOT else "usermod -aG geoos"
            assert remedy in answer.stderr, told
        assert "Traceback" not in answer.stderr, told


@pytest.mark.parametrize("who", verbs.MAY)
@pytest.mark.parametrize("name", SOCKETS[:-1])
def test_sockets(peopled, who, name):
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('/run/geoos/{name}')"
    answer = attempt(peopled, who, ("/usr/bin/python3", "-c", code))
    assert (answer.returncode == 0) == (who != "stranger"), answer.stderr


def test_a_theme_reaches_the_compositor_through_the_broadcaster_alone(peopled):
    """Its user is in group ``geoos`` and no other; the file is the compositor's."""
    listed = json.loads(peopled.run("curl", "-sS", "http://127.0.0.1:8765/api/themes/ember"))
    peopled.write("/tmp/mine.json", json.dumps(listed | {"name": "mine"}))
    put = ("-X", "PUT", "-H", "content-type: application/json", "--data", "@/tmp/mine.json")
    said = peopled.run(
        "curl", "-sS", "-w", " %{http_code}", *put, "http://127.0.0.1:8765/api/themes/mine"
    )
    assert said.endswith(" 201"), said
    kept = "/var/lib/geoos/compositor/themes/mine.json"
    assert peopled.run("stat", "-c", "%U", kept).strip() == "geoos-compositor"
    answer = attempt(peopled, "geoos-broadcaster", ("geoosctl", "theme", "set", "mine"))
    assert answer.returncode == REFUSED


def test_there_is_no_other_socket(peopled):
    assert set(peopled.run("ls", "/run/geoos").split()) == set(SOCKETS)


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


def test_viewers_on_other_machines_by_drop_ins_alone(peopled):
    """They are let in by the address to listen on, the key of tokens, and network.conf: together.

    A packet from an address of this machine that is not loopback is one from elsewhere to the
    filter.
    """
    address = "192.0.2.2"
    peopled.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    drop_ins = "/run/systemd/system/geoos-broadcaster.service.d"
    listen = f"{NO_ENGINE}[broadcaster]\nlisten = '0.0.0.0:8765'\n"
    key = "token_key = 'viewers'\n"

    def code(*options):
        asked = ("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", *options)
        return peopled.call(*asked, f"http://{address}:8765/api/status").stdout

    try:
        peopled.configure(listen)
        refused = peopled.call("geoosctl", "restart", "broadcaster")
        assert refused.returncode == 78
        assert "token_key" in refused.stdout  # nobody without a token, off loopback
        peopled.configure(listen + key)
        credentials = "[Service]\nLoadCredential=viewers:/etc/geoos/credentials/viewers\n"
        peopled.write(f"{drop_ins}/50-credentials.conf", credentials)
        peopled.run("systemctl", "daemon-reload")
        peopled.run("geoosctl", "start", "broadcaster")
        assert code() == "000"
        text = peopled.run("cat", "/usr/local/share/doc/geoos/drop-ins/network.conf")
        peopled.write(f"{drop_ins}/50-network.conf", text)
        peopled.run("systemctl", "daemon-reload")
        peopled.run("systemctl", "restart", "geoos-broadcaster")
        assert code() == "401"
        create = ("geoosctl", "token", "create", "--key", "/etc/geoos/credentials/viewers")
        token = peopled.run(*create).split()[-1]
        assert code("-H", f"Authorization: Bearer {token}") == "200"
    finally:
        peopled.run("rm", "-rf", drop_ins)
        peopled.run("systemctl", "daemon-reload")
        peopled.configure(NO_ENGINE)
        peopled.run("geoosctl", "restart", "broadcaster")


def test_there_is_a_home_to_hide(peopled):
    """So that a home which a daemon cannot see is not merely one that is not there."""
    assert "member" in peopled.run("ls", "/home", user="geoos-bridge", group="geoos").split()


def test_an_api_key_reaches_its_upstream_and_nothing_else(peopled):
    """By the drop-in as it is shipped: LoadCredential=, root's file, one upstream of two."""
    key = "sesame-5b1e77"
    script = str(HERE / "scripted_model.py")
    for name, port in (("hosted", 8601), ("plain", 8602)):
        keys = f"/var/tmp/keys.{name}"
        command = ("/usr/bin/python3", script, str(port), "3", "0", keys)
        peopled.background(f"model-{name}", *command)
    text = peopled.run("cat", "/usr/local/share/doc/geoos/drop-ins/credentials.conf")
    drop_in = "/run/systemd/system/geoos-bridge.service.d/50-credentials.conf"
    peopled.write("/etc/geoos/credentials/example", f"{key}\n")
    peopled.run("chmod", "0600", "/etc/geoos/credentials/example")
    peopled.write(drop_in, text)
    peopled.run("systemctl", "daemon-reload")
    peopled.configure(
        NO_ENGINE
        + "[[bridge.upstream]]\nid = 'hosted'\nurl = 'http://127.0.0.1:8601'\n"
        + "api_key_credential = 'example'\n"
        + "[[bridge.upstream]]\nid = 'plain'\nurl = 'http://127.0.0.1:8602'\n"
    )
    try:
        peopled.run("systemctl", "restart", "geoos-bridge")
        for upstream in ("hosted", "plain"):
            model = f"{upstream}/scripted"
            until(lambda u=upstream: u in ready(peopled), "it is known")
            peopled.run("geoosctl", "prompt", "hello", "--model", model)
        got = {name: peopled.run("cat", f"/var/tmp/keys.{name}") for name in ("hosted", "plain")}
        assert f"POST Bearer {key}" in got["hosted"]
        assert key not in got["plain"]
        pid = peopled.main_pids()["bridge"]
        shown = [
            peopled.run("journalctl", "--no-pager", "-o", "export", "-u", "geoos-*"),
            peopled.run("cat", f"/proc/{pid}/environ"),
            peopled.run("systemctl", "show", "geoos-bridge"),
            *(
                peopled.call("geoosctl", *verb.split()).stdout
                for verb in ("--json status", "--json health", "--json models", "config show")
            ),
            peopled.run("geoosctl", "metrics"),
            peopled.run(
                "grep", "-rlaF", key, "/var/lib/geoos", "/etc/geoos/geoos.toml", check=False
            ),
        ]
        assert all(key not in each for each in shown[:-1])
        assert shown[-1] == ""
        held = "/run/credentials/geoos-bridge.service/example"
        for who in ("member", "chief", "geoos-compositor"):
            answer = attempt(peopled, who, ("cat", held))
            assert answer.returncode != 0, who
        worked, said = inside(peopled, "control", f"open('{held}')")
        assert not worked, said
    finally:
        peopled.run("rm", drop_in)
        peopled.run("systemctl", "daemon-reload")
        peopled.configure(NO_ENGINE)
        peopled.run("systemctl", "restart", "geoos-bridge")
        peopled.run("systemctl", "stop", "model-hosted", "model-plain")


def ready(machine):
    """The upstreams whose models can be asked."""
    models = json.loads(machine.run("geoosctl", "--json", "models"))["models"]
    return {row["upstream"] for row in models if row["state"] == "ready"}


WRITE_AND_EXECUTE = "import mmap; mmap.mmap(-1, 4096, prot=7)"


def test_a_gpu_by_drop_in_alone(peopled):
    """gpu.conf: the compositor starts with it, reaches what a driver needs, and nothing more."""
    assert not inside(peopled, "compositor", WRITE_AND_EXECUTE)[0]
    text = peopled.run("cat", "/usr/local/share/doc/geoos/drop-ins/gpu.conf")
    for unit in ("geoos-probe", "geoos-compositor"):
        peopled.write(f"/run/systemd/system/{unit}.service.d/50-gpu.conf", text)
    peopled.run("systemctl", "daemon-reload")
    try:
        worked, said = inside(peopled, "compositor", WRITE_AND_EXECUTE)
        assert worked, said
        peopled.run("systemctl", "restart", "geoos-compositor")
        assert peopled.active("compositor")
        pid = peopled.main_pids()["compositor"]
        groups = peopled.run("sh", "-c", f"grep ^Groups /proc/{pid}/status").split()[1:]
        for name in ("video", "render"):
            assert peopled.run("getent", "group", name).split(":")[2] in groups
        for what in ("another's state", "a home", "the internet", "a device", "writing to /etc"):
            worked, said = inside(peopled, "compositor", FORBIDDEN[what].format(other="bridge"))
            assert not worked, (what, said)
    finally:
        for unit in ("geoos-probe", "geoos-compositor"):
            peopled.run("rm", f"/run/systemd/system/{unit}.service.d/50-gpu.conf")
        peopled.run("systemctl", "daemon-reload")
        peopled.run("systemctl", "restart", "geoos-compositor")
