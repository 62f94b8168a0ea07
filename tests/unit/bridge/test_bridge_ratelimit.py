"""Token buckets: never more than the rate, whatever the clock does, for any number of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core import ratelimit
from geoosd.bridge.core.ratelimit import RateLimit, RateLimits


def test_a_second_may_be_spent_at_once_then_the_rate_holds():
    limit = RateLimit(2.0)
    assert [limit.take("a", 10.0) for _ in range(2)] == [0.0, 0.0]
    assert limit.take("a", 10.0) == pytest.approx(0.5)
    assert limit.take("b", 10.0) == 0.0
    assert limit.take("a", 10.4) == pytest.approx(0.1)
    assert limit.take("a", 10.5) == 0.0
    assert limit.take("a", 99.0) == limit.take("a", 99.0) == 0.0
    assert limit.take("a", 99.0) > 0.0


def test_a_slow_rate_lets_one_through():
    limit = RateLimit(0.1)
    assert limit.take("a", 0.0) == 0.0
    assert limit.take("a", 1.0) == pytest.approx(9.0)
    assert limit.take("a", 10.0) == 0.0


@given(
    st.floats(0.05, 50.0),
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=80),
)
def test_no_window_holds_more_than_burst_and_rate(rate, steps):
    limit = RateLimit(rate)
    now, taken = 1000.0, []
    for step in steps:
        now += step
        wait = limit.take("a", now)
        if not wait:
            taken.append(now)
        else:
            assert 0 < wait <= 1 / rate + 1e-6
    for first, begin in enumerate(taken):
        for count, end in enumerate(taken[first:], 1):
            assert count <= limit.burst + rate * (end - begin) + 1e-6


@given(st.floats(0.05, 50.0), st.lists(st.floats(-1e6, 1e6), max_size=40))
def test_a_clock_that_jumps_blocks_nobody_for_longer_than_a_full_bucket(rate, jumps):
    limit = RateLimit(rate)
    for now in jumps:
        assert 0.0 <= limit.take("a", now) <= 1 / rate + 1e-6
        assert limit.take("a", now + limit.burst / rate + 1 / rate) == 0.0


def test_keys_are_bounded_and_full_buckets_go_first(monkeypatch):
    monkeypatch.setattr(ratelimit, "MAX_KEYS", 3)
    limit = RateLimit(1.0)
    for key in "abc":
        limit.take(key, 0.0)
    limit.take("d", 5.0)  # the others are full again
    assert len(limit) == 1
    for key in "efg":
        limit.take(key, 5.0)
    assert len(limit) == 3
    assert limit.take("d", 5.0) == 0.0  # the oldest was let go of
    assert limit.take("g", 5.0) > 0.0


def test_the_bucket_that_was_not_asked_for_longest_is_let_go_of(monkeypatch):
    monkeypatch.setattr(ratelimit, "MAX_KEYS", 3)
    limit = RateLimit(2.0)
    for key in "abcad":
        assert limit.take(key, 0.0) == 0.0
    assert limit.take("a", 0.0) > 0.0, "both of its requests were taken"
    assert len(limit) == 3


def test_limits_follow_the_configuration():
    limits = RateLimits()
    assert not limits.limits_clients
    assert limits.client("a", 0.0) == limits.upstream("u", 0.0) == 0.0
    limits.configure(1.0, {"u": 1.0})
    assert limits.limits_clients
    assert limits.client("a", 0.0) == limits.upstream("u", 0.0) == 0.0
    limits.configure(1.0, {"u": 1.0})  # a reload is no gift
    assert limits.client("a", 0.0) > 0.0
    assert limits.upstream("u", 0.0) > 0.0
    assert limits.upstream("other", 0.0) == 0.0
    limits.configure(2.0, {"u": 2.0})
    assert limits.client("a", 0.0) == limits.upstream("u", 0.0) == 0.0
    limits.configure(None, {})
    assert not limits.limits_clients
    assert [limits.upstream("u", 0.0) for _ in range(9)] == [0.0] * 9
