"""One install for all system tests, one boot for each module."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sandbox import Sandbox, unsupported

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DAEMONS = ("control", "compositor", "bridge", "broadcaster")
ALL_UNITS = ("geoos.target", "geoos-*.service", "geoos-*.socket")
_GIVEN = dict(os.environ)  # with the proxies that pip may need, and that tests are spared
NO_ENGINE = "[engine]\nenabled = 'no'\n"


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(300))


def until(probe, what, seconds=20.0):
    """The first true answer of *probe*."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return answer


TRIES = 3
_BUSY = """
import time
began, used = time.perf_counter(), time.process_time()
while time.process_time() - used < 0.3:
    pass
print((time.perf_counter() - began) / (time.process_time() - used))
"""


def in_time(record, what, limit, took, again):
    """Hold *took* seconds, or the best of a few times that *again* returns, against *limit*.

    Where other work slows the machine down, the limit grows with it: it is meant for a machine that
    has nothing else to do.
    """
    for _ in range(TRIES - 1):
        if took <= limit:
            break
        took = min(took, again())
    record(what, f"{took:.2f} of {limit:g} s")
    assert took <= limit or took <= limit * slowdown(), what


def slowdown():
    """How many times slower a busy process for each CPU is than it would be alone; 1 when idle."""
    command = [sys.executable, "-c", _BUSY]
    busy = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    return max(float(each.communicate()[0]) for each in busy)


def stage(destination):
    """``make install`` into *destination* by somebody whose umask is strict; what it says."""
    environ = {key: value for key, value in _GIVEN.items() if not key.startswith("MAKE")}
    environ.pop("GEOOS_CONFIG", None)
    done = subprocess.run(
        ["make", "install", f"DESTDIR={destination}"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=280,
        umask=0o077,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A tree made by ``make install DESTDIR=``; not to be written to.

    GEOOS_TEST_TREE names one that is there already: it saves half a minute while tests are written.
    """
    if reason := unsupported():
        pytest.skip(f"no throw-away systemd: {reason}")
    if there := os.environ.get("GEOOS_TEST_TREE"):
        return Path(there)
    tree = tmp_path_factory.mktemp("a tree | with & signs")
    stage(tree)
    return tree


class Machine(Sandbox):
    """A sandbox with geoos installed, and words for what the tests do to it."""

    def start_all(self, config=NO_ENGINE):
        """Start the target with this configuration."""
        self.configure(config)
        self.run("systemctl", "start", "geoos.target")

    def configure(self, text):
        self.write("/etc/geoos/geoos.toml", text)

    def write(self, path, text):
        self.run("sh", "-c", 'mkdir -p "${1%/*}"; printf %s "$2" >"$1"', "sh", path, text)

    def stop_all(self):
        """Stop everything and forget failures."""
        self.run("systemctl", "stop", *ALL_UNITS)
        self.call("systemctl", "reset-failed", *ALL_UNITS)

    def drop_in(self, unit, text):
        """A drop-in for *unit*, until the next boot; an empty text removes it."""
        path = f"/run/systemd/system/{unit}.d/99-test.conf"
        self.write(path, text)
        self.run("systemctl", "daemon-reload")

    def show(self, unit, name):
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def main_pids(self):
        return {each: int(self.show(f"geoos-{each}", "MainPID")) for each in DAEMONS}

    def active(self, daemon):
        return self.show(f"geoos-{daemon}", "ActiveState") == "active"

    def journal(self, *arguments):
        """Journal entries as objects."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "-o", "json", "--no-pager", *arguments).splitlines()
        return [json.loads(line) for line in lines]

    def background(self, unit, *command):
        """Run *command* as a transient service."""
        self.run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *command)

    def model(self, tokens, pause):
        """A model server on LM Studio's port, known to the bridge."""
        script = str(HERE / "scripted_model.py")
        self.call("systemctl", "stop", "model")
        self.background("model", "/usr/bin/python3", script, "1234", str(tokens), str(pause))
        until(lambda: "scripted" in self.call("geoosctl", "models").stdout, "the model is known")


@pytest.fixture(scope="module")
def machine(installed, tmp_path_factory):
    """A machine that has booted."""
    with Machine(installed, tmp_path_factory.mktemp("sandbox") / "console.log") as machine:
        yield machine
