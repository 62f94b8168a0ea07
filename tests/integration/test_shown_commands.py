"""The commands and programs that the documents show for a clone, run in one, as they stand there.

What fits no clone is run elsewhere: ../shown_commands.py. Ports are the kernel's choice, and
sockets in a directory of the test's; nothing else is changed.
"""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import shown_commands
from shown_commands import ROOT, code

from .scripted import ScriptedUpstream
from .stack import BIN, free_ports, payloads, running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COMMANDS = shown_commands.run_by(shown_commands.IN_A_CLONE)
STARTS = [each for each in COMMANDS if re.match(r"make run|GEOOS_RUNTIME_DIR=", each)]
SCRAPES = [each for each in COMMANDS if each.startswith("prometheus ")]
CALLS = [each for each in COMMANDS if each.startswith(("varlinkctl ", "printf "))]
OTHERS = [
    pytest.param(each, marks=[pytest.mark.prometheus] if each.startswith("promtool ") else [])
    for each in COMMANDS
    if each not in {*STARTS, *SCRAPES, *CALLS}
]


@pytest.fixture
def clone(tmp_path):
    """This tree with its virtual environment, as `make run` leaves it, but for what it installs."""
    clone = tmp_path / "clone"
    (clone / ".venv").mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in {".venv", ".git"}:
            (clone / path.name).symlink_to(path)
    (clone / ".venv" / "bin").symlink_to(BIN)
    for made in (".made", ".run"):
        (clone / ".venv" / made).touch()
    return clone


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A running geoos in front of a scripted model server."""
    with (
        ScriptedUpstream() as upstream,
        running(tmp_path_factory.mktemp("shown"), engine=False, upstream=upstream.url) as stack,
    ):
        stack.wait_for_model()
        yield stack


def environ(stack):
    return {key: value for key, value in stack.environ.items() if not key.startswith("MAKE")}


def placed(command, tmp_path):
    """With directories and ports of this test's."""
    command = command.replace("/tmp/second", str(tmp_path / "second"))
    return re.sub(r"(?<=listen=127\.0\.0\.1:)\d+", lambda _: str(free_ports(1)[0]), command)


@pytest.mark.parametrize("command", STARTS)
def test_it_starts(command, clone, unstarted, tmp_path):
    shutil.copy(unstarted.config, clone / "geoos.toml")
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {placed(command, tmp_path)}"],
            cwd=clone,
            env=environ(unstarted),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: "Geometry OS is ready" in log.read_text(), 30, f"readiness: {log}")
        assert re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(15)


@pytest.mark.parametrize("command", OTHERS)
def test_it_works(command, clone, ready):
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=clone,
        env=environ(ready),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", CALLS)
def test_a_varlink_call_without_geoosctl(command, ready):
    program = "socat" if "socat" in command else command.split()[0]
    if not shutil.which(program):
        pytest.skip(f"{program} is missing: apt install socat; varlinkctl comes with systemd 255")
    command = command.replace("/run/user/1000/geoos", ready.environ["GEOOS_RUNTIME_DIR"])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert '"bridge"' in done.stdout


@pytest.mark.parametrize("command", SCRAPES)
@pytest.mark.prometheus
def test_prometheus_takes_the_example(command, tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *command.split(),
                "--web.listen-address=127.0.0.1:0",
                f"--storage.tsdb.path={tmp_path / 'data'}",
            ],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "Server is ready" in log.read_text(), 60, f"readiness: {log}")
    finally:
        process.terminate()
        process.wait(30)


def ports_of(stack, program):
    return program.replace(":1235", f":{stack.bridge}").replace(":8765", f":{stack.broadcaster}")


def test_the_readmes_program_gets_its_answer(ready):
    (program,) = code(ROOT / "README.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", ports_of(ready, program)],
        capture_output=True,
        text=True,
        timeout=60,
        env=ready.environ,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_ten_lines_of_python_are_a_producer(ready):
    (program,) = code(ROOT / "docs" / "interfaces.md", "python")
    with ready.viewer() as viewer:
        viewer.read("Snapshot")
        subprocess.run([sys.executable, "-c", program], env=ready.environ, check=True)
        words: list[str] = []
        while len(words) < 4:
            read = viewer.read("TokenVisualizationUpdate")
            words += [each["current_token"] for each in payloads(read, "TokenVisualizationUpdate")]
    assert words == ["a", "map", "of", "words"]
