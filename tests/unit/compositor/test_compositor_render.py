"""The NumPy renderer's integer steps."""

import numpy as np

from geoosd.compositor.adapters.render_numpy import _enlarged, _walk
from geoosd.compositor.core.frame import Stroke


def test_enlarging_is_linear_between_the_cells():
    columns, rows = np.meshgrid(np.arange(8), np.arange(6))
    slope = (800 + 80 * columns + 160 * rows).astype(np.uint16)
    large = _enlarged(slope)
    assert large.shape == (16, 24)
    y, x = np.mgrid[0:16, 0:24]
    expected = 800 + 80 * ((x + 0.5) / 4 + 0.5) + 160 * ((y + 0.5) / 4 + 0.5)
    assert np.abs(large - expected).max() <= 1


def test_enlarging_a_part_and_the_whole_agree():
    field = np.random.default_rng(1).integers(0, 900, (34, 50)).astype(np.uint16)
    whole = _enlarged(field)
    part = _enlarged(field[16:34, 16:34])
    assert (part == whole[64:, 64:128]).all()


def test_walked_points_lie_within_sixteen_pixels_of_the_ones_that_stand_for_them():
    random = np.random.default_rng(2)
    stroke = Stroke(random.uniform(-300, 400, 60), random.uniform(-300, 400, 60), np.ones(60))
    x, y, level, along = _walk(stroke, 100, 100)
    some = along % 16 == 0
    away = np.hypot(x[:, None] - x[some], y[:, None] - y[some]).min(axis=1)
    assert away.max() <= 16
    assert (level <= 1).all()
