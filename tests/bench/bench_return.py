"""Viewers who come back: 500 of them after a restart and after a kill -9, under load.

They are integration/crowd.py, which waits by the rules of `geoosctl watch`. What is measured is the
time until the last one has its Hello again, and the most of them let in within a tenth of a second.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from integration.crowd import Load, crowd
from integration.stack import running, until
from measure import Pace, Result, at_most, value

NAME = "return"
_VIEWERS, _RATE = 500, 100


def run(pace: Pace) -> Iterator[Result]:
    """The time and the peak rate, for each way to go down."""
    for way, number in (("restart", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
        group = f"{NAME}, {way}, {_VIEWERS} viewers, {_RATE} msg/s"
        measured = [_once(number) for _ in range(1 if pace.quick else 3)]
        yield value(f"{group}: all are back", " s", [each[0] for each in measured], at_most(2))
        yield value(f"{group}: peak of accepts", "/s", [each[1] for each in measured])
        lost = sum(each[2] for each in measured)
        yield value(f"{group}: gaps and second snapshots", "", [lost], at_most(0))


def _once(number: signal.Signals) -> tuple[float, float, int]:
    """Seconds until all are back, the peak of accepts a second, and what went wrong.

    Each time with daemons of its own: who dies twice in ten seconds is restarted later.
    """
    with tempfile.TemporaryDirectory(prefix="geoos-bench-") as name:
        directory = Path(name)
        with (
            running(directory, engine=False) as stack,
            crowd(stack.broadcaster, _VIEWERS) as viewers,
            Load(directory / "run" / "ingest.sock", _RATE),
        ):
            victim = stack.pids()["broadcaster"]
            assert victim is not None
            began = time.monotonic()
            os.kill(victim, number)
            until(lambda: len(viewers.ask().back) >= _VIEWERS, 30, "the return of all")
            report = viewers.ask()
    wrong = report.gaps + report.out_of_order + report.snapshots - _VIEWERS
    return max(report.back) - began, report.peak_per_second(), wrong
