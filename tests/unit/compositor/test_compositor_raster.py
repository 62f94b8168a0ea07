"""From plan to integers: strokes, live tiles, bounds."""

from dataclasses import replace

import numpy as np
import pytest

from geoosd.compositor.core import plan
from geoosd.compositor.core.overlay import lay
from geoosd.compositor.core.plan import FramePlan, Overlay, Splats, Stroke, no_splats
from geoosd.compositor.core.raster import GROUND, _walk, ground, raster, same_ground
from geoosd.compositor.core.view import View

VIEW = View(0.0, 0.0, 1.0, 200, 130)
LUT = np.arange(4096, dtype=np.uint32)
EMPTY = FramePlan(VIEW, LUT, no_splats(), no_splats())


def line(*ends):
    x, y = (np.array(each, np.float64) for each in zip(*ends, strict=True))
    return Stroke(x, y, np.ones(len(x)))


def splats(*points, tint=0, **sizes):
    x, y = (np.array(each, np.float64) for each in zip(*points, strict=True))
    amount = np.full(len(x), plan.SCALE_ONE, np.uint32)
    return Splats(x, y, amount, np.full(len(x), tint, np.uint8), **sizes)


def test_nothing_reaches_no_tile():
    work = raster(EMPTY)
    assert work.tiles.count() == ground(EMPTY).tiles.count() == 0
    assert work.tint_reach is None
    assert len(work.stars.row) == len(work.trails.row) == 0


def test_a_star_reaches_as_far_as_its_glow():
    small = raster(replace(EMPTY, stars=splats((10.0, 10.0))))
    assert small.tiles.count() == 1
    assert len(small.near.row) == 0
    wide = raster(replace(EMPTY, stars=splats((10.0, 10.0), tint=3, halo=10.4, far=36.0)))
    assert wide.tiles.count() == 9
    assert wide.near.energy[0] == pytest.approx(plan.SCALE_ONE * 0.46 / 2.6, abs=1)
    assert wide.far.energy[0] == pytest.approx(plan.SCALE_ONE * 0.11 / 2.6, abs=1)
    assert wide.tint_reach == 10
    faint = raster(replace(EMPTY, dust=splats((10.0, 10.0))))
    assert faint.tiles.count() == 1


def test_a_line_has_the_energy_of_its_length():
    drawn = ground(replace(EMPTY, ground=[line((10.0, 20.0), (110.0, 20.0))]))
    where, energy = drawn.dots.inside(192, 256)
    assert energy.sum() == pytest.approx(100 * GROUND * 65536, rel=0.01)
    assert set((where // 256).tolist()) == {19, 20}
    assert list(drawn.tiles.runs()) == [(0, 0, 2)]


def test_dots_outside_are_left_out():
    work = raster(replace(EMPTY, trails=[line((-50.0, 5.0), (50.0, 5.0))]))
    where, energy = work.trails.inside(192, 256)
    assert len(where) == len(energy) < work.trails.energy.size
    assert (where % 256 <= 50).all()


@pytest.mark.parametrize(("x", "y"), [(-0.3, 50.2), (199.8, 50.2), (50.2, -0.3), (255.9, 191.9)])
def test_a_square_of_dots_is_clipped_pixel_by_pixel(x, y):
    """Its energy lands where a slow walk over its four pixels says, and nowhere else."""
    dots = raster(replace(EMPTY, trails=[line((x, y), (x, y + 0.5))])).trails
    field = np.zeros((192, 256), np.int64)
    for column, row, energy in zip(dots.column, dots.row, dots.energy.T, strict=True):
        for which, part in enumerate(energy):
            at = row + which // 2, column + which % 2
            if 0 <= at[0] < 192 and 0 <= at[1] < 256:
                field[at] += part
    found = np.zeros(192 * 256, np.int64)
    np.add.at(found, *dots.inside(192, 256))
    assert (found.reshape(192, 256) == field).all()
    assert found.any()


@pytest.mark.parametrize(
    ("left", "top", "live"),
    [(0, 0, 1), (60, 60, 4), (-100, 0, 0), (0, -100, 0), (199, 129, 1), (500, 0, 0)],
)
def test_an_overlay_reaches_the_tiles_it_covers(left, top, live):
    overlay = Overlay(left, top, np.zeros((8, 8, 4), np.uint8))
    assert raster(replace(EMPTY, overlays=[overlay])).tiles.count() == live


def test_grounds_are_compared_by_their_lines():
    one, other = line((0.0, 0.0), (1.0, 1.0)), line((0.0, 0.0), (1.0, 2.0))
    assert same_ground([one], [line((0.0, 0.0), (1.0, 1.0))])
    assert not same_ground([one], [other])
    assert not same_ground([one], [])


def test_walked_points_lie_within_sixteen_pixels_of_the_ones_that_stand_for_them():
    random = np.random.default_rng(2)
    stroke = Stroke(random.uniform(-300, 400, 60), random.uniform(-300, 400, 60), np.ones(60))
    x, y, level, along = _walk(stroke, 100, 100)
    some = along % 16 == 0
    away = np.hypot(x[:, None] - x[some], y[:, None] - y[some]).min(axis=1)
    assert away.max() <= 16
    assert (level <= 1).all()


def test_more_light_than_32_bits_hold_is_refused():
    with pytest.raises(ValueError, match="more light"):
        replace(EMPTY, stars=splats(*[(1.0, 1.0)] * (plan.MAX_SPLATS + 1)))
    bright = replace(splats((1.0, 1.0)), amount=np.array([plan.MAX_AMOUNT + 1], np.uint32))
    with pytest.raises(ValueError, match="more light"):
        replace(EMPTY, dust=bright)


def test_the_brightest_crowd_on_one_pixel_does_not_overflow():
    crowd = splats(*[(100.1, 70.1)] * plan.MAX_SPLATS)
    assert plan.MAX_SPLATS * plan.MAX_AMOUNT < 1 << 32
    assert raster(replace(EMPTY, stars=crowd)).stars.energy.sum() == plan.MAX_SPLATS << 16


def test_blending_is_the_formula_for_every_byte_and_alpha():
    below, above, alpha = (part.ravel() for part in np.mgrid[0:256:5, 0:256:5, 0:256])
    picture = np.stack([below, above[::-1], below[::-1], np.full_like(below, 255)], axis=-1)
    top = np.stack([above, below, above[::-1], alpha], axis=-1)
    picture, top = (part.astype(np.uint8).reshape(256, -1, 4) for part in (picture, top))
    share = top[..., 3:].astype(int)
    expected = (picture[..., :3] * (255 - share) + top[..., :3] * share + 127) // 255
    lay(picture, Overlay(0, 0, top))
    assert (picture[..., :3] == expected).all()
    assert (picture[..., 3] == 255).all()


def test_an_overlay_is_blended_and_clipped():
    picture = np.full((4, 4, 4), 100, np.uint8)
    picture[..., 3] = 255
    above = np.zeros((3, 3, 4), np.uint8)
    above[..., 0], above[..., 3] = 200, 128
    lay(picture, Overlay(2, 3, above))
    assert picture[3, 2].tolist() == [150, 50, 50, 255]
    assert picture[3, 1].tolist() == picture[2, 2].tolist() == [100, 100, 100, 255]
    lay(picture, Overlay(-2, -2, above))
    assert picture[0, 0].tolist() == [150, 50, 50, 255]
    before = picture.copy()
    for left, top in ((4, 0), (0, 4), (-3, 0)):
        lay(picture, Overlay(left, top, above))
    assert (picture == before).all()
