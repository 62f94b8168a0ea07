"""The Hilbert curve at any order to 31, by chance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geoosd.compositor.core import hilbert


@st.composite
def indexed(draw):
    order = draw(st.integers(1, 31))
    return order, draw(st.integers(0, (1 << 2 * order) - 1))


@given(indexed())
def test_round_trip(case):
    order, index = case
    x, y = hilbert.cell_at(index, order)
    assert 0 <= x < 1 << order
    assert 0 <= y < 1 << order
    assert hilbert.index_of(x, y, order) == index
    columns, rows = hilbert.cells_at(np.array([index], np.uint64), order)
    assert (int(columns[0]), int(rows[0])) == (x, y)
    assert int(hilbert.indices_of(columns, rows, order)[0]) == index


@given(indexed())
def test_continuity(case):
    order, index = case
    x, y = hilbert.cell_at(index, order)
    next_x, next_y = hilbert.cell_at((index + 1) % (1 << 2 * order), order)
    if index + 1 < 1 << 2 * order:
        assert abs(next_x - x) + abs(next_y - y) == 1


@given(indexed(), st.integers(0, 15))
def test_even_growth(case, steps):
    order, index = case
    grown = order + 2 * steps
    if grown <= hilbert.MAX_ORDER:
        assert hilbert.cell_at(index, grown) == hilbert.cell_at(index, order)
