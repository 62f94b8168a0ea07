"""``sessions``, ``session`` and ``feedback`` against a real Varlink server."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

CONTROL = "io.geoos.Control"


def session(name="sAbc", **more):
    return {
        "id": name,
        "model": "gemma-3-270m-it-of-a-long-name",
        "upstream": "engine",
        "started": time.time() - 60,
        "tokens": 12345,
        "tokens_per_second": 123.4,
        "finish_reason": "stop",
        "record": "full",
        "messages": 2,
        "provenance": {"activation": "measured"},
        "total_tokens": 9,
        "prompt_tokens": 4,
        "completion_tokens": 5,
        "duration": 2.0,
        "time_to_first_token": 0.5,
        **more,
    }


def token(text, role="answer", **more):
    payload = {"current_token": text, "sequence_position": 0, "role": role, **more}
    return {"after": 0.1, "message_type": "TokenVisualizationUpdate", "payload": payload}


PARTS = {
    "session": session(),
    "messages": [
        {"after": 0.0, "message_type": "SessionProgress", "payload": {}},
        token("hm", "reasoning"),
        token("Hel"),
        token("lo\x1b[31m"),
        token("other", choice=1),
    ],
    "prompt": "Say hello",
    "system": "Be brief",
    "turns": [{"role": "user", "text": "Hi"}, {"role": "assistant", "text": "Yes?"}],
    "next": None,
}


def test_sessions_fit_80_columns(control, geoosctl):
    rows = [session(), session("s2", state="running"), session("s3", error="http_400")]
    rows.append(session("s4", model=None, tokens_per_second=None, state="interrupted"))
    control.answers[f"{CONTROL}.ListSessions"] = {"sessions": rows, "next": 3}
    result = geoosctl("sessions", "--model", "m", "--since", "2h", "--limit", "4")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    for word in ("stop", "running", "http_400", "interrupted"):
        assert word in result.stdout
    asked = control.calls[-1]["parameters"]
    assert asked["model"] == "m"
    assert asked["limit"] == 4
    assert abs(asked["since"] - (time.time() - 7200)) < 60
    found = json.loads(geoosctl("sessions", "--json").stdout)
    assert (found["version"], found["next"], len(found["sessions"])) == (1, 3, 4)
    assert geoosctl("sessions", "--since", "then").exit_code == 64
    assert geoosctl("sessions", "--since", "2027-01-31").exit_code == 0


def test_no_session(control, geoosctl):
    control.answers[f"{CONTROL}.ListSessions"] = {"sessions": [], "next": None}
    assert geoosctl("sessions").stdout == "no session is recorded\n"


def test_show(control, geoosctl):
    control.answers[f"{CONTROL}.GetSession"] = PARTS
    result = geoosctl("session", "show", "sAbc")
    assert result.exit_code == 0
    text = result.stdout.partition("\n\n")[2]
    assert text == (
        "== system ==\nBe brief\n\n== earlier: user ==\nHi\n\n== earlier: assistant ==\nYes?\n"
        "\n== prompt ==\nSay hello\n"
        "\n== reasoning ==\nhm\n\n== answer ==\nHello\x1b[31m\n"
    )
    assert "activation measured" in result.stdout
    found = json.loads(geoosctl("session", "show", "sAbc", "--json").stdout)
    assert found["prompt"] == "Say hello"
    assert len(found["messages"]) == 5


def test_show_of_a_session_that_is_not_there(control, geoosctl):
    control.answers[f"{CONTROL}.GetSession"] = "io.geoos.NotFound cannot find session x"
    result = geoosctl("session", "show", "x")
    assert result.exit_code == 70
    assert result.stderr == "geoosctl: cannot find session x\n"


def test_export(control, geoosctl, tmp_path):
    control.answers[f"{CONTROL}.GetSession"] = PARTS
    assert geoosctl("session", "export", "sAbc", str(tmp_path / "a.jsonl")).exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines[0]["session"]["id"] == "sAbc"
    assert (lines[0]["prompt"], lines[0]["turns"][1]["text"]) == ("Say hello", "Yes?")
    assert lines[3] == token("Hel")
    assert geoosctl("session", "export", "sAbc", str(tmp_path / "a.txt")).exit_code == 0
    assert "== answer ==\nHello" in (tmp_path / "a.txt").read_text()
    assert json.loads(geoosctl("session", "export", "sAbc", "-").stdout.splitlines()[0])
    refused = geoosctl("session", "export", "sAbc", str(tmp_path / "none" / "a"))
    assert (refused.exit_code, "cannot write" in refused.stderr) == (70, True)
    told = json.loads(geoosctl("--json", "session", "export", "sAbc", str(tmp_path / "b")).stdout)
    assert told["format"] == "jsonl"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


def test_an_export_takes_the_place_of_a_file_alone(control, geoosctl, tmp_path):
    control.answers[f"{CONTROL}.GetSession"] = PARTS
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    for name in ("pipe", "link"):
        refused = geoosctl("session", "export", "sAbc", str(tmp_path / name))
        assert refused.exit_code == 70
        assert "cannot write" in refused.stderr
        assert "a link, a device or the like is there" in refused.stderr
    assert pipe.is_fifo()
    assert not (tmp_path / "precious").exists()


def test_an_export_is_on_the_disk_before_it_takes_its_place(
    control, geoosctl, tmp_path, monkeypatch
):
    control.answers[f"{CONTROL}.GetSession"] = PARTS
    synced = []
    fsync = os.fsync

    def note(descriptor):
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, found.exists()))
        fsync(descriptor)

    found = tmp_path / "a.txt"
    monkeypatch.setattr(os, "fsync", note)
    assert geoosctl("session", "export", "sAbc", str(found)).exit_code == 0
    assert synced == [(".a.txt.new", False), (tmp_path.name, True)]


def test_replay(control, geoosctl):
    envelope = {"message_type": "SessionEnded", "timestamp": 1.0, "payload": {"session": "r1"}}
    control.answers[f"{CONTROL}.ReplaySession"] = [
        {"session": "r1", "message": envelope},
        {"session": "r1", "message": None},
    ]
    result = geoosctl("session", "replay", "sAbc", "--speed", "4")
    assert (result.exit_code, result.stdout) == (0, "replayed 1 messages\n")
    assert control.calls[-1]["more"]
    assert control.calls[-1]["parameters"] == {"session": "sAbc", "speed": 4.0}
    assert json.loads(geoosctl("session", "replay", "sAbc", "--json").stdout)["payload"]
    for speed in ("0", "nan", "-nan", "inf", "1001"):
        assert geoosctl("session", "replay", "sAbc", "--speed", speed).exit_code == 64
    assert geoosctl("--timeout", "nan", "session", "replay", "sAbc").exit_code == 64


def test_delete_asks_first(control, geoosctl):
    control.answers[f"{CONTROL}.DeleteSession"] = {}
    refused = geoosctl("session", "delete", "sAbc")
    assert refused.exit_code == 64
    assert "--yes" in refused.stderr
    assert control.calls == []
    assert geoosctl("session", "delete", "sAbc", "s2", "--yes").stdout == "deleted 2\n"
    assert [call["parameters"]["session"] for call in control.calls] == ["sAbc", "s2"]
    told = json.loads(geoosctl("--json", "session", "delete", "sAbc", "--yes").stdout)
    assert told["deleted"] == ["sAbc"]


SAID = {
    "id": 1,
    "session": "sAbc",
    "at": 1.0,
    "rating": 4,
    "comment": "good " * 30,
    "first": 3,
    "last": 9,
    "model": "gemma-3-270m-it-of-a-long-name",
    "success": True,
    "tokens": 9,
}
MODEL = {
    "model": "gemma-3-270m-it-of-a-long-name",
    "count": 3,
    "rating": 4.333,
    "ratings": [0, 0, 0, 2, 1],
    "success": 1.0,
    "tokens": 12.0,
    "latency": 0.123,
}


def test_feedback(control, geoosctl):
    control.answers[f"{CONTROL}.AddFeedback"] = {"feedback": SAID}
    control.answers[f"{CONTROL}.ListFeedback"] = {"feedback": [SAID], "models": [MODEL]}
    added = geoosctl("feedback", "add", "sAbc", "4", "good", "--tokens", "3-9")
    assert added.exit_code == 0
    assert control.calls[-1]["parameters"] == {
        "session": "sAbc",
        "rating": 4,
        "comment": "good",
        "first": 3,
        "last": 9,
    }
    assert json.loads(geoosctl("--json", "feedback", "add", "s", "4").stdout)["feedback"] == {
        **SAID,
        "latency": None,
        "duration": None,
        "prompt": None,
        "response": None,
    }
    for verb, word in (("list", "★★★★"), ("summary", "4.33")):
        result = geoosctl("feedback", verb)
        assert word in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert json.loads(geoosctl("feedback", verb, "--json").stdout)["version"] == 1
    control.answers[f"{CONTROL}.ListFeedback"] = {"feedback": [], "models": []}
    assert geoosctl("feedback", "list").stdout == "no feedback yet\n"
    assert geoosctl("feedback", "summary").stdout == "no feedback yet\n"


@pytest.mark.parametrize(
    "wrong", [["6"], ["0"], ["4", "x" * 5000], ["4", "--tokens", "9-3"], ["4", "--tokens", "a"]]
)
def test_wrong_feedback_is_not_sent(control, geoosctl, wrong):
    assert geoosctl("feedback", "add", "sAbc", *wrong).exit_code == 64
    assert control.calls == []
