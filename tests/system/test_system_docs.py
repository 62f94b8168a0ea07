"""Every command that the documents show is run, here or where ../shown_commands.py says.

Those of docs/operations.md, README.md and the rest run on a machine with the installed units, in
the documents' order, as root, with real names in place of the documents' words.
"""

import json
import re

import pytest
from conftest import NO_ENGINE, until
from shown_commands import ELSEWHERE, ROOT, elsewhere, shown

ENDLESS = re.compile(r"geoosctl (logs -f|health --watch|watch\b).*")


def test_what_is_not_run_here_is_run_where_it_is_said():
    commands = {command for _, command in shown()}
    assert len(commands) > 50
    for pattern, where in ELSEWHERE.items():
        assert any(re.fullmatch(pattern, command) for command in commands), pattern
        assert (ROOT / where).exists()


@pytest.fixture(scope="module")
def used(machine):
    """A machine as the documents suppose it."""
    machine.start_all(f'{NO_ENGINE}[bridge]\nrecord = "full"\n')
    machine.model(5, 0)
    machine.run("useradd", "--create-home", "somebody")
    machine.run("mkdir", "-p", "/srv/docs")
    machine.write("/srv/docs/prompts.jsonl", '{"prompt": "hello"}\n')
    machine.write("/srv/docs/geoos.toml", NO_ENGINE)
    machine.write("/srv/docs/tokens.toml", '[broadcaster]\ntoken_key = "viewers"\n')
    machine.write("/srv/docs/mine.json", machine.run("cat", "/etc/geoos/themes/ember.json"))
    machine.run("sed", "-i", 's/"ember"/"mine"/', "/srv/docs/mine.json")
    machine.run("cp", "-r", "/usr/share/doc/geoos", "/srv/docs/project", check=False)
    machine.run(
        "mkdir", "-p", "/srv/docs/project/src", "/etc/systemd/system/geoos-broadcaster.service.d"
    )
    machine.write("/srv/docs/project/src/a.py", '"""A."""\n')
    machine.run(
        "sh",
        "-c",
        "geoosctl structure --write-baseline --baseline /srv/docs/FILE /srv/docs/project",
    )
    machine.run("sh", "-c", "cp /usr/local/share/doc/geoos/drop-ins/*.conf /srv/docs/")
    until(lambda: machine.call("geoosctl", "prompt", "hello").returncode == 0, "answered")
    (machine.session,) = (
        each["id"] for each in json.loads(machine.run("geoosctl", "--json", "sessions"))["sessions"]
    )
    return machine


def filled(command, session):
    """With real names in place of the documents' words."""
    for word, name in {
        "ID": session,
        "USER": "somebody",
        "FILE.jsonl": "prompts.jsonl",
        "FILE .": "FILE project",
        "~/src/project": "project",
        "--check .": "--check project",
        "--seconds 20": "--seconds 1",
    }.items():
        command = re.sub(rf"(?<![\w/]){re.escape(word)}(?!\w)", name, command)
    return command.replace("sudo ", "")


HERE = [
    pytest.param(command, id=f"{path.name}: {command}")
    for path, command in shown()
    if elsewhere(command) is None
]


@pytest.mark.parametrize("command", HERE)
def test_a_command_of_the_documents(used, command):
    asked = filled(command, used.session)
    if ENDLESS.fullmatch(asked):
        asked = f"timeout 3 {asked}"
    environ = {"COLUMNS": "80"}
    if asked.startswith("geoosctl token create"):
        environ["GEOOS_CONFIG"] = "/srv/docs/tokens.toml"  # as the text around it says
    done = used.call("bash", "-c", f"cd /srv/docs && {asked}", environ=environ)
    allowed = (0, 124) if ENDLESS.fullmatch(command) else (0,)
    if re.match(r"geoosctl (health|structure)", asked):
        allowed = (0, 1, 2)  # it says how things are
    if asked == "geoosctl selftest":
        allowed = (0, 1)  # the scripted model tells no probabilities
    if asked == "geoosctl status":
        allowed = (0, 3)
    assert done.returncode in allowed, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if asked == "geoosctl stop" or asked.startswith("geoosctl stop "):
        used.run("geoosctl", "start")
