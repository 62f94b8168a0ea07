"""Starting: what importing each daemon costs, how long geoosctl takes, and `geoosd up` until it is
ready."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from integration.stack import Stack
from measure import Pace, Result, Turn, alternate, at_most, ratio, value

NAME = "start"
DAEMONS = ("bridge", "compositor", "broadcaster", "control")


def cpu_ms(statement: str) -> float:
    """CPU-milliseconds of an interpreter that runs *statement*."""
    process = subprocess.Popen([sys.executable, "-c", statement], stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, statement
    return (usage.ru_utime + usage.ru_stime) * 1000


def wall_ms(command: list[str]) -> float:
    """Milliseconds until *command* has answered."""
    began = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return (time.monotonic() - began) * 1000


def ready_seconds() -> float:
    """From `geoosd up` to its word that everything is ready."""
    with tempfile.TemporaryDirectory(prefix="geoos-bench-") as directory:
        stack = Stack(Path(directory), engine=False)
        began = time.monotonic()
        try:
            stack.start()
            return time.monotonic() - began
        finally:
            stack.kill()


def run(pace: Pace) -> Iterator[Result]:
    """Against an interpreter that imports trio, on which all of them stand."""
    turns: dict[str, Turn] = {
        name: partial(cpu_ms, f"import geoosd.{name}.__main__") for name in DAEMONS
    }
    turns["trio"] = partial(cpu_ms, "import trio")
    alternate(turns, 1)  # writes what is not compiled yet
    measured = alternate(turns, pace.rounds)
    for name in DAEMONS:
        group = f"{NAME}, import, CPU"
        yield ratio(f"{group}: {name} / trio", " ms", measured[name], measured["trio"], "lower")
    geoosctl = str(Path(sys.executable).with_name("geoosctl"))
    commands: dict[str, Turn] = {
        "--version": partial(wall_ms, [geoosctl, "--version"]),
        "config check": partial(wall_ms, [geoosctl, "config", "check"]),
    }
    told = alternate(commands, pace.rounds)
    for verb in ("--version", "config check"):
        yield value(f"{NAME}, geoosctl {verb}: until it has ended", " ms", told[verb], at_most(150))
    ready = [ready_seconds() for _ in range(1 if pace.quick else 5)]
    yield value(f"{NAME}, geoosd up: until all are ready", " s", ready, at_most(3))
