"""The decaying field."""

import math
import tracemalloc

import numpy as np
import pytest

from geoosd.compositor.core.field import Field, key_of


def field(**options):
    return Field(10.0, **{"floor": 1e-3, "capacity": 1000} | options)


def test_weights_add_up_and_decay():
    it = field()
    it.add(1, 1.0, 0.0)
    it.add(1, 1.0, 10.0)
    assert it.value(1, 10.0) == pytest.approx(1 + math.exp(-1))
    assert it.value(2, 10.0) == 0.0
    assert len(it) == 1


def test_the_strongest_come_first_and_ties_by_key():
    it = field()
    for key, amount in ((5, 0.5), (9, 1.0), (3, 0.5), (4, 1e-6)):
        it.add(key, amount, 0.0)
    keys, weights = it.cells(0.0)
    assert keys.tolist() == [9, 3, 5]
    assert weights.tolist() == [1.0, 0.5, 0.5]
    assert it.cells(0.0, 1)[0].tolist() == [9]


def test_a_day_of_activity_overflows_nothing():
    it = field()
    for second in range(0, 86_400, 60):
        it.add(second, 1.0, float(second))
    assert it.value(86_340, 86_340.0) == pytest.approx(1.0)
    assert it.value(86_280, 86_340.0) == pytest.approx(math.exp(-6))
    assert len(it) < 20


def test_a_year_of_idling_leaves_nothing_but_darkness():
    it = field()
    it.add(1, 1.0, 0.0)
    assert (it.alive(0.0), it.alive(60.0), it.alive(80.0)) == (1, 1, 0)
    assert it.cells(3e7)[0].tolist() == []
    it.add(2, 1.0, 3e7)
    assert len(it) == 1


@pytest.mark.parametrize("amount", [math.nan, math.inf, -1.0, 1e300])
def test_what_is_not_finite_is_refused(amount):
    with pytest.raises(ValueError, match="not a weight"):
        field().add(1, amount, 0.0)


def test_the_capacity_holds_and_the_strongest_stay():
    it = field(capacity=100)
    for key in range(1000):
        it.add(key, 1.0 + key, 0.0)
        assert len(it) <= 101
    assert it.value(999, 0.0) == 1000.0


def test_sweeping_drops_what_is_dark():
    it = field(capacity=1 << 20)
    for key in range(5000):
        it.add(key, 1.0, 0.0 if key < 4000 else 80.0)
    assert len(it) == 1000


def test_the_decay_may_change():
    it = field()
    it.add(1, 1.0, 0.0)
    it.set_decay(1.0, 0.0)
    assert it.value(1, 1.0) == pytest.approx(math.exp(-1))


def test_restore_checks_what_it_gets():
    it = field()
    it.restore(np.array([3], np.uint64), np.array([0.5]), 100.0)
    assert it.value(3, 100.0) == 0.5
    for keys, weights in (([1, 2], [1.0]), ([[1]], [[1.0]])):
        with pytest.raises(ValueError, match="do not go with"):
            it.restore(np.array(keys, np.uint64), np.array(weights), 0.0)
    for wrong in (-1.0, math.nan, math.inf, 1e300):
        with pytest.raises(ValueError, match="negative, too large or not finite"):
            it.restore(np.array([1], np.uint64), np.array([wrong]), 0.0)
    with pytest.raises(ValueError, match="twice"):
        it.restore(np.array([1, 1], np.uint64), np.ones(2), 0.0)
    assert it.value(3, 100.0) == 0.5


def test_keys():
    assert key_of(3, 5) == 3 * 2**20 + 5


def test_a_copy_is_by_itself():
    it = field()
    it.add(1, 1.0, 0.0)
    taken = it.at(10.0)
    it.add(1, 1.0, 10.0)
    it.add(2, 1.0, 10.0)
    keys, weights = taken.strongest()
    assert keys.tolist() == [1]
    assert weights.tolist() == pytest.approx([math.exp(-1)])
    assert len(it) == 2


def test_the_largest_weights_for_as_long_as_they_last_stay_finite():
    it = field()
    for second in range(2000):
        it.add(1, 2.0**64, second / 10)
    assert it.value(1, 199.9) == pytest.approx(2.0**64 / (1 - math.exp(-0.01)), rel=1e-6)


def test_an_empty_field_has_no_cells():
    it = field()
    assert it.cells(0.0)[0].tolist() == []
    assert it.cells(1e9, 5)[0].tolist() == []


def test_the_first_token_after_a_long_pause_is_kept():
    it = field()
    it.add(1, 1.0, 0.0)
    it.add(1, 0.5, 500.0)
    assert it.value(1, 500.0) == pytest.approx(0.5)


def test_memory_follows_what_is_alive():
    tracemalloc.start()
    try:
        it = field(capacity=1 << 18)
        empty, _ = tracemalloc.get_traced_memory()
        for key in range(200_000):
            it.add(key << 20, 1.0, 0.0)
        full, _ = tracemalloc.get_traced_memory()
        it.add(1, 1.0, 1000.0)
        faded, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(it) == 1
    assert faded - empty < (full - empty) / 100
