"""What each verb really prints with ``--json`` is what its schema says, and nothing more."""

import contextlib
import json
import struct
import subprocess
from pathlib import Path

import jsonschema
import pytest

from .stack import BIN, Stack, until

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = json.loads((ROOT / "docs/api/geoosctl.schema.json").read_text(encoding="utf-8"))
ELSEWHERE = {"start", "stop", "restart", "map build"}
"""The first three need systemd, the last a model: tests/system/test_system_geoosctl.py and
tests/unit/geoosctl/test_ctl_map.py."""


def closed(node):
    """As published, but an object that is described has no other members."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    shut = {key: each if key == "if" else closed(each) for key, each in node.items()}
    if node.get("type") == "object" and "properties" in node:
        shut["additionalProperties"] = False
    return shut


def validator(verb):
    schema = {**closed(PUBLISHED), "$ref": f"#/$defs/verb: {verb}".replace(" ", "%20")}
    return jsonschema.Draft202012Validator(schema)


def check(verb, text):
    """Each line of *text*; how many there were."""
    lines = text.splitlines()
    checker = validator(verb)
    for line in lines:
        checker.validate(json.loads(line))
    return len(lines)


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A geoos that has something to tell of everything."""
    from .scripted import ScriptedUpstream

    directory = tmp_path_factory.mktemp("json")
    with ScriptedUpstream("02_chat_logprobs_usage_timings_progress") as upstream:
        stack = Stack(directory, engine=False, upstream=upstream.url)
        text = stack.config.read_text().replace("[bridge]", '[bridge]\nrecord = "full"', 1)
        stack.config.write_text(text)
        (directory / "prompts.jsonl").write_text('{"prompt": "a"}\n')
        (directory / "key").write_text("0123456789abcdef" * 4)
        (directory / "key").chmod(0o600)
        (directory / "layout.i32").write_bytes(struct.pack("<4i", 1, 3, 0, 2))
        try:
            stack.start()
            stack.wait_for_model()
            assert stack.ctl("prompt", "hello").returncode == 0
            stack.session = stack.json("sessions")["sessions"][0]["id"]
            yield stack
        finally:
            stack.kill()


VERBS = {
    "status": ["status"],
    "health": ["health"],
    "selftest": ["selftest"],
    "logs": ["logs", "-n", "50"],
    "metrics": ["metrics"],
    "prompt": ["prompt", "hello"],
    "batch": ["batch", "{dir}/prompts.jsonl", "--out", "{dir}/out.jsonl"],
    "models": ["models"],
    "viewers": ["viewers"],
    "token create": ["token", "create", "--key", "{dir}/key"],
    "token key": ["token", "key", "{dir}/another"],
    "sessions": ["sessions"],
    "session show": ["session", "show", "{session}"],
    "session replay": ["session", "replay", "{session}", "--speed", "1000"],
    "session export": ["session", "export", "{session}", "{dir}/export.json"],
    "feedback add": ["feedback", "add", "{session}", "5", "good"],
    "feedback list": ["feedback", "list"],
    "feedback summary": ["feedback", "summary"],
    "snapshot": ["snapshot", "{dir}/map.png", "--width", "64", "--height", "64"],
    "theme list": ["theme", "list"],
    "theme show": ["theme", "show"],
    "theme set": ["theme", "set", "paper"],
    "theme validate": ["theme", "validate", "{dir}/prompts.jsonl"],
    "map adopt": ["map", "adopt", "scripted", "{dir}/layout.i32"],
    "structure": ["structure", "{root}/docs/man"],
    "config check": ["config", "check"],
    "config show": ["config", "show"],
    "config example": ["config", "example"],
    "backup": ["backup", "{dir}/b.tar.zst"],
    "restore": ["restore", "--check", "{dir}/b.tar.zst"],
    "bugreport": ["bugreport", "{dir}/r.tar.gz"],
    "reload": ["reload"],
    "log-level": ["log-level", "info"],
    "call": ["call", "GetStatus"],
    "session delete": ["session", "delete", "{session}", "--yes"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_output_is_as_documented(used, verb):
    given = {"dir": used.directory, "session": used.session, "root": ROOT}
    with used.viewer() if verb == "viewers" else contextlib.nullcontext():
        done = used.ctl("--json", *(each.format(**given) for each in VERBS[verb]))
    assert check(verb, done.stdout), done.stderr


@pytest.mark.parametrize("verb", ["watch", "health"])
def test_lines_without_end(used, verb):
    options = ["--watch"] if verb == "health" else []
    watching = subprocess.Popen(
        [BIN / "geoosctl", "--json", verb, *options],
        env=used.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = watching.stdout.readline()
        if verb == "watch":
            assert used.ctl("prompt", "hello").returncode == 0
            line += "".join(watching.stdout.readline() for _ in range(8))
    finally:
        watching.kill()
        watching.communicate()
    assert check(verb, line) == (9 if verb == "watch" else 1)


def test_a_viewer_is_disconnected(used):
    with used.viewer():
        (viewer,) = until(lambda: used.json("viewers")["viewers"], 10)
        done = used.ctl("--json", "viewers", "disconnect", viewer["id"])
    assert check("viewers disconnect", done.stdout) == 1


def test_of_a_geoos_that_does_not_run(unstarted, tmp_path):
    """The same schema when nothing is there to be told."""
    (tmp_path / "state").mkdir()
    for verb in ("status", "selftest", "health"):
        done = unstarted.ctl("--json", verb)
        assert check(verb, done.stdout) == 1, verb
    unstarted.config.write_text("[bridge]\nlisen = 1\n")
    assert check("config check", unstarted.ctl("--json", "config", "check").stdout) == 1


def test_every_verb_is_tried():
    known = {name.removeprefix("verb: ") for name in PUBLISHED["$defs"] if name.startswith("verb:")}
    assert known - set(VERBS) - ELSEWHERE == {"watch", "viewers disconnect"}


def test_the_check_refuses_what_is_not_described():
    good = {"version": 1, "current": "paper"}
    check("theme set", json.dumps(good))
    for bad in ({**good, "more": 1}, {"current": "paper"}, {**good, "version": 2}):
        with pytest.raises(jsonschema.ValidationError):
            check("theme set", json.dumps(bad))
    nested = {"version": 1, "status": "pass", "steps": [{"name": "a", "status": "odd"}]}
    with pytest.raises(jsonschema.ValidationError):
        check("selftest", json.dumps(nested))
