"""geoosd.bridge.core.breaker: closed, open, half open, and the way back."""

import pytest

from geoosd.bridge.core.breaker import DEFAULT, Breaker, Policy

POLICY = Policy(failures=3, window=10.0, first=1.0, longest=8.0)


def opened(now: float = 0.0, jitter: float = 1.0) -> Breaker:
    breaker = Breaker(POLICY)
    assert not breaker.failed(now, jitter)
    assert not breaker.failed(now, jitter)
    assert breaker.failed(now, jitter)
    return breaker


def test_failures_in_the_window_open_it():
    breaker = opened()
    assert breaker.state == "open"
    assert breaker.openings == 1
    assert breaker.retry_in(0.25) == 0.75
    assert breaker.retry_in(5.0) == 0.0


def test_three_failures_in_half_a_minute_are_too_many_unless_told_otherwise():
    assert Policy(failures=3, window=30.0, first=5.0, longest=60.0) == DEFAULT


@pytest.mark.parametrize(("third", "opens"), [(10.0, True), (10.01, False)])
def test_the_window_ends_with_its_last_moment(third, opens):
    breaker = Breaker(POLICY)
    breaker.failed(0.0, 0.0)
    breaker.failed(5.0, 0.0)
    assert breaker.failed(third, 0.0) is opens


def test_failures_far_apart_do_not():
    breaker = Breaker(POLICY)
    for now in (0.0, 6.0, 11.0, 17.0, 22.0):
        assert not breaker.failed(now, 0.0)
    assert breaker.state == "closed"
    assert breaker.retry_in(0.0) is None
    assert breaker.failed(22.5, 0.0)


def test_an_answer_between_failures_starts_the_count_anew():
    breaker = Breaker(POLICY)
    breaker.failed(0.0, 0.0)
    breaker.failed(0.0, 0.0)
    assert not breaker.answered()
    assert not breaker.failed(0.0, 0.0)


def test_one_trial_when_the_back_off_is_over():
    breaker = opened()
    assert not breaker.begin_trial(0.99)
    assert breaker.begin_trial(1.0)
    assert breaker.state == "half_open"
    assert not breaker.begin_trial(1.0)
    assert not breaker.begin_trial(100.0)
    assert breaker.retry_in(1.0) is None


def test_a_bad_trial_doubles_the_back_off_up_to_the_longest():
    breaker, now = opened(), 0.0
    for expected in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert breaker.retry_in(now) == expected
        now += expected
        assert breaker.begin_trial(now)
        breaker.end_trial(False, now, 1.0)
    assert breaker.openings == 6


def test_the_back_off_of_a_server_that_is_down_for_days_is_the_longest():
    breaker = opened()
    for now in range(8, 16_000, 8):
        assert breaker.begin_trial(now)
        breaker.end_trial(False, now, 1.0)
        assert breaker.retry_in(now) <= POLICY.longest


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 0.5), (0.5, 0.75), (0.999, 0.9995)])
def test_half_of_the_back_off_is_chance(jitter, delay):
    assert opened(jitter=jitter).retry_in(0.0) == pytest.approx(delay)


def test_a_good_trial_closes_it_on_probation():
    breaker = opened()
    assert breaker.begin_trial(1.0)
    breaker.end_trial(True, 1.0, 1.0)
    assert breaker.state == "closed"
    assert breaker.failed(1.0, 1.0)  # one is enough
    assert breaker.retry_in(1.0) == 2.0
    assert breaker.begin_trial(3.0)
    breaker.end_trial(True, 3.0, 1.0)
    breaker.answered()
    assert not breaker.failed(3.0, 1.0)  # trusted again


def test_what_was_sent_before_counts_no_more():
    breaker = opened()
    assert not breaker.failed(0.5, 0.0)
    assert breaker.openings == 1


def test_an_answer_closes_it_at_once():
    breaker = opened()
    assert breaker.answered()
    assert breaker.state == "closed"
    breaker = opened()
    breaker.begin_trial(1.0)
    assert breaker.answered()
    breaker.end_trial(False, 1.0, 0.0)
    assert breaker.state == "closed"


def test_a_server_that_was_down_and_is_back():
    breaker = opened()
    assert breaker.revived()
    assert not breaker.revived()
    assert breaker.failed(0.0, 1.0)
