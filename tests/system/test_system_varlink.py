"""PyPI's ``varlink`` as an independent client: it knows the interfaces by introspection alone."""

import json
from pathlib import Path

import pytest
import varlink

CLIENT = """
import json, sys
sys.path.insert(0, "/srv/independent")
import varlink

address, interface, method, parameters = sys.argv[1:5]
try:
    with varlink.Client("unix:" + address) as client:
        if not interface:
            print(json.dumps({"interfaces": list(client.get_interfaces())}))
        else:
            with client.open(interface) as opened:
                print(json.dumps(getattr(opened, method)(**json.loads(parameters))))
except varlink.VarlinkError as error:
    print(json.dumps({"error": error.error(), "parameters": error.parameters()}))
"""
CONTROL = "/run/geoos/control.sock"
BRIDGE = "/run/geoos/bridge.varlink"
DENIED = "io.geoos.PermissionDenied"
GROUPS = {"geoos-engine": "geoos"}
"""The group of who has none of his own: a daemon's user, that of one which does not run here. To
its own user a daemon listens as to root, as in the foreground."""

MAY = {
    "root": {"read", "use", "admin"},
    "chief": {"read", "use", "admin"},
    "member": {"read", "use"},
    "geoos-engine": {"read", "use"},
}
CALLS = [
    *((f"/run/geoos/{name}.varlink", "Daemon") for name in ("bridge", "compositor", "broadcaster")),
    (CONTROL, "Control"),
]
CLASSES = {
    "read": [(*call, "GetStatus", {}) for call in CALLS],
    "use": [
        (CONTROL, "Control", "Snapshot", {"width": 64, "height": 64, "format": "png"}),
        (
            "/run/geoos/compositor.varlink",
            "Compositor",
            "Render",
            {"width": 64, "height": 64, "format": "png"},
        ),
        (BRIDGE, "Bridge", "AddFeedback", {"session": "nobody's", "rating": 3}),
    ],
    "admin": [
        *((*call, "SetLogLevel", {"level": "info"}) for call in CALLS),
        *((*call, "Reload", {}) for call in CALLS),
    ],
}
"""Calls of each access class (docs/interfaces.md): a socket, an interface, a method, arguments."""


@pytest.fixture(scope="module")
def peopled(machine):
    """Everything runs; the client is copied to where everybody may read it."""
    package = Path(varlink.__file__).parent
    machine.run("mkdir", "-p", "/srv/independent")
    machine.run("cp", "-r", str(package), "/srv/independent/")
    machine.write("/srv/independent/ask.py", CLIENT)
    machine.run("chmod", "-R", "a+rX", "/srv/independent")
    machine.run("useradd", "--groups", "geoos", "member")
    machine.run("useradd", "--groups", "geoos,geoos-admin", "chief")
    machine.run("useradd", "stranger")
    machine.start_all()
    return machine


def ask(machine, who, address, interface="", method="", **parameters):
    """The reply, or the error, that the client got as *who*."""
    command = ["/opt/geoos/bin/python", "/srv/independent/ask.py", address, interface, method]
    person = {} if who == "root" else {"user": who, "group": GROUPS.get(who)}
    return json.loads(machine.run(*command, json.dumps(parameters), **person))


@pytest.mark.parametrize(
    ("address", "known"),
    [
        (CONTROL, {"io.geoos.Control", "io.geoos.Daemon"}),
        (BRIDGE, {"io.geoos.Bridge", "io.geoos.Daemon"}),
    ],
)
def test_it_finds_the_interfaces(peopled, address, known):
    found = ask(peopled, "member", address)["interfaces"]
    assert {*known, "org.varlink.service"} <= set(found)


def test_it_calls_control_and_a_daemon(peopled):
    daemons = ask(peopled, "member", CONTROL, "io.geoos.Control", "GetStatus")["daemons"]
    pids = {each["name"]: each["status"]["pid"] for each in daemons}
    assert pids == peopled.main_pids()
    answer = ask(peopled, "member", BRIDGE, "io.geoos.Daemon", "GetStatus")
    assert answer["status"]["pid"] == pids["bridge"]
    assert ask(peopled, "member", BRIDGE, "io.geoos.Bridge", "ListModels") == {"models": []}


@pytest.mark.parametrize(
    ("address", "interface"), [(CONTROL, "io.geoos.Control"), (BRIDGE, "io.geoos.Daemon")]
)
def test_what_a_member_may_not_do(peopled, address, interface):
    answer = ask(peopled, "member", address, interface, "SetLogLevel", level="info")
    assert answer["error"] == DENIED
    assert "geoos-admin" in json.dumps(answer["parameters"])  # who may
    allowed = ask(peopled, "chief", address, interface, "SetLogLevel", level="info")
    assert "error" not in allowed


@pytest.mark.parametrize("who", MAY)
@pytest.mark.parametrize("access", CLASSES)
def test_who_may_call_what(peopled, who, access):
    """Straight at each daemon's socket as well as by way of control."""
    for address, interface, method, arguments in CLASSES[access]:
        answer = ask(peopled, who, address, f"io.geoos.{interface}", method, **arguments)
        if access in MAY[who]:
            # That there is no such session is for who may ask.
            assert answer.get("error") in (None, "io.geoos.NotFound"), (method, answer)
        else:
            assert answer["error"] == DENIED, (method, answer)


def test_a_wrong_argument_is_named(peopled):
    answer = ask(peopled, "chief", BRIDGE, "io.geoos.Daemon", "SetLogLevel", level="loud")
    assert answer["error"].endswith("InvalidParameter") or answer["error"].endswith(
        "InvalidArgument"
    )
    assert "level" in json.dumps(answer["parameters"])


def test_a_stranger_is_not_let_in(peopled):
    command = ["/opt/geoos/bin/python", "/srv/independent/ask.py", CONTROL, "", "", "{}"]
    answer = peopled.call(*command, user="stranger")
    assert answer.returncode != 0
    assert "PermissionError" in answer.stderr
