"""What a run prints and writes holds no prompt, no answer, no token id and no key: only who asked
and who looks sees text. ``record = "metadata"``, the default."""

import base64
import json
from pathlib import Path

import httpx
import pytest

from .scripted import ScriptedUpstream
from .stack import Stack, payloads, until

PROMPT = "heliotrope-marmalade-prompt"
BEFORE = "aubergine-quokka-before"
ANSWER = "vermilion-zeppelin-answer"
KEY = "sk-cobalt-walrus-key"
TOKEN_ID = 191919
SECRETS = {
    "prompt": PROMPT,
    "what was said before": BEFORE,
    "answer": ANSWER,
    "key": KEY,
    "token id": str(TOKEN_ID),
}
MODEL = "gemma-3-270m"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def stream():
    """A chat stream whose tokens have ids and probabilities, and whose text is the answer."""
    body = b""
    for piece in (ANSWER[:10], ANSWER[10:]):
        logprobs = {"content": [{"token": piece, "id": TOKEN_ID, "logprob": -0.1, "bytes": None}]}
        choice = {"index": 0, "delta": {"content": piece}, "logprobs": logprobs}
        body += b"data: " + json.dumps({"model": MODEL, "choices": [choice]}).encode() + b"\n\n"
    end = {"model": MODEL, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return body + b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n"


class Quoting(ScriptedUpstream):
    """Answers, and quotes the prompt and the key in its errors."""

    def __init__(self):
        super().__init__(pieces=3)
        self.body = stream()


@pytest.fixture
def upstream():
    with Quoting() as server:
        yield server


@pytest.fixture
def private(tmp_path, upstream):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "desk-key").write_text(KEY + "\n")
    stack = Stack(tmp_path, engine=False, upstream=upstream.url)
    text = stack.config.read_text()
    stack.config.write_text(
        text.replace('id = "scripted"', 'id = "scripted"\napi_key_credential = "desk-key"')
        + "[compositor]\nsnapshot_interval = 0.5\n[log]\nlevel = 'debug'\n"
    )
    stack.environ["CREDENTIALS_DIRECTORY"] = str(credentials)
    stack.start()
    yield stack
    stack.kill()


def leaks(name, data):
    """The secrets that *data* holds, also as base64 and in UTF-16."""
    found = []
    for what, secret in SECRETS.items():
        plain = secret.encode()
        forms = (plain, base64.b64encode(plain)[:-4], secret.encode("utf-16-le"))
        found += [f"{what} in {name}" for form in forms if form in data]
    return found


def written(directory: Path):
    """Every file of a run, but the credential itself and the configuration."""
    for path in directory.rglob("*"):
        if path.is_file() and path.parent.name != "credentials":
            yield path


def ask_in_every_way(stack, upstream):
    """Prompts and proxied requests that are answered, refused, broken and abandoned."""
    said = [{"role": "assistant", "content": BEFORE}, {"role": "user", "content": PROMPT}]
    body = {"model": MODEL, "stream": True, "messages": said}
    url = f"{stack.openai}/chat/completions"
    answer = httpx.post(url, json=body, timeout=30)
    assert ANSWER[:10] in answer.text
    own = httpx.post(url, json=body, headers={"authorization": f"Bearer {KEY}-client"}, timeout=30)
    assert own.status_code == 200
    told = stack.ctl("prompt", PROMPT)
    assert ANSWER in told.stdout
    whole, upstream.body = upstream.body, upstream.body[:-200]  # breaks off
    assert stack.ctl("prompt", PROMPT).returncode
    error = {"error": {"message": f"cannot take {PROMPT} of {KEY}: {ANSWER}", "code": PROMPT}}
    upstream.body = b"data: " + json.dumps(error).encode() + b"\n\n"
    refused = stack.ctl("prompt", PROMPT)
    assert PROMPT in refused.stderr  # who asked may see it
    httpx.post(url, json=body, timeout=30)
    upstream.body = f"data: garbage {ANSWER}\n\n".encode() + b"x" * 100_000
    httpx.post(url, json=body, timeout=30)
    upstream.body = whole.replace(b'"stop"', json.dumps(ANSWER).encode())
    httpx.post(url, json=body, timeout=30)
    upstream.body = whole
    bad = stack.ctl("call", "io.geoos.Control.Prompt", json.dumps({"prompt": PROMPT, "modle": 1}))
    assert bad.returncode
    httpx.post(f"{stack.page}api/prompt", json={"prompt": PROMPT, "system": ANSWER}, timeout=30)
    httpx.post(f"{stack.page}api/prompt", content=PROMPT.encode(), timeout=30)
    upstream.gate.clear()
    upstream.begun.clear()
    with httpx.stream("POST", url, json=body, timeout=30):
        assert upstream.begun.wait(10)
    upstream.gate.set()


def test_nothing_that_is_printed_or_written_tells(private, upstream):
    with private.viewer() as viewer:
        viewer.read("Snapshot")
        ask_in_every_way(private, upstream)
        viewer.read("SessionEnded", count=3)
        tokens = payloads(viewer.messages, "TokenVisualizationUpdate")
        assert ANSWER in "".join(token["current_token"] for token in tokens)
        assert any(token["token_id"] == TOKEN_ID for token in tokens)
    until(lambda: not private.status()["bridge"]["status"]["requests"], 20, "the ends")
    listed = private.json("sessions", "--limit", "50")["sessions"]
    assert len(listed) >= 8
    assert {each["error"] for each in listed} >= {None, "upstream_error", "client_gone"}
    printed = {}
    for verb in ("status", "health", "metrics", "sessions", "models", "viewers", "config show"):
        for json_ in ([], ["--json"]):
            done = private.ctl(*json_, *verb.split())
            printed[verb] = (done.stdout + done.stderr).encode()
    printed["logs"] = private.ctl("logs", "--level", "debug", "-n", "5000").stdout.encode()
    assert b"request ended" in printed["logs"]
    for each in listed:
        shown = private.ctl("--json", "session", "show", each["id"])
        assert shown.returncode == 0
        printed[f"session {each['id']}"] = shown.stdout.encode()
        answer = httpx.get(f"{private.page}api/sessions/{each['id']}", timeout=10)
        assert answer.status_code == 200
        printed[f"api {each['id']}"] = answer.content
    for path in ("metrics", "api/status", "api/sessions", "healthz"):
        printed[path] = httpx.get(private.page + path, timeout=10).content
    for pid in private.pids().values():
        printed[f"command line of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
    files = {str(path): path.read_bytes() for path in written(private.directory)}
    private.stop()
    files |= {f"{path} at the end": path.read_bytes() for path in written(private.directory)}
    assert any(name.endswith("sessions.db") for name in files)
    assert any("up.log" in name for name in files)
    found = [leak for name, data in {**printed, **files}.items() for leak in leaks(name, data)]
    assert found == []


def test_full_shows_what_this_test_would_find(private, upstream):
    """With ``record = "full"`` the same look at the files does find the text, but no key."""
    text = private.config.read_text()
    private.config.write_text(text.replace("[bridge]", '[bridge]\nrecord = "full"', 1))
    assert private.ctl("reload").returncode == 0
    asked = [{"role": "user", "content": BEFORE}, {"role": "user", "content": PROMPT}]
    url = f"{private.openai}/chat/completions"
    assert httpx.post(url, json={"model": MODEL, "stream": True, "messages": asked}, timeout=30)
    (session,) = private.json("sessions")["sessions"]
    assert (session["record"], session["path"]) == ("full", "/v1/chat/completions")
    for verb in (("show",), ("export", "-")):
        shown = private.ctl("session", verb[0], session["id"], *verb[1:]).stdout
        assert [word for word in (BEFORE, PROMPT, ANSWER[:10]) if word not in shown] == []
    private.stop()
    data = b"".join(path.read_bytes() for path in written(private.directory / "state"))
    found = {leak.partition(" in ")[0] for leak in leaks("state", data)}
    assert found >= {"prompt", "what was said before", "token id"}
    assert KEY.encode() not in data
    private.config.write_text(text)
    private.start()
    until(lambda: private.json("sessions")["sessions"][0]["record"] == "metadata", 10, "forgetting")
    private.stop()
    data = b"".join(path.read_bytes() for path in written(private.directory / "state"))
    assert leaks("state", data) == []
    assert (private.directory / "state" / "bridge" / "sessions.db").exists()
