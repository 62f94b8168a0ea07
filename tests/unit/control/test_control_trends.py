"""How much counters grew of late."""

from geoosd.control.core.trends import Increase


def test_growth_within_the_window_alone():
    grown = Increase(10.0)
    assert grown.take("a", 5, 0.0) == 0  # what was counted before is no growth
    assert grown.take("a", 7, 1.0) == 2
    assert grown.take("a", 8, 5.0) == 3
    assert grown.take("a", 8, 11.0) == 3
    assert grown.take("a", 8, 11.5) == 1
    assert grown.take("a", 8, 20.0) == 0


def test_a_counter_that_falls_has_begun_anew():
    grown = Increase(10.0)
    grown.take("a", 100, 0.0)
    assert grown.take("a", 3, 1.0) == 3


def test_names_do_not_mix():
    grown = Increase(10.0)
    grown.take("a", 1, 0.0)
    grown.take("b", 1, 0.0)
    assert (grown.take("a", 2, 1.0), grown.take("b", 5, 1.0)) == (1, 4)
