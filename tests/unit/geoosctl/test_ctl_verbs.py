"""Every verb against a real Varlink server: what it asks, what it prints, how it exits."""

from __future__ import annotations

import base64
import io
import json
import re
import time

import pytest
from PIL import Image
from scripted_varlink import ScriptedServer

from geoosctl.cli import VERBS

CONTROL = "io.geoos.Control"
THEME = {
    "name": "ember",
    "title": "Ember",
    "background": "#000000",
    "text": "#ffffff",
    "muted": "#888888",
    "accent": "#ff9a4d",
    "ramp": ["#000000", "#ffffff"],
    "tints": ["#ffffff"],
}


def status(name: str, **more) -> dict:
    return {
        "name": name,
        "state": "active",
        "status": "",
        "pid": 4711,
        "version": "0.1.0",
        "since": time.time() - 240,
        "memory_bytes": 50 << 20,
        **more,
    }


def entry(name: str, **more) -> dict:
    return {"name": name, "state": "active", "status": status(name), **more}


def envelope(kind: str, **payload) -> dict:
    return {"message": {"message_type": kind, "timestamp": 1.0, "payload": payload}}


def token(text: str, session: str = "s", **more) -> dict:
    return envelope(
        "TokenVisualizationUpdate",
        current_token=text,
        sequence_position=0,
        session=session,
        **more,
    )


def ended(session: str = "s", **more) -> dict:
    return envelope("SessionEnded", session=session, **more)


# -- status ----------------------------------------------------------------------------------------


def test_status_when_all_are_active(control, geoosctl):
    control.answers[f"{CONTROL}.GetStatus"] = {"daemons": [entry("compositor"), entry("bridge")]}
    result = geoosctl("status")
    assert result.exit_code == 0
    assert "geoos is active: 2 of 2 daemons active" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("bridge"))
    assert line.split() == ["bridge", "active", "4", "min", "4711", "50.0", "MiB", "0.1.0"]
    assert "\x1b" not in result.stdout


def test_status_shows_what_matters_within_80_columns(control, geoosctl):
    busy = status(
        "bridge",
        status="streams",
        rates={"tokens": 25.31},
        queues=[
            {
                "name": "outbox",
                "depth": 3,
                "capacity": 20000,
                "policy": "drop_oldest",
                "dropped": 5,
            },
            {"name": "x", "depth": 0, "capacity": 1, "policy": "wait"},
        ],
        links=[
            {"name": "ingest", "peer": "/x/ingest.sock", "state": "down", "since": time.time() - 9}
        ],
        requests=[
            {
                "session": "0123456789abcdef",
                "model": "gemma\x1b[31m",
                "upstream": None,
                "phase": phase,
                "position": 2,
                "processed": 5,
                "total": 10,
                "tokens": 7,
                "tokens_per_second": speed,
                "since": time.time() - 3,
            }
            for phase, speed in (("queued", None), ("prefill", None), ("generating", 24.9))
        ],
    )
    away = {
        "name": "compositor",
        "state": "unreachable",
        "reason": "timed out: " + "no answer " * 20,
        "remedy": "kill -9 1",
        "restarts": 1,
        "restarted": time.time() - 12,
    }
    control.answers[f"{CONTROL}.GetStatus"] = {"daemons": [away, entry("bridge", status=busy)]}
    result = geoosctl("status")
    assert result.exit_code == 3
    for words in (
        "1 of 2 daemons active",
        "→ kill -9 1",
        "streams · tokens 25.3/s · outbox 3/20000 dropped 5 · x 0/1\n",
        "queued #2",
        "prefill 50 %",
        "24.9",
    ):
        assert words in result.stdout
    # A busy machine may take its time to get here.
    assert re.search(r"restarted 1[2-9] s ago|restarted [2-5]\d s ago", result.stdout)
    assert re.search(r"ingest down for (9|[1-5]\d) s", result.stdout)
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


def test_status_when_nothing_runs(geoosctl):
    result = geoosctl("status")
    assert result.exit_code == 3
    assert result.stdout == "geoos is stopped\nstart it: geoosd up\n"
    found = json.loads(geoosctl("--json", "status").stdout)
    assert (found["version"], found["state"]) == (1, "stopped")
    assert geoosctl("status", "--socket", "/nowhere/x.sock").exit_code == 69


def test_status_when_control_alone_is_dead(runtime_dir, geoosctl):
    bridge = ScriptedServer(runtime_dir / "bridge.varlink")
    broken = ScriptedServer(runtime_dir / "compositor.varlink")
    try:
        bridge.answers["io.geoos.Daemon.GetStatus"] = {"status": status("bridge")}
        broken.answers["io.geoos.Daemon.GetStatus"] = {}
        result = geoosctl("status", "--json")
        assert result.exit_code == 3
        states = {each["name"]: each["state"] for each in json.loads(result.stdout)["daemons"]}
        assert states == {
            "compositor": "unreachable",
            "bridge": "active",
            "control": "unreachable",
        }
        health = geoosctl("health")
        assert health.exit_code == 2
        assert health.stdout.startswith("critical: control does not answer")
        assert "→ geoosd up" in health.stdout
    finally:
        bridge.close()
        broken.close()


# -- health ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "code"), [("healthy", 0), ("warning", 1), ("critical", 2), ("unknown", 3)]
)
def test_health_exits_as_monitoring_plugins_do(control, geoosctl, verdict, code):
    control.answers[f"{CONTROL}.GetHealth"] = {
        "status": verdict,
        "root_cause": None,
        "remedy": None,
        "checks": [],
    }
    assert geoosctl("health").exit_code == code
    found = json.loads(geoosctl("health", "--json").stdout)
    assert found == {
        "version": 1,
        "status": verdict,
        "root_cause": None,
        "remedy": None,
        "checks": [],
        "structure": None,
        "alerts": [],
        "history": [],
    }


def test_health_says_the_root_cause_and_the_remedy_first(control, geoosctl):
    control.answers[f"{CONTROL}.GetHealth"] = {
        "status": "critical",
        "root_cause": "the compositor does not answer: refused: nobody listens on the socket " * 2,
        "remedy": "geoosd compositor",
        "checks": [
            {
                "name": "compositor: process",
                "status": "critical",
                "summary": "refused",
                "remedy": "geoosd compositor",
                "since": time.time() - 5,
            },
            {
                "name": "bridge: disk",
                "status": "warning",
                "summary": "nearly full " * 10,
                "remedy": "rm it",
                "since": 0,
            },
        ],
    }
    lines = geoosctl("health").stdout.splitlines()
    assert lines[0].startswith("critical: the compositor does not answer")
    assert lines[2] == "→ geoosd compositor"
    assert "refused, for 5\N{NO-BREAK SPACE}s" in "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "          → rm it" in lines


def test_health_shows_the_alerts_that_fire(control, geoosctl):
    alert = {"rule": "pas < 0.85", "value": 0.8, "threshold": 0.85, "since": time.time() - 65}
    alert |= {"summary": "the structure score (PAS): 0.8", "remedy": "geoosctl structure --debug"}
    control.answers[f"{CONTROL}.GetHealth"] = {
        "status": "warning",
        "root_cause": "x",
        "remedy": None,
        "checks": [{"name": "a: b", "status": "healthy", "summary": "works"}],
        "alerts": [alert],
    }
    assert geoosctl("health").stdout.splitlines()[-3:] == [
        "",
        "warning   alert pas < 0.85  the structure score (PAS): 0.8",
        "          for 1 min → geoosctl structure --debug",
    ]


def test_health_shows_its_last_turns(control, geoosctl):
    now = time.time()
    answer = {"status": "healthy", "root_cause": None, "remedy": None}
    answer["checks"] = [{"name": "a: b", "status": "healthy", "summary": "works"}]
    answer["history"] = [{"at": now - 3600, "status": "healthy", "root_cause": None}]
    control.answers[f"{CONTROL}.GetHealth"] = answer
    assert "since" not in geoosctl("health").stdout
    answer["history"] += [
        {"at": now - 130, "status": "critical", "root_cause": "the bridge does not answer"},
        {"at": now - 9.5, "status": "healthy", "root_cause": None},
    ]
    assert geoosctl("health").stdout.splitlines()[-3:] == [
        "healthy   since 1 h ago     –",
        "critical  since 2 min ago   the bridge does not answer",
        "healthy   since 10 s ago    –",
    ]


@pytest.mark.parametrize(
    ("score", "label", "lines"),
    [
        (0.962, "healthy", ["structure (PAS) 0.962: healthy", "  /src, looked at 2 min ago"]),
        (
            0.7,
            "critical (symmetry)",
            [
                "structure (PAS) 0.700: critical (symmetry)",
                "  /src, looked at 2 min ago",
                "  → geoosctl structure --debug /src",
            ],
        ),
    ],
)
def test_the_structure_stands_beside_health(control, geoosctl, score, label, lines):
    control.answers[f"{CONTROL}.GetHealth"] = {
        "status": "healthy",
        "root_cause": None,
        "remedy": None,
        "checks": [{"name": "a: b", "status": "healthy", "summary": "works"}],
        "structure": {
            "root": "/src",
            "status": label.split()[0],
            "label": label,
            "at": time.time() - 130,
            "score": score,
        },
    }
    result = geoosctl("health")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-len(lines) :] == lines


def test_health_when_nothing_runs(geoosctl):
    result = geoosctl("health")
    assert result.exit_code == 3
    assert result.stdout == "unknown: geoos is not running\n→ geoosd up\n"
    assert geoosctl("health", "--socket", "/nowhere/x.sock").exit_code == 69


def test_watching_health_shows_each_change_once(control, geoosctl, monkeypatch):
    monkeypatch.setattr("geoosctl.commands.health._WATCH_SECONDS", 0.01)
    verdicts = iter(["healthy", "healthy", "critical", "critical"])

    class Script(dict):
        def __getitem__(self, method):
            verdict = next(verdicts, None)
            if verdict is None:
                return "io.geoos.PermissionDenied enough"
            return {"status": verdict, "root_cause": None, "remedy": None, "checks": []}

    control.answers = Script()
    result = geoosctl("health", "--watch", "--json")
    assert result.exit_code == 77
    shown = [json.loads(line)["status"] for line in result.stdout.splitlines()]
    assert shown == ["healthy", "critical"]


# -- logs ------------------------------------------------------------------------------------------


def record(event: str, timestamp: float = 1e9, **more) -> dict:
    return {
        "record": {
            "timestamp": timestamp,
            "level": "info",
            "event": event,
            "daemon": "bridge",
            **more,
        }
    }


def test_logs(control, geoosctl):
    control.answers[f"{CONTROL}.GetLogs"] = [
        record("ready", fields={"pid": "7"}, error="a\x1b[2Jb\nc"),
        {"record": None},
    ]
    result = geoosctl("logs", "-n", "5", "--unit", "bridge", "--level", "info", "--session", "s")
    assert result.exit_code == 0
    assert "info     bridge      ready  error=a�[2Jb�c pid=7" in result.stdout
    call = control.calls[0]
    assert call["more"] is True
    assert call["parameters"] == {
        "lines": 5,
        "unit": "bridge",
        "level": "info",
        "session": "s",
        "follow": False,
    }
    lines = geoosctl("logs", "--json").stdout.splitlines()
    assert json.loads(lines[0])["event"] == "ready"


@pytest.mark.parametrize("since", ["10m", "1.5h", "2001-09-09T01:46:41", "0:00:00", "0:00"])
def test_logs_since(control, geoosctl, since):
    control.answers[f"{CONTROL}.GetLogs"] = [
        record("old"),
        record("new", time.time()),
        {"record": None},
    ]
    result = geoosctl("logs", "--since", since)
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["new"]
    assert control.calls[0]["parameters"]["lines"] == 100_000


def test_logs_since_nonsense(geoosctl):
    assert geoosctl("logs", "--since", "yesteryear").exit_code == 64


def test_following_goes_on_when_control_comes_back(control, geoosctl, monkeypatch):
    monkeypatch.setattr("geoosctl.commands.logs._AGAIN_SECONDS", 0.01)
    first = json.dumps({"parameters": record("one", 5.0), "continues": True}).encode() + b"\0"
    again = [record("one", 5.0), record("two", 6.0), {"record": None}]

    class Script(dict):
        def __getitem__(self, method):
            return first if len(control.calls) == 1 else again

    control.answers = Script()
    result = geoosctl("logs", "-f", "--json")
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["one", "two"]
    assert "waiting for it" in result.stderr


# -- prompt ----------------------------------------------------------------------------------------


def test_prompt_prints_the_answer_alone(control, geoosctl):
    control.answers[f"{CONTROL}.Prompt"] = [
        envelope("SessionStarted", session="s", model="gemma", upstream="u"),
        envelope("SessionProgress", session="s", phase="queued", position=1),
        envelope("SessionProgress", session="s", phase="prefill", processed=1, total=2),
        envelope("SessionProgress", session="s", phase="generating"),
        envelope("NeuralStateUpdate", strength=0.5),
        token("not shown", role="prompt"),
        token("hidden", role="reasoning"),
        token("other choice", choice=1),
        token("a \x1b[31mcurve"),
        token("\r\nthat fills"),
        ended(usage={"completion_tokens": 2}, tokens_per_second=25.0, time_to_first_token=0.3),
        {"message": None},
    ]
    result = geoosctl("prompt", "hi", "--model", "gemma", "--param", "seed=1", "--param", "stop=x")
    assert result.exit_code == 0
    assert result.stdout_bytes == b"a \x1b[31mcurve\r\nthat fills\n", "as the model sent it"
    assert result.stderr == "", "nobody can tell which models there are"
    assert control.calls[-1]["parameters"] == {
        "prompt": "hi",
        "model": "gemma",
        "parameters": {"seed": 1, "stop": "x"},
    }


def test_prompt_reads_standard_input(control, geoosctl):
    control.answers[f"{CONTROL}.Prompt"] = [token("x\n"), ended(), {"message": None}]
    assert geoosctl("prompt", "-", input="from stdin").stdout == "x\n"
    assert control.calls[0]["parameters"]["prompt"] == "from stdin"


def test_prompt_to_several_models_makes_labelled_blocks(control, geoosctl):
    control.answers[f"{CONTROL}.Prompt"] = [
        envelope("SessionStarted", session="1", model="gemma"),
        envelope("SessionStarted", session="2", model="qwen"),
        envelope("SessionProgress", session="2", phase="generating"),
        token("one", "1"),
        token("two", "2"),
        ended("2"),
        ended("1", error="the upstream broke off"),
        {"message": None},
    ]
    result = geoosctl("prompt", "hi", "--model", "gemma", "--model", "qwen")
    assert result.exit_code == 70
    assert result.stdout == "== qwen ==\ntwo\n== gemma ==\none\n"
    assert result.stderr == "geoosctl: gemma: the upstream broke off\n"
    assert control.calls[-1]["parameters"]["models"] == ["gemma", "qwen"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("gemna", "'gemna', so the default one is asked; do you mean gemma?"),
        ("nothing-like-it", "'nothing-like-it', so the default one is asked; see: geoosctl models"),
        ("desk/gemna", "'desk/gemna', so desk is asked; do you mean desk/gemma?"),
        ("desc/gemma", "'desc/gemma', so the default one is asked; do you mean desk/gemma?"),
        ("x\x1b[31m", "'x\\x1b[31m', so the default one is asked; see: geoosctl models"),
        ("gemma", None),
        ("desk/gemma", None),
    ],
)
def test_who_asks_a_model_that_no_server_lists_is_told(control, geoosctl, tmp_path, asked, words):
    address = "http://127.0.0.1:1"
    listed = {"id": "gemma", "upstream": "desk", "upstream_url": address, "state": "ready"}
    control.answers[f"{CONTROL}.ListModels"] = {"models": [{**listed, "chat": True}]}
    control.answers[f"{CONTROL}.Prompt"] = [token("x"), ended(), {"message": None}]
    said = f"geoosctl: no server lists {words}\n" if words else ""
    result = geoosctl("prompt", "hi", "--model", asked)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "x\n", said)
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join([json.dumps({"prompt": "hi", "model": asked})] * 2))
    batch = geoosctl("batch", str(file), "--out", "-")
    assert batch.exit_code == 0
    assert batch.stderr == said, "once, however many prompts ask for it"


def test_prompt_as_json_lines(control, geoosctl):
    control.answers[f"{CONTROL}.Prompt"] = [token("x"), ended(error="no"), {"message": None}]
    result = geoosctl("prompt", "hi", "--all", "--json")
    assert result.exit_code == 70
    kinds = [json.loads(line)["message_type"] for line in result.stdout.splitlines()]
    assert kinds == ["TokenVisualizationUpdate", "SessionEnded"]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ([{"message": None}], 70, "no model took the prompt"),
        ([token("x"), {"message": None}], 70, "the answer broke off"),
        ([{"message": {"message_type": "Nonsense"}}], 70, "cannot read the answer"),
        ("io.geoos.Unavailable the bridge is away", 69, "the bridge is away"),
        ("io.geoos.NotFound no such model", 70, "no such model"),
        ("io.geoos.InvalidArgument bad temperature", 64, "bad temperature"),
        ("io.geoos.PermissionDenied not you", 77, "not you"),
    ],
)
def test_prompts_that_fail(control, geoosctl, answer, code, words):
    control.answers[f"{CONTROL}.Prompt"] = answer
    result = geoosctl("prompt", "hi")
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_prompt_usage(geoosctl):
    assert geoosctl("prompt", "x", "--all", "--model", "m").exit_code == 64
    assert geoosctl("prompt", "x", "--param", "novalue").exit_code == 64
    assert geoosctl("prompt").exit_code == 64


# -- the others ------------------------------------------------------------------------------------


def test_metrics(control, geoosctl):
    text = '# HELP x X\n# TYPE x gauge\nx{daemon="a"} 1.0\nx{daemon="b"} NaN\n'
    control.answers[f"{CONTROL}.GetMetrics"] = {"text": text}
    assert geoosctl("metrics").stdout == text
    (family,) = json.loads(geoosctl("metrics", "--json").stdout)["metrics"]
    assert family["type"] == "gauge"
    assert [each["value"] for each in family["samples"]] == [1.0, "nan"]
    control.answers[f"{CONTROL}.GetMetrics"] = {"text": "x{ nonsense\n"}
    assert geoosctl("metrics", "--json").exit_code == 70


def test_models(control, geoosctl):
    model = {
        "id": "gemma",
        "upstream": "engine",
        "upstream_url": "http://127.0.0.1:1236",
        "state": "ready",
        "circuit": "closed",
        "retry_in": None,
        "chat": False,
        "capabilities": {"chat": False, "logprobs": True, "token_ids": True, "tools": None},
        "learnt": {"chat": "probe", "logprobs": "answer", "token_ids": "answer"},
    }
    control.answers[f"{CONTROL}.ListModels"] = {"models": [model]}
    assert geoosctl("models").stdout.splitlines() == [
        "MODEL  STATE  UPSTREAM  ADDRESS",
        "gemma  ready  engine    http://127.0.0.1:1236",
        "  + logprobs, ids  - chat  ? tools",
    ]
    assert json.loads(geoosctl("models", "--json").stdout)["models"] == [model]
    control.answers[f"{CONTROL}.ListModels"] = {"models": []}
    assert "no model server answers" in geoosctl("models").stdout


def test_models_of_a_server_that_is_set_aside(control, geoosctl):
    every = ["chat", "completions", "logprobs", "token_ids", "prompt_progress", "usage"]
    model = {
        "id": "lmstudio-community/Meta-Llama-3.1-8B-Instruct-GGUF",
        "upstream": "lmstudio",
        "upstream_url": "http://127.0.0.1:1234",
        "state": "ready",
        "circuit": "open",
        "retry_in": 4.4,
        "chat": True,
        "capabilities": dict.fromkeys([*every, "tokenize", "tools"]),
        "learnt": {},
    }
    control.answers[f"{CONTROL}.ListModels"] = {"models": [model]}
    said = geoosctl("models").stdout
    assert "set aside" in said
    assert "tried again in 4 s" in said
    assert "1234" not in said
    assert all(len(line) <= 80 for line in said.splitlines())


def test_viewers(control, geoosctl):
    viewer = {
        "id": "v1",
        "address": "127.0.0.1:5000",
        "since": time.time() - 60,
        "lag": 0,
        "dropped": 2,
        "sent": 100,
        "rate": 12.5,
        "channels": ["tokens"],
        "tick": 16,
    }
    control.answers[f"{CONTROL}.ListViewers"] = {"viewers": [viewer]}
    row = "127.0.0.1:5000  1 min  12.5/s    0        2  tokens    16 ms   100"
    assert row in geoosctl("viewers").stdout
    wide = {**viewer, "address": "127.0.0.1:50000", "channels": ["sessions", "state", "tokens"]}
    control.answers[f"{CONTROL}.ListViewers"] = {"viewers": [wide]}
    lines = geoosctl("viewers").stdout.splitlines()
    assert lines[0].split()[-1] == "CHANNELS"
    assert all(len(line) <= 80 for line in lines)
    control.answers[f"{CONTROL}.ListViewers"] = {"viewers": [viewer]}
    assert json.loads(geoosctl("viewers", "--json").stdout)["viewers"] == [viewer]
    control.answers[f"{CONTROL}.ListViewers"] = {"viewers": []}
    assert geoosctl("viewers").stdout == "nobody looks\n"


def test_a_viewer_is_disconnected(control, geoosctl):
    control.answers[f"{CONTROL}.DisconnectViewer"] = {}
    assert geoosctl("viewers", "disconnect", "v7").stdout == "v7 is disconnected\n"
    assert control.calls[-1]["parameters"] == {"id": "v7"}
    said = geoosctl("viewers", "--json", "disconnect", "v7").stdout
    assert json.loads(said) == {"version": 1, "disconnected": "v7"}
    control.answers[f"{CONTROL}.DisconnectViewer"] = "io.geoos.NotFound"
    assert geoosctl("viewers", "disconnect", "v8").exit_code == 70


def test_snapshot(control, geoosctl, tmp_path):
    control.answers[f"{CONTROL}.Snapshot"] = {
        "image": base64.b64encode(b"\x89PNG").decode(),
        "media_type": "image/png",
        "width": 64,
        "height": 32,
    }
    file = tmp_path / "map.png"
    result = geoosctl("snapshot", str(file), "--width", "64", "--theme", "paper")
    assert result.exit_code == 0
    assert "64 × 32, image/png" in result.stdout
    assert file.read_bytes() == b"\x89PNG"
    assert control.calls[0]["parameters"] == {"width": 64, "theme": "paper", "format": "png"}
    assert geoosctl("snapshot", "-").stdout_bytes == b"\x89PNG"
    assert json.loads(geoosctl("snapshot", str(file), "--json").stdout)["width"] == 64
    assert geoosctl("snapshot", "map.gif").exit_code == 64
    result = geoosctl("snapshot", "/nowhere/map.png")
    assert (result.exit_code, "cannot write" in result.stderr) == (70, True)
    control.answers[f"{CONTROL}.Snapshot"]["image"] = "?"
    assert geoosctl("snapshot", str(file)).exit_code == 70


def still(color):
    out = io.BytesIO()
    Image.new("RGB", (32, 16), color).save(out, "png")
    answer = {"media_type": "image/png", "width": 32, "height": 16}
    return answer | {"image": base64.b64encode(out.getvalue()).decode()}


def test_snapshot_of_a_view(control, geoosctl, tmp_path):
    control.answers[f"{CONTROL}.Snapshot"] = still("red")
    file = str(tmp_path / "a.webp")
    options = ["--view", "attention", "--zoom", "4", "--center", "512,300.5", "--labels"]
    assert geoosctl("snapshot", file, *options, "--dpr", "2").exit_code == 0
    assert control.calls[-1]["parameters"] == {
        "view": "attention", "zoom": 4, "center_x": 512, "center_y": 300.5, "labels": True,
        "dpr": 2, "format": "webp",
    }  # fmt: skip
    result = geoosctl("snapshot", file, "--center", "here")
    assert (result.exit_code, "is not COLUMN,ROW" in result.stderr) == (64, True)
    control.answers[f"{CONTROL}.Snapshot"] = "io.geoos.InvalidArgument"
    assert geoosctl("snapshot", file, "--view", "inside").exit_code != 0


def test_a_recording(control, geoosctl, tmp_path):
    control.answers[f"{CONTROL}.Snapshot"] = still("red")
    file = tmp_path / "film.webp"
    result = geoosctl("snapshot", str(file), "--seconds", "0.3", "--fps", "20")
    assert result.exit_code == 0
    assert "film.webp: 1 pictures, 0." in result.stdout  # nothing has changed meanwhile
    assert len(control.calls) > 2
    assert {call["parameters"]["format"] for call in control.calls} == {"jpeg"}
    told = json.loads(geoosctl("snapshot", str(file), "--seconds", "0.1", "--json").stdout)
    assert (told["pictures"], told["file"]) == (1, str(file))
    with Image.open(file) as picture:
        assert picture.size == (32, 16)
    assert geoosctl("snapshot", "film.png", "--seconds", "1").exit_code == 64
    assert "with --seconds" in geoosctl("snapshot", "film.mp4").stderr
    result = geoosctl("snapshot", "/nowhere/film.webp", "--seconds", "1")
    assert (result.exit_code, "no such directory" in result.stderr) == (70, True)
    control.answers[f"{CONTROL}.Snapshot"] = "io.geoos.Unavailable"
    lost = tmp_path / "lost.webp"
    assert geoosctl("snapshot", str(lost), "--seconds", "1").exit_code != 0
    assert not lost.exists()


def test_themes(control, geoosctl):
    control.answers[f"{CONTROL}.ListThemes"] = {"themes": [THEME], "current": "ember"}
    control.answers[f"{CONTROL}.SetTheme"] = {"theme": THEME}
    assert "*  ember  Ember" in geoosctl("theme", "list").stdout
    assert json.loads(geoosctl("theme", "--json", "list").stdout)["current"] == "ember"
    assert "accent      #ff9a4d" in geoosctl("theme", "show").stdout
    assert json.loads(geoosctl("theme", "show", "ember", "--json").stdout)["theme"] == THEME
    assert geoosctl("theme", "show", "nope").exit_code == 70
    assert geoosctl("theme", "set", "ember").stdout == "theme ember is in use\n"
    assert json.loads(geoosctl("theme", "set", "ember", "--json").stdout)["current"] == "ember"


def test_reload_and_log_level(control, geoosctl):
    outcomes = [{"name": "bridge", "error": None, "reason": None}]
    control.answers[f"{CONTROL}.Reload"] = {"outcomes": outcomes}
    control.answers[f"{CONTROL}.SetLogLevel"] = {"outcomes": outcomes}
    assert geoosctl("reload").stdout == "bridge: reloaded\n"
    result = geoosctl("log-level", "debug", "--unit", "bridge")
    assert (result.exit_code, result.stdout) == (0, "bridge: logs from debug on\n")
    assert control.calls[-1]["parameters"] == {"level": "debug", "unit": "bridge"}
    refused = {"name": "bridge", "error": "io.geoos.InvalidArgument", "reason": "unknown key x"}
    control.answers[f"{CONTROL}.Reload"] = {"outcomes": [refused]}
    result = geoosctl("reload", "--json")
    assert result.exit_code == 78
    assert json.loads(result.stdout)["outcomes"] == [refused]
    assert result.stderr == "geoosctl: bridge: unknown key x\n"
    away = {"name": "bridge", "error": "io.geoos.Unavailable", "reason": None}
    control.answers[f"{CONTROL}.Reload"] = {"outcomes": [away]}
    assert geoosctl("reload").exit_code == 69


def test_call(control, geoosctl):
    control.answers[f"{CONTROL}.GetStatus"] = {"daemons": []}
    control.answers["a.b.C"] = [{"n": 1}, {"n": 2}]
    assert json.loads(geoosctl("call", "GetStatus").stdout) == {"daemons": []}
    assert json.loads(geoosctl("--json", "call", "GetStatus").stdout)["parameters"] == {
        "daemons": []
    }
    assert geoosctl("call", "a.b.C", '{"x": 1}', "--more").stdout == '{"n": 1}\n{"n": 2}\n'
    assert control.calls[-1]["parameters"] == {"x": 1}
    assert geoosctl("call", "GetStatus", "[]").exit_code == 64
    assert geoosctl("call", "GetStatus", "{").exit_code == 64
    result = geoosctl("call", "io.geoos.Bridge.ListModels")
    assert (result.exit_code, "bridge.varlink" in result.stderr) == (69, True)


# -- whatever the verb -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"not json\0", 69, "cannot read the reply"),
        (b'{"parameters": 5}\0', 69, "cannot read the reply"),
        (b"", 69, "closed the connection"),
        (b'{"param', 69, "closed the connection"),
        ({"daemons": "none"}, 70, "cannot read the answer"),
        ({"daemons": [{"name": 5}]}, 70, "cannot read the answer"),
        ("io.geoos.PermissionDenied not you\x1b[2J", 77, "not you�[2J"),
        ("org.varlink.service.MethodNotFound", 70, "MethodNotFound"),
        (None, 69, "no answer from"),
    ],
)
def test_bad_answers_give_one_line(control, geoosctl, answer, code, words):
    control.answers[f"{CONTROL}.GetStatus"] = answer
    socket = str(control.path)
    patience = "0.05" if answer is None else "30"
    result = geoosctl("status", "--socket", socket, "--timeout", patience)
    assert result.exit_code == code
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_call_that_shows_the_parameters_of_an_error(control, geoosctl):
    control.answers["x.Y"] = b'{"error": "x.Bad", "parameters": {"field": "n"}}\0'
    assert geoosctl("call", "x.Y").stderr == "geoosctl: x.Bad: field: n\n"
    control.answers["x.Y"] = b'{"error": "x.Bad"}\0'
    assert geoosctl("call", "x.Y").stderr == "geoosctl: x.Bad\n"


def test_usage_errors_exit_64(geoosctl):
    for args in (["statsu"], ["status", "--nope"], ["status", "--timeout", "0"], ["log-level"]):
        result = geoosctl(*args)
        assert result.exit_code == 64
        assert result.stdout == ""
    assert "Do you mean status?" in geoosctl("statsu").stderr


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_80_columns_and_examples(geoosctl, verb):
    result = geoosctl(verb, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "--json" in result.stdout
    assert "Examples:" in result.stdout or "Commands:" in result.stdout


def test_the_help_lists_every_verb(geoosctl):
    result = geoosctl("--help")
    listed = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
    assert [word for word in listed if word in VERBS] == list(VERBS)
    assert "..." not in result.stdout.partition("Commands:")[2], "a summary is cut off"
    assert geoosctl("--version").stdout.startswith("geoosctl, version ")


# -- theme validate --------------------------------------------------------------------------------


def test_a_good_theme_is_told_where_it_goes(geoosctl, tmp_path):
    (tmp_path / "ember.json").write_text(json.dumps(THEME))
    result = geoosctl("theme", "validate", str(tmp_path / "ember.json"))
    assert result.exit_code == 0
    assert "put it into /etc/geoos/themes" in result.stdout
    told = json.loads(geoosctl("--json", "theme", "validate", str(tmp_path / "ember.json")).stdout)
    assert (told["ok"], told["error"]) == (True, None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"accent": "orange"}, "accent: "),
        ({"ramp": ["#000000"]}, "ramp: "),
        ({"tints": [1]}, "tints[0]: "),
        ({"title": None}, "title: "),
        ({"name": "Ember"}, "name: "),
        ({"name": "embers"}, "it is named 'embers'; name the file embers.json"),
    ],
)
def test_a_bad_theme_is_told_which_key(geoosctl, tmp_path, change, why):
    (tmp_path / "ember.json").write_text(json.dumps({**THEME, **change}))
    result = geoosctl("theme", "validate", str(tmp_path / "ember.json"))
    assert result.exit_code == 78
    assert f"cannot use {tmp_path}/ember.json: {why}" in result.stderr


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b" " * 70_000])
def test_what_is_no_theme(geoosctl, tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    result = geoosctl("--json", "theme", "validate", str(tmp_path / "x.json"))
    assert result.exit_code == 78
    assert json.loads(result.stdout)["error"]
    assert geoosctl("theme", "validate", str(tmp_path / "none.json")).exit_code == 78
