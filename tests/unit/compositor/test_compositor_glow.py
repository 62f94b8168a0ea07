"""Glow: enlarging and softening in integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geoosd.compositor.core import glow
from geoosd.compositor.core.glow import LIMIT, across, scaled, softened, taller, wider


def enlarged(field):
    return taller(wider(field))


def test_enlarging_is_linear_between_the_cells():
    columns, rows = np.meshgrid(np.arange(8), np.arange(6))
    slope = (800 + 80 * columns + 160 * rows).astype(np.uint16)
    large = enlarged(slope)
    assert large.shape == (16, 24)
    y, x = np.mgrid[0:16, 0:24]
    expected = 800 + 80 * ((x + 0.5) / 4 + 0.5) + 160 * ((y + 0.5) / 4 + 0.5)
    assert np.abs(large - expected).max() <= 1


def test_enlarging_a_part_and_the_whole_agree():
    field = np.random.default_rng(1).integers(0, 900, (34, 50)).astype(np.uint16)
    whole = enlarged(field)
    part = enlarged(field[16:34, 16:34])
    assert (part == whole[64:, 64:128]).all()
    out = np.zeros_like(part)
    assert taller(wider(field[16:34, 16:34]), out) is out
    assert (out == part).all()


@given(st.integers(0, (1 << 32) - LIMIT - 1))
def test_softening_is_the_formula_with_unlimited_integers(energy):
    assert softened(np.array([energy], np.uint32))[0] == energy * LIMIT // (energy + LIMIT)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 65536))
def test_scaling_is_exact(energy, scale):
    assert scaled(np.array([energy], np.uint32), scale)[0] == energy * scale >> 16


def test_glow_joins_both_fields_and_has_a_limit():
    near, far = np.zeros((18, 18), np.uint32), np.zeros((8, 8), np.uint32)
    assert across(near, far, 65536) is None
    far[:] = 64 << 6
    assert (across(near, far, 65536) == 59).all()  # 64 · L / (64 + L), L = 58982 >> 6
    near[:] = 1 << 31
    far[:] = 0xFFFFFFFF
    block = across(near, far, 65536)
    assert block.shape == (18, 64)
    assert (block == (glow.LIMIT - 2) >> 6).all()
