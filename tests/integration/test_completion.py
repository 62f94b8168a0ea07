"""The shells complete what is there now: models, sessions, themes, viewers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .stack import BIN, until

ROOT = Path(__file__).resolve().parents[2]
SHELLS = {
    "bash": ["--norc", "-c", 'source "$1/geoosctl.bash"; read -ra COMP_WORDS <<<"$0"; '
             "[[ $0 = *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
             "compopt() { :; }; _geoosctl_completion geoosctl; printf '%s\\n' \"${COMPREPLY[@]}\""],
    "zsh": ["-f", "-c", "compdef() {}; compadd() { print -rl -- $completions; }; "
            "_describe() { print -rl -- ${(P)@[-1]} $completions_with_descriptions; }; "
            'words=(${=0}); [[ $0 = *" " ]] && words+=(""); CURRENT=$#words; '
            'source "$1/_geoosctl"; _geoosctl_completion'],
    "fish": ["--no-config", "-c", 'source "$argv[2]/geoosctl.fish"; complete -C "$argv[1]"'],
}  # fmt: skip


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    where = tmp_path_factory.mktemp("completions")
    made = subprocess.run(
        [sys.executable, "-B", ROOT / "docs/man/build.py", where], check=False, capture_output=True
    )
    assert made.returncode == 0, made.stderr
    return where / "completions"


def offered(shell, line, scripts, environ):
    path = f"{BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, *SHELLS[shell], line, scripts],
        env={**environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return {line.partition("\t")[0].partition(":")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", SHELLS)
def test_live_values(light_stack, scripts, shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}: apt install {shell}")
    light_stack.wait_for_model()
    assert light_stack.ctl("prompt", "hello").returncode == 0
    (session,) = [each["id"] for each in light_stack.json("sessions")["sessions"]]

    def fits(line):
        return offered(shell, line, scripts, light_stack.environ)

    assert "gemma-3-270m" in fits("geoosctl prompt --model ")
    assert "gemma-3-270m" in fits("geoosctl selftest --model gem")
    assert "gemma-3-270m" not in fits("geoosctl selftest --model x")
    assert session in fits("geoosctl session show ")
    assert session in fits(f"geoosctl logs --session {session[:4]}")
    assert {"aurora", "ember", "paper"} <= fits("geoosctl theme set ")
    with light_stack.viewer():
        (viewer,) = until(lambda: light_stack.json("viewers")["viewers"], 10)
        assert viewer["id"] in fits("geoosctl viewers disconnect ")


def test_where_nothing_runs_nothing_is_said(unstarted, scripts):
    assert offered("bash", "geoosctl theme set ", scripts, unstarted.environ) <= {""}
