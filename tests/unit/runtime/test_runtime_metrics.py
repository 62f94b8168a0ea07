"""geoosd.runtime.metrics: rates over a window, exposition, memory."""

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from geoosd import __version__
from geoosd.runtime import metrics


def test_a_rate_is_over_the_window_that_ends_now():
    meter = metrics.RateMeter(window=5.0)
    assert meter.per_second(0.0) == 0.0
    for second in range(10):
        meter.add(10, float(second))
    assert meter.per_second(9.0) == pytest.approx(12.0)
    assert meter.per_second(11.5) == pytest.approx(6.0)
    assert meter.per_second(100.0) == 0.0


def test_a_rate_meter_holds_few_marks_whatever_the_rate():
    meter = metrics.RateMeter(window=1.0)
    for number in range(10_000):
        meter.add(1, number / 5_000)
    assert len(meter._marks) <= 52
    assert meter.per_second(2.0) == pytest.approx(5_000, rel=0.03)


def test_a_registry_says_its_version_and_its_process():
    registry = metrics.new_registry()
    text = metrics.exposition(registry)
    assert f'geoos_build_info{{version="{__version__}"}} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_a_process_tells_of_itself_as_every_other_in_python_does():
    """In prometheus_client's names and units; its own collector, here, is who says them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    theirs = list(registry.collect())
    ours = {each.name: each for each in metrics.new_registry().collect()}
    for family in theirs:
        same = ours[family.name]
        assert same.type == family.type
        assert [sample.name for sample in same.samples] == [family.samples[0].name]
        near = {"process_start_time_seconds": 2.0, "process_cpu_seconds": 1.0}
        by = near.get(family.name, family.samples[0].value * 0.1)
        assert same.samples[0].value == pytest.approx(family.samples[0].value, abs=by)
    assert len(theirs) == len(ours) - 1 == 6


def test_two_registries_do_not_meet():
    assert metrics.new_registry() is not metrics.new_registry()


def test_resident_memory_is_in_bytes():
    assert 1 << 22 < metrics.resident_bytes() < 1 << 34
