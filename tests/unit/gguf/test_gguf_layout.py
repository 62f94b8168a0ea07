"""An order in which neighbours are alike."""

import numpy as np
import pytest

from geoosd.gguf import layout


def clusters(count, each, size=24, seed=0):
    """Rows in clusters, shuffled, and the cluster of each row."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, size)) * 4
    labels = random.permutation(np.repeat(np.arange(count), each))
    rows = centres[labels] + random.normal(size=(count * each, size)) * 0.3
    return rows.astype(np.float32), labels


def chunked(rows, size=100):
    return lambda: (rows[first : first + size] for first in range(0, len(rows), size))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 64, 1000])
def test_each_token_has_one_place(count):
    rows = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
    ranks = layout.build(chunked(rows))
    assert ranks.dtype == np.int32
    assert sorted(ranks) == list(range(count))


@pytest.mark.parametrize(("count", "each"), [(16, 64), (100, 8)])
def test_what_is_alike_lies_together(count, each):
    rows, labels = clusters(count, each)
    order = np.argsort(layout.build(chunked(rows)))
    alike = np.mean(labels[order][1:] == labels[order][:-1])
    by_id = np.mean(labels[1:] == labels[:-1])
    assert alike > 0.5
    assert alike > 5 * by_id


def test_it_does_not_depend_on_the_chunks_nor_on_the_time():
    rows, _ = clusters(8, 50)
    first = layout.build(chunked(rows, 400))
    np.testing.assert_array_equal(layout.build(chunked(rows, 400)), first)
    moved = layout.build(chunked(rows, 33))
    assert np.mean(np.abs(moved - first) <= 8) > 0.9  # sums in another order


def test_rows_that_are_all_the_same():
    ranks = layout.build(chunked(np.ones((50, 8), np.float32)))
    assert sorted(ranks) == list(range(50))


def test_progress_goes_from_begin_to_end():
    told = []
    layout.build(chunked(clusters(8, 50)[0]), told.append)
    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == 1
    told.clear()
    layout.bisect(np.zeros((2, 2), np.float32), told.append)
    assert told == []
