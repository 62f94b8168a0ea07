"""The Hilbert curve: exhaustive to order 8; tests/property takes it to order 31."""

import numpy as np
import pytest

from geoosd.compositor.core import hilbert

SMALL = range(1, 9)


@pytest.mark.parametrize("order", SMALL)
def test_every_index_comes_back_and_neighbours_are_neighbours(order):
    indices = np.arange(1 << 2 * order, dtype=np.uint64)
    x, y = hilbert.cells_at(indices, order)
    assert (hilbert.indices_of(x, y, order) == indices).all()
    steps = np.abs(np.diff(x.astype(np.int64))) + np.abs(np.diff(y.astype(np.int64)))
    assert (steps == 1).all()
    assert len(np.unique(x << np.uint64(32) | y)) == len(indices)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_one_token_and_arrays_agree(order):
    indices = range(1 << 2 * order)
    x, y = hilbert.cells_at(np.array(indices), order)
    cells = [hilbert.cell_at(index, order) for index in indices]
    assert cells == list(zip(x.tolist(), y.tolist(), strict=True))
    assert [hilbert.index_of(*cell, order) for cell in cells] == list(indices)


def test_the_classical_orientation():
    assert [hilbert.cell_at(index, 1) for index in range(4)] == [(0, 0), (0, 1), (1, 1), (1, 0)]
    assert [hilbert.cell_at(index, 2) for index in range(4)] == [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert hilbert.cell_at((1 << 62) - 1, 31) == ((1 << 31) - 1, 0)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_growing_by_two_orders_moves_nothing_and_by_one_transposes(order):
    for index in range(0, 1 << 2 * order, 7):
        x, y = hilbert.cell_at(index, order)
        assert hilbert.cell_at(index, order + 2) == (x, y)
        assert hilbert.cell_at(index, order + 1) == (y, x)


@pytest.mark.parametrize("order", range(1, hilbert.MAX_ORDER + 1))
def test_all_even_steps_move_nothing(order):
    indices = np.linspace(0, (1 << 2 * order) - 1, 97).astype(np.uint64)
    indices[-1] = (1 << 2 * order) - 1
    x, y = hilbert.cells_at(indices, order)
    for grown in range(order + 2, hilbert.MAX_ORDER + 1, 2):
        later_x, later_y = hilbert.cells_at(indices, grown)
        assert (later_x == x).all()
        assert (later_y == y).all()


@pytest.mark.parametrize("order", [1, 5, 10, 11, 31])
def test_arrays_of_every_size_shape_and_type(order):
    random = np.random.default_rng(order)
    indices = random.integers(0, 1 << 2 * order, (3, 5461 + 1), np.uint64)
    x, y = hilbert.cells_at(indices, order)
    assert x.shape == y.shape == indices.shape
    assert x.dtype == y.dtype == np.uint64
    flat = hilbert.cells_at(indices.ravel()[:9000].astype(np.int64), order)
    assert (flat[0] == x.ravel()[:9000]).all()
    both = np.stack([x, y], axis=-1)  # strided columns
    assert (hilbert.indices_of(both[..., 0], both[..., 1], order) == indices).all()
    assert hilbert.indices_of(x.astype(np.uint32), y, order).dtype == np.uint64
    assert hilbert.cells_at(np.array([], np.uint64), order)[0].shape == (0,)
    alone, _ = hilbert.cells_at(np.uint64(0) + np.array(3), order)
    assert alone.shape == ()


def test_even_orders():
    assert [hilbert.even_order(count) for count in (0, 1, 16, 17, 256, 257)] == [2, 2, 2, 4, 4, 6]


def test_bits_above_the_order_are_ignored_in_arrays():
    x, y = hilbert.cells_at(np.array([16 + 5]), 2)
    assert (int(x[0]), int(y[0])) == hilbert.cell_at(5, 2)
    assert int(hilbert.indices_of(np.array([4 + 1]), np.array([2]), 2)[0]) == hilbert.index_of(
        1, 2, 2
    )


def test_what_is_not_on_the_curve_is_refused():
    for index, order in ((16, 2), (-1, 2)):
        with pytest.raises(ValueError, match="16 cells"):
            hilbert.cell_at(index, order)
    for x, y in ((4, 0), (0, -1)):
        with pytest.raises(ValueError, match="sides of 4"):
            hilbert.index_of(x, y, 2)
    for order in (0, 32):
        with pytest.raises(ValueError, match="1 to 31"):
            hilbert.cell_at(0, order)
