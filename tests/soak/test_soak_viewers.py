"""Viewers for minutes: independent clients among fifty bad ones a second, and two thousand at once.

`make soak`; what it found is in docs/measurements/soak.md.
"""

import sys
from pathlib import Path

import pytest
from integration.stack import Stack, until
from integration.test_independent import chromium, together

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
from bench_pipeline import Producer
from machine import cpu_seconds, resident_bytes
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
    before, after, kinds = together(stack, chromium, rate=500, seconds=60.0 * MINUTES)
    print(before, after, kinds)
    # The ring fills meanwhile, and snapshots for the stalled come and go: what leaks shows below.
    assert after.resident_mb <= before.resident_mb + 50
    again, last, _ = together(stack, chromium, rate=500, seconds=60.0)
    print(again, last)
    # The ring is full by then: three thousand more connections may cost nothing but noise.
    assert last.resident_mb <= after.resident_mb + 6


def test_two_thousand_viewers_get_a_thousand_messages_a_second(stack):
    producer = Producer(stack.directory / "run" / "ingest.sock")
    with watching(stack.broadcaster, MANY, "/neural?tick=33", latency=True) as viewers:
        pid = stack.pids()["broadcaster"]
        cpu, waited, seen = cpu_seconds(pid), kept_waiting(pid), viewers.tokens
        producer.send(RATE, SECONDS)
        expected = MANY * producer.sent
        until(lambda: viewers.tokens - seen + dropped(stack) >= expected, 60, "the last token")
        cores = (cpu_seconds(pid) - cpu) / SECONDS
        waited = kept_waiting(pid) - waited
        p50, p99 = viewers.latency_ms(0.5, 0.99)
        came, lost = viewers.tokens - seen, dropped(stack)
        kb = (resident_bytes([pid]) - 60e6) / MANY / 1000
        print(
            f"{came} of {expected} deliveries, {lost} announced as missing, {cores:.2f} cores, "
            f"{waited:.0f} s without a core, "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, {kb:.1f} KB a viewer beyond 60 MB"
        )
        assert viewers.closed == 0
        assert came + lost == expected, "nothing goes missing but by a Gap"
        # None on a machine of its own; who is kept from running for a second makes a Gap.
        assert lost <= 0.01 * expected or waited > SECONDS / 4
        assert cores <= 1.0
        assert kb <= 25
    producer.close()


def kept_waiting(pid):
    """Seconds for which a process could have run, but had no core (Documentation/scheduler)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def dropped(stack):
    """Messages that gaps have announced, of all viewers together."""
    queues = stack.status()["broadcaster"]["status"]["queues"]
    [lag] = [queue for queue in queues if queue["name"] == "viewer lag"]
    return lag["dropped"]
