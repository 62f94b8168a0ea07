"""tests/bench/measure.py: turns alternate, ratios are taken within a round."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure import (
    QUICK,
    Ratio,
    Skipped,
    Value,
    alternate,
    at_least,
    at_most,
    cpu_cost,
    cpu_rate,
    percentile,
    ratio,
    results_of,
    value,
)


def test_contestants_take_turns():
    order = []

    def turn(name):
        order.append(name)
        return float(len(order))

    measured = alternate({name: lambda name=name: turn(name) for name in "ABC"}, 3)
    assert "".join(order) == "ABCABCABC"
    assert measured == {"A": [1.0, 4.0, 7.0], "B": [2.0, 5.0, 8.0], "C": [3.0, 6.0, 9.0]}


@pytest.mark.parametrize(("contestants", "rounds"), [({}, 1), ({"A": lambda: 1.0}, 0)])
def test_nothing_cannot_be_measured(contestants, rounds):
    with pytest.raises(ValueError, match="cannot measure"):
        alternate(contestants, rounds)


def test_a_ratio_is_taken_within_each_round():
    # The machine became ten times as fast after the first round: no matter.
    found = ratio("x: y", "/s", [2.0, 20.0, 30.0], [1.0, 10.0, 10.0], "higher", at_least(2))
    assert found == Ratio("x: y", "/s", 20.0, 10.0, 2.0, 2.0, 3.0, "higher", at_least(2))


def test_a_round_without_its_peer_is_refused():
    with pytest.raises(ValueError, match="zip"):
        ratio("x", "", [1.0, 2.0], [1.0], "higher")


def test_a_value_is_the_median():
    assert value("x", " ms", [5.0, 1.0, 2.0], at_most(3)) == Value(
        "x", " ms", 2.0, 1.0, 5.0, at_most(3)
    )


@pytest.mark.parametrize(
    ("target", "met", "missed"), [(at_least(5), 5.0, 4.999), (at_most(5), 5.0, 5.001)]
)
def test_a_bound_itself_is_met(target, met, missed):
    assert target.is_met(met)
    assert not target.is_met(missed)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_that_of_the_sorted_samples(samples, share):
    histogram = [samples.count(bin_) for bin_ in range(51)]
    ordered = sorted(samples)
    wanted = next(
        sample for count, sample in enumerate(ordered, 1) if count >= share * len(ordered)
    )
    assert percentile(histogram, share) == wanted


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="nothing"):
        percentile([0, 0], 0.5)


@pytest.fixture
def clock(monkeypatch):
    """CPU time that grows by a quarter of a second whenever it is asked for."""
    ticks = itertools.count()
    monkeypatch.setattr("time.process_time", lambda: next(ticks) / 4)


@pytest.mark.usefixtures("clock")
def test_a_rate_is_work_by_cpu_time():
    # Asked at 0 and after each of three pieces of work: 10 are done when 0.75 s have passed... and
    # the one that was under way counts.
    assert cpu_rate(lambda: 10, 0.75) == pytest.approx(20 / 0.75)


@pytest.mark.usefixtures("clock")
def test_work_is_done_at_least_once():
    assert cpu_rate(lambda: 10, 0.0) == pytest.approx(10 / 0.5)


@pytest.mark.usefixtures("clock")
def test_a_cost_is_in_milliseconds():
    assert cpu_cost(lambda: None, 0.0) == 250.0


def test_no_name_is_there_twice():
    once = [Skipped("a", "why"), Skipped("b", "why")]
    assert results_of(iter(once)) == once
    with pytest.raises(ValueError, match="two results of one name: a"):
        results_of([*once, Skipped("a", "why")])


def test_a_quick_run_still_alternates():
    assert QUICK.rounds >= 3
