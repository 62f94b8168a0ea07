"""Viewers for minutes: independent clients among fifty bad ones a second, and two thousand at once.

`make soak`; what it found is in docs/measurements/soak.md.
"""

import sys
import threading
from pathlib import Path

import pytest
from integration.stack import Stack
from integration.test_independent import chromium, together

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
from bench_pipeline import Producer
from processes import watching

pytestmark = [pytest.mark.soak, pytest.mark.timeout(590)]
__all__ = ["chromium"]
MINUTES = 3
MANY, RATE, SECONDS = 2000, 1000, 60.0


@pytest.fixture
def stack(tmp_path):
    made = Stack(tmp_path, engine=False)
    try:
        made.start()
        yield made
    finally:
        made.kill()


def test_minutes_of_bad_neighbours_leave_nothing(stack, chromium):
    before, after, made = together(stack, chromium, rate=500, seconds=60.0 * MINUTES)
    print(before, after, made)
    # The ring fills meanwhile, and snapshots for the stalled come and go: what leaks shows below.
    assert after.resident_mb <= before.resident_mb + 50
    again, last, _ = together(stack, chromium, rate=500, seconds=60.0)
    print(again, last)
    # The ring is full by then: three thousand more connections may cost nothing but noise.
    assert last.resident_mb <= after.resident_mb + 6


def test_two_thousand_viewers_get_a_thousand_messages_a_second(stack):
    producer = Producer(stack.directory / "run" / "ingest.sock")
    with watching(stack.broadcaster, MANY, "/neural?tick=33", latency=True) as viewers:
        seen = viewers.tokens
        producer.send(RATE, SECONDS)
        expected = MANY * producer.sent
        patience = threading.Event()
        for _ in range(100):
            if viewers.tokens - seen >= expected or patience.wait(0.1):
                break
        p50, p99 = viewers.latency_ms(0.5, 0.99)
        print(
            f"{viewers.tokens - seen} of {expected} deliveries, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        )
        assert viewers.closed == 0
        assert viewers.tokens - seen == expected
    producer.close()
