"""make: names what a machine lacks, with the remedy; pretends nothing that is not there yet."""

import os
import re
import shutil
import subprocess

import pytest
import shown_commands
from repository import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make: sudo apt install make")

# Each stands in for a python3 and answers the Makefile's questions in its place.
OLD = 'if [ "$1" = --version ]; then echo "Python 3.9.2"; else exit 1; fi'
NO_VENV = 'case "$2" in *ensurepip*) exit 1;; esac'


def make(*arguments):
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def stand_in(tmp_path):
    def write(script):
        path = tmp_path / "python3"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (OLD, "cannot use Python 3.9.2: geoos needs Python 3.11 or newer"),
        (NO_VENV, "venv is missing; install it: sudo apt install python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_named_with_its_remedy(script, said, stand_in, tmp_path):
    venv = tmp_path / "venv"
    answer = make(f"PYTHON={stand_in(script)}", f"VENV={venv}", f"{venv}/.made")
    assert answer.returncode != 0
    assert said in answer.stderr
    assert not venv.exists()


def test_no_python_at_all_is_named_with_its_remedy(tmp_path):
    answer = make("PYTHON=no-such-python", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/.made")
    assert answer.returncode != 0
    assert "cannot find no-such-python; install it: sudo apt install python3" in answer.stderr


def test_a_full_disk_is_named(tmp_path):
    answer = make("NEEDED_MB=999999999", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/.made")
    assert answer.returncode != 0
    assert "MB free on this disk, 999999999 MB are needed" in answer.stderr


def test_make_alone_lists_its_targets():
    answer = make()
    assert answer.returncode == 0
    assert "make run " in answer.stdout


# Never without -n: these tests may run as root. tests/system installs, in a throw-away machine.
@pytest.mark.parametrize("target", ["wheels", "install", "uninstall"])
def test_installing_is_one_scripts_work(target):
    answer = make("-n", target)
    assert answer.returncode == 0
    assert answer.stdout == f"units/install.sh {target}\n"


@pytest.mark.parametrize("command", shown_commands.run_by(shown_commands.MAKE))
def test_what_the_documents_have_make_do_it_would_do(command):
    """CI itself runs `make check`, `coverage`, `test` and `test-system`: .ci/run."""
    command = command.removeprefix("sudo ")
    if command == ".ci/run":
        assert os.access(ROOT / command, os.X_OK)
        return
    answer = subprocess.run(
        ["bash", "-c", command.replace("make ", "make -n ")],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    for argument in re.findall(r'ARGS="(.*)"', command):
        assert argument in answer.stdout


def test_the_long_runs_are_the_tests_of_that_mark():
    answer = make("-n", "soak")
    assert answer.returncode == 0
    assert "pytest -m soak" in answer.stdout
