"""Five hundred viewers over a restart and a kill -9 of the broadcaster, under load: all come back,
nothing is lost that the ring held, and a restart has told them when to come, so that they are no
stampede and all could be back within two seconds. How fast they were, and the peak of accepts,
stand in the benchmarks (bench_return.py).
"""

import os
import signal

import pytest

from .crowd import Load, crowd, peak_per_second
from .stack import until

pytestmark = pytest.mark.slow
VIEWERS = 500


def test_all_come_back_and_miss_nothing(light_stack):
    ingest = light_stack.directory / "run" / "ingest.sock"
    with crowd(light_stack.broadcaster, VIEWERS) as viewers, Load(ingest, rate=50) as load:
        until(lambda: viewers.ask().tokens >= 20, 20, "the first tokens")
        for number in (signal.SIGTERM, signal.SIGKILL):
            before = len(viewers.ask().back)
            os.kill(light_stack.pids()["broadcaster"], number)
            until(lambda n=before: len(viewers.ask().back) >= n + VIEWERS, 30, "the return of all")
            assert viewers.ask().connected == VIEWERS
        load.stop()
        until(lambda: viewers.ask().tokens >= load.sent, 20, "the last token")
        report = viewers.ask()
    # One Snapshot each, the first: whoever resumes gets none.
    assert (report.gaps, report.out_of_order, report.snapshots) == (0, 0, VIEWERS)
    assert list(report.texts.values()) == [VIEWERS], "all have seen the same"
    check_stagger(report.waits)


def check_stagger(waits):
    """What the restart told them; kill -9 had no time to tell anything."""
    assert len(waits) == VIEWERS
    assert max(waits) < 2.0
    spread = max(waits) - min(waits)
    assert spread > 0.7
    assert peak_per_second(waits) <= 1.1 * VIEWERS / spread, "evenly"
