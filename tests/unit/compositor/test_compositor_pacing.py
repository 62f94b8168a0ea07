"""When frames are due."""

import pytest

from geoosd.compositor.core.pacing import Pacer


def test_nothing_is_due_before_anything_happens():
    assert Pacer(30, 8.0).due is None


def test_frames_come_at_most_so_often():
    pacer = Pacer(10, 8.0)
    pacer.changed(100.0)
    assert pacer.due < 100.0
    pacer.drawn(100.0)
    assert pacer.due == pytest.approx(100.1)


def test_after_the_fade_one_more_frame_and_then_none():
    pacer = Pacer(10, 1.0)
    pacer.changed(0.0)
    pacer.drawn(11.9)
    assert pacer.due == pytest.approx(12.0)
    pacer.drawn(12.05)
    assert pacer.due is None
    pacer.changed(20.0)
    assert pacer.due == pytest.approx(12.15)


def test_who_begins_to_watch_a_still_map_gets_a_frame():
    pacer = Pacer(10, 1.0)
    pacer.drawn(50.0)
    pacer.asked(60.0)
    assert pacer.due == pytest.approx(50.1)
    pacer.drawn(60.0)
    pacer.drawn(60.1)
    assert pacer.due is None


def test_asking_does_not_shorten_a_fade():
    pacer = Pacer(10, 1.0)
    pacer.changed(0.0)
    pacer.asked(1.0)
    pacer.drawn(11.0)
    assert pacer.due is not None


def test_the_pace_may_change():
    pacer = Pacer(10, 1.0)
    pacer.set_pace(2, 3.0)
    pacer.changed(0.0)
    pacer.drawn(35.0)
    assert pacer.due == 35.5
