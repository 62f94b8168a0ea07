"""When frames are due."""

import math

import pytest

from geoosd.compositor.core.pacing import Pacer


def test_nothing_is_due_before_anything_happens():
    assert Pacer(30).due is None


def test_frames_come_at_most_so_often():
    pacer = Pacer(10)
    pacer.changed()
    assert pacer.due == -math.inf
    pacer.drawn(100.0, 100.5)
    assert pacer.due == pytest.approx(100.1)


def test_after_the_fade_one_more_frame_and_then_none():
    pacer = Pacer(10)
    pacer.changed()
    pacer.drawn(11.9, 12.0)
    assert pacer.due == pytest.approx(12.0)
    pacer.drawn(12.05, 12.0)
    assert pacer.due is None
    pacer.changed()
    assert pacer.due == pytest.approx(12.15)


def test_what_does_not_fade_is_drawn_once():
    pacer = Pacer(10)
    pacer.changed()
    pacer.drawn(50.0, 50.0)
    assert pacer.due is None


def test_a_change_while_a_frame_is_drawn_is_another_frame():
    pacer = Pacer(10)
    pacer.drawn(50.0, 50.0)
    pacer.changed()
    assert pacer.due == pytest.approx(50.1)


def test_the_pace_may_change():
    pacer = Pacer(10)
    pacer.set_pace(2)
    pacer.drawn(35.0, 40.0)
    assert pacer.due == 35.5
