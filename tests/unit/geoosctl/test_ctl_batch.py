"""``batch``: bad lines, answers in a file, and going on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CONTROL = "io.geoos.Control"


def message(kind, **payload):
    return {"message": {"message_type": kind, "timestamp": 1.0, "payload": payload}}


def answer(text="yes", error=None):
    tokens = [
        message("TokenVisualizationUpdate", current_token=each, sequence_position=at, role=role)
        for at, (each, role) in enumerate([("hm", "reasoning"), (text, "answer")])
    ]
    return [
        message("SessionStarted", session="s1", model="m"),
        *tokens,
        message("SessionEnded", session="s1", finish_reason="stop", error=error),
        {"message": None},
    ]


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "one", "id": "a"}, {"prompt": "two"}, {"prompt": "three", "model": "m"}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return path


def results(prompts):
    path = prompts.with_name("prompts.results.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_prompt_is_answered(control, geoosctl, prompts):
    control.answers[f"{CONTROL}.Prompt"] = answer()
    result = geoosctl("batch", str(prompts), "--concurrency", "1")
    assert result.exit_code == 0, result.stderr
    assert "3 answered, 0 failed" in result.stdout
    found = results(prompts)
    assert [(each["id"], each["line"]) for each in found] == [("a", 1), (2, 2), (3, 3)]
    assert {(each["text"], each["reasoning"], each["error"]) for each in found} == {
        ("yes", "hm", None)
    }
    assert control.calls[-1]["parameters"] == {"prompt": "three", "model": "m"}


def test_a_second_run_asks_only_what_is_missing(control, geoosctl, prompts):
    control.answers[f"{CONTROL}.Prompt"] = answer()
    geoosctl("batch", str(prompts), "--concurrency", "1")  # answers in the order of the prompts
    out = prompts.with_name("prompts.results.jsonl")
    kept, failed, _ = out.read_text().splitlines()
    wrong = json.dumps({**json.loads(failed), "error": "broke off"})
    out.write_text(f"{kept}\n{wrong}\n" + '{"id": 3, "te')  # as a power cut leaves it
    control.calls.clear()
    result = geoosctl("batch", str(prompts))
    assert result.exit_code == 0, result.stderr
    assert "1 of 3 have their answers already" in result.stderr
    asked = [each["parameters"]["prompt"] for each in control.calls if each.get("more")]
    assert sorted(asked) == ["three", "two"]
    found = results(prompts)
    assert len(found) == 3
    assert all(each["error"] is None for each in found)
    control.calls.clear()
    assert json.loads(geoosctl("--json", "batch", str(prompts)).stdout)["asked"] == 0
    assert control.calls == []


def test_answers_to_other_prompts_are_not_taken(control, geoosctl, prompts):
    control.answers[f"{CONTROL}.Prompt"] = answer()
    geoosctl("batch", str(prompts))
    prompts.write_text('{"prompt": "another", "id": "a"}\n')
    result = geoosctl("batch", str(prompts))
    assert result.exit_code == 70
    assert "answers another prompt" in result.stderr
    out = prompts.with_name("prompts.results.jsonl")
    out.write_text("no answer\n{}\n")
    assert "line 1 is no answer" in geoosctl("batch", str(prompts)).stderr


def test_failures_are_told(control, geoosctl, prompts):
    control.answers[f"{CONTROL}.Prompt"] = answer(error="broken")
    result = geoosctl("batch", str(prompts))
    assert result.exit_code == 70
    assert "3 of 3" in result.stderr
    assert {each["error"] for each in results(prompts)} == {"broken"}
    control.answers[f"{CONTROL}.Prompt"] = "io.geoos.Unavailable cannot ask: no upstream has it"
    assert geoosctl("batch", str(prompts)).exit_code == 70
    assert len(results(prompts)) == 3


def test_it_stops_where_geoos_is_away(geoosctl, prompts, runtime_dir):
    result = geoosctl("batch", str(prompts))
    assert result.exit_code == 69
    assert "cannot reach" in result.stderr
    assert results(prompts) == []


def test_what_goes_wrong_before_the_first_call_ends_it_too(geoosctl, prompts, monkeypatch):
    monkeypatch.setenv("GEOOS_RUNTIME_DIR", f"/tmp/{'x' * 107}")
    result = geoosctl("batch", str(prompts))
    assert result.exit_code == 78
    assert "too long for a socket" in result.stderr


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2"),
        ('{"prompt": ""}', "prompt is empty"),
        ('{"promt": "x"}', "promt"),
        ('{"prompt": 3}', "line 2"),
        ('{"prompt": "x", "id": "a"}', "is that of line 1"),
        ("[" * 5000, "line 2"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_asked(control, geoosctl, prompts, line, why):
    prompts.write_text('{"prompt": "one", "id": "a"}\n' + line + "\n")
    result = geoosctl("batch", str(prompts))
    assert result.exit_code == 64
    assert "line 2" in result.stderr
    assert why in result.stderr.replace("\n", " ")
    assert control.calls == []


def test_prompts_of_windows(control, geoosctl, prompts):
    control.answers[f"{CONTROL}.Prompt"] = answer()
    lines = prompts.read_bytes().strip().replace(b"\n", b"\r\n")
    prompts.write_bytes(b"\xef\xbb\xbf" + lines)
    assert geoosctl("batch", str(prompts)).exit_code == 0
    assert len(results(prompts)) == 3


def test_answers_go_to_a_file_alone(control, geoosctl, prompts, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = geoosctl("batch", str(prompts), "--out", str(pipe))
    assert refused.exit_code == 70
    assert refused.stderr == (
        f"geoosctl: cannot write {pipe}: a link, a device or the like is there\n"
    )
    assert not control.calls


def test_pipes(control, geoosctl):
    control.answers[f"{CONTROL}.Prompt"] = answer()
    result = geoosctl("batch", "-", "--out", "-", input='{"prompt": "x"}\n')
    assert json.loads(result.stdout)["text"] == "yes"
    assert geoosctl("batch", "-", input="").exit_code == 64
    assert geoosctl("batch", "/nowhere").exit_code == 64


def test_an_interrupt_leaves_a_file_to_go_on_with(control, geoosctl, prompts, runtime_dir):
    """The first is answered; Ctrl-C comes while the second is being asked."""
    control.answers[f"{CONTROL}.Prompt"] = answer()
    prompts.write_text('{"prompt": "one"}\n')
    assert geoosctl("batch", str(prompts)).exit_code == 0
    prompts.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    control.answers[f"{CONTROL}.Prompt"] = None
    control.called.clear()
    ctl = Path(sys.executable).parent / "geoosctl"
    process = subprocess.Popen(
        [ctl, "batch", str(prompts)], env={**os.environ}, stderr=subprocess.PIPE
    )
    assert control.called.wait(20)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    control.answers[f"{CONTROL}.Prompt"] = answer("two")
    assert geoosctl("batch", str(prompts)).exit_code == 0
    assert [each["id"] for each in results(prompts)] == [1, 2]
