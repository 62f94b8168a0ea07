"""Percentiles of what pictures take."""

import pytest

from geoosd.compositor.core.plan import Timings
from geoosd.compositor.core.profile import STAGES, Profile


def test_before_the_first_picture_there_is_nothing_to_say():
    assert Profile().stages() == {}
    assert Profile().line() == ""


def test_stages_that_take_no_time_are_absent():
    profile = Profile()
    profile.add(Timings(cpu=0.002), 0.003)
    assert list(profile.stages()) == ["cpu", "encode", "frame"]
    assert profile.line() == "cpu 2.0/2.0, encode 3.0/3.0, frame 5.0/5.0"
    profile.add(Timings(0.001, 0.001, 0.001, 0.001), 0.001)
    assert tuple(profile.stages()) == STAGES


def test_quantiles_are_over_the_newest_and_sums_over_all():
    profile = Profile()
    for _ in range(1000):
        profile.add(Timings(cpu=1.0), 0.0)
    for number in range(512):
        profile.add(Timings(cpu=(number + 1) / 512), 0.0)
    cpu = profile.stages()["cpu"]
    assert cpu.pictures == 1512
    assert cpu.total == pytest.approx(1000 + 513 / 2)
    assert [round(512 * seconds) for seconds in cpu.quantiles.values()] == [257, 487, 507]
