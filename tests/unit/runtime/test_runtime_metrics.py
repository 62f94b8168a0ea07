"""geoosd.runtime.metrics: rates over a window, exposition, memory."""

import pytest

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


def test_a_process_that_sees_only_processes_tells_of_itself(tmp_path):
    """``ProcSubset=pid`` leaves /proc/stat out, and that alone matters here."""
    (tmp_path / "self").symlink_to("/proc/self")
    told = {
        each.name: each.samples[0].value
        for each in metrics._Process(proc=str(tmp_path), registry=None).collect()
    }
    assert len(told) == 6
    assert told["process_resident_memory_bytes"] > 1 << 20
    (whole,) = [
        each.samples[0].value
        for each in metrics.ProcessCollector(registry=None).collect()
        if each.name == "process_start_time_seconds"
    ]
    assert told["process_start_time_seconds"] == pytest.approx(whole, abs=2)


def test_two_registries_do_not_meet():
    assert metrics.new_registry() is not metrics.new_registry()


def test_resident_memory_is_in_bytes():
    assert 1 << 22 < metrics.resident_bytes() < 1 << 34
