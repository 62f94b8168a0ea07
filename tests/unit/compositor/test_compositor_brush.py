"""Brushes: Gaussian discs in integers."""

import numpy as np
import pytest

from geoosd.compositor.core import brush
from geoosd.compositor.core.brush import ONE, disc, paint, stamps


def painted(points, radius=1.5, shape=(40, 50), level=1.0):
    field = np.zeros(shape, np.uint32)
    x, y = (np.array(each, np.float64) for each in zip(*points, strict=True))
    energy = np.full(len(x), round(level * ONE), np.uint32)
    paint(field, stamps(x, y, energy, disc(radius)))
    return field


def test_a_disc_is_a_gaussian_around_its_point():
    radius, x, y = 2.0, 20.625, 17.125  # the middle of one of the sixteen places
    field = painted([(x, y)], radius)
    rows, columns = np.mgrid[0:40, 0:50]
    away = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2
    expected = np.exp(-away / (2 * radius**2)) * ONE
    near = away < (2.5 * radius) ** 2
    assert np.abs(field[near] - expected[near]).max() <= 16  # half of 2**-12
    assert field[away > (3 * radius + 2) ** 2].sum() == 0


def test_sums_do_not_depend_on_order_or_portions(monkeypatch):
    random = np.random.default_rng(3)
    points = list(zip(random.uniform(0, 50, 300), random.uniform(0, 40, 300), strict=True))
    together = painted(points)
    assert (painted(points[::-1]) == together).all()
    monkeypatch.setattr(brush, "_MOST", 1)
    assert (painted(points) == together).all()


def test_several_points_on_one_pixel_add_up():
    assert (painted([(9.1, 9.1)] * 3) == 3 * painted([(9.1, 9.1)])).all()


@pytest.mark.parametrize(
    "point", [(0.0, 0.0), (49.9, 39.9), (-3.0, 20.0), (-500.0, 9.0), (9.0, 900.0)]
)
def test_what_falls_outside_is_left_out(point):
    wide = painted([(point[0] + 600, point[1] + 600)], shape=(1600, 1300))
    assert (painted([point]) == wide[600:640, 600:650]).all()


def test_the_brightest_star_does_not_overflow():
    field = painted([(20.6, 20.6)], level=15.9)
    assert field.max() == pytest.approx(15.9 * ONE, rel=0.03)


def test_nothing_paints_nothing():
    field = np.zeros((8, 8), np.uint32)
    nothing = np.array([])
    paint(field, stamps(nothing, nothing, nothing.astype(np.uint32), disc(1.0)))
    assert not field.any()


def test_a_brush_is_made_once():
    assert disc(1.25) is disc(1.25)
    assert disc(0.1).reach == 1
