"""A report about a geoos that has seen secrets has none of them."""

import getpass
import json
import tarfile
import urllib.error
import urllib.request

import pytest

from .stack import Stack

PROMPT = "my-very-private-question"
SYSTEM = "you-are-my-confessor"
KEY = "sk-0123456789abcdefghij"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYWRtaW4ifQ.c2lnbmF0dXJl"


@pytest.fixture
def used(tmp_path, scripted):
    """A geoos that records everything, was asked something, and was sent credentials."""
    stack = Stack(tmp_path, engine=False, upstream=scripted.url)
    text = stack.config.read_text().replace(
        "[bridge]", f'[bridge]\nrecord = "full"\nsystem_prompt = "{SYSTEM}"', 1
    )
    stack.config.write_text(f'{text}[log]\nlevel = "debug"\n')
    try:
        stack.start()
        stack.wait_for_model()
        assert stack.ctl("prompt", PROMPT).returncode == 0
        ask(f"{stack.openai}/chat/completions?access_token={TOKEN}", stack)
        ask(f"{stack.page}?access_token={TOKEN}", stack)
        yield stack
    finally:
        stack.kill()


def ask(url, stack):
    body = json.dumps({"model": "gemma-3-270m", "messages": [{"content": PROMPT}], "stream": True})
    data = body.encode() if url.startswith(stack.openai) else None
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
    except urllib.error.HTTPError as refused:
        refused.read()


def parts(path):
    with tarfile.open(path) as tar:
        return {
            member.name.rpartition("/")[2]: tar.extractfile(member).read().decode()
            for member in tar.getmembers()
        }


def test_a_report_has_what_helps_and_nothing_private(used, scripted, tmp_path):
    file = tmp_path / "report.tar.gz"
    done = used.ctl("bugreport", str(file))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    found = parts(file)
    everything = "\n".join(found.values())
    answered = [
        json.loads(line[5:])["choices"][0]["delta"].get("content") or ""
        for line in scripted.body.decode().splitlines()
        if line.startswith("data: {") and json.loads(line[5:])["choices"]
    ]
    answer = "".join(answered)
    assert len(answer) > 20
    for secret in (PROMPT, SYSTEM, KEY, TOKEN, answer, answer[:20]):
        assert secret not in everything
    if getpass.getuser() != "root":
        assert getpass.getuser() not in everything
    assert "geoos 0." in found["versions.txt"]
    assert {each["name"] for each in json.loads(found["status.json"])["daemons"]} == set(
        used.daemons
    )
    assert json.loads(found["config.json"])["bridge"]["system_prompt"] == "[redacted]"
    assert json.loads(found["config.json"])["bridge"]["record"] == "full"
    assert "sse_tokens_total" in found["metrics.txt"]
    events = [json.loads(line)["event"] for line in found["logs.jsonl"].splitlines()]
    assert "ready" in events
    assert "control.sock" in found["places.txt"]
    assert "not available" not in everything


def test_a_report_of_what_does_not_run(unstarted, tmp_path):
    unstarted.config.write_text("[bridge]\nlisen = 1\n")
    done = unstarted.ctl("--json", "bugreport", str(tmp_path / "r.tar.gz"))
    assert done.returncode == 0, done.stderr
    found = parts(tmp_path / "r.tar.gz")
    assert sorted(json.loads(done.stdout)["parts"]) == sorted(found)
    assert found["status.json"].startswith("not available: cannot reach")
    assert "do you mean bridge.listen" in found["config.json"]
    assert "does not run" in found["units.txt"]


def test_where_nothing_can_be_written(unstarted):
    done = unstarted.ctl("bugreport", "/nonexistent/r.tar.gz")
    assert done.returncode == 70
    assert (
        done.stderr == "geoosctl: cannot write /nonexistent/r.tar.gz: no such file or directory\n"
    )
