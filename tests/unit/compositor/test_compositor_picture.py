"""From scene to frame plan: views, tiles, palette."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.compositor.core import cartography, frame, palette, view
from geoosd.compositor.core.places import Places, origin_of
from geoosd.compositor.core.plan import STAR, stars
from geoosd.compositor.core.scene import Scene
from geoosd.compositor.core.tiles import LiveTiles
from geoosd.wire.messages import Theme, TokenVisualizationUpdate

THEME = Theme("t", "T", "#000000", "#ffffff", "#888888", "#00ff00", ["#000000", "#80ff40"],
              ["#ffffff", "#ff0000"])  # fmt: skip


def filled(*models, count=5, session="s"):
    scene, places = Scene(8.0), Places()
    for model in models:
        for number in range(count):
            token = TokenVisualizationUpdate(
                "a", number, token_id=number * 1000, session=session, model=model, activation=1.0
            )
            places.place(token)
            scene.apply(token, 0.0, 0.0)
    return scene, places


def test_a_view_fits_the_cells_in_use():
    fitted = view.fit(np.array([0.0, 99.0]), np.array([0.0, 199.0]), 400, 400)
    x, y = fitted.to_pixels(np.array([50.0]), np.array([0.0]))
    assert (x[0], y[0]) == pytest.approx((200.0, 36.0))
    alone = view.fit(np.array([7.0]), np.array([7.0]), 100, 200)
    assert alone.scale == pytest.approx(100 * 0.82 / view.MIN_EXTENT)
    nothing = view.fit(np.array([]), np.array([]), 1024, 1024)
    assert nothing.center_x == 512


def test_tiles_live_where_something_reaches():
    tiles = LiveTiles(200, 130)
    assert tiles.mask.shape == (3, 4)
    tiles.touch(np.array([]), np.array([]), 5)
    assert list(tiles.runs()) == []
    tiles.touch(np.array([10.0, 190.0, -500.0]), np.array([10.0, 60.0, 10.0]), 5)
    assert list(tiles.runs()) == [(0, 0, 1), (0, 2, 4), (1, 2, 4)]
    assert tiles.count() == 5
    tiles.touch(np.array([100.0]), np.array([65.0]), 300)
    assert tiles.count() == 12


@given(
    mask=st.integers(1, 7).flatmap(
        lambda columns: st.lists(
            st.lists(st.booleans(), min_size=columns, max_size=columns), min_size=1, max_size=9
        )
    ),
    most=st.integers(1, 20),
)
def test_blocks_make_up_the_live_tiles_and_are_no_larger_than_asked_for(mask, most):
    tiles = LiveTiles(1, 1)
    tiles.mask = np.array(mask)
    covered = np.zeros(tiles.mask.shape, int)
    for rows, columns in tiles.blocks(most):
        covered[rows, columns] += 1
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        assert high == 1 or high * wide <= most
    assert (covered == tiles.mask).all()


def test_a_picture_that_is_all_alive_is_few_blocks():
    tiles = LiveTiles(640, 640)
    tiles.mask[:] = True
    assert list(tiles.blocks(40)) == [
        (slice(0, 4), slice(0, 10)),
        (slice(4, 8), slice(0, 10)),
        (slice(8, 10), slice(0, 10)),
    ]


def test_a_palette_runs_from_background_to_the_end_of_the_ramp():
    table = palette.lut(THEME)
    assert table.dtype == np.uint32
    assert table.shape == (2 * palette.LEVELS,)
    assert table[0] == table[palette.LEVELS] == 0xFF000000
    assert table[palette.LEVELS - 1] == 0xFF40FF80
    assert table[-1] == 0xFF000080
    greens = (table[: palette.LEVELS] >> 8 & 255).astype(int)
    assert (np.diff(greens) >= 0).all()


def test_a_crowd_is_drawn_smaller_and_what_lies_far_out_makes_no_room():
    view_ = view.View(0.0, 0.0, 1.0, 1024, 1024)
    random = np.random.default_rng(3)

    def radius(*parts):
        x, y = np.concatenate(parts, axis=1)
        return stars(x, y, np.ones(len(x)), np.zeros(len(x), np.uint8), view_).radius

    alone, spread = np.array([[500.0], [500.0]]), random.uniform(0, 1024, (2, 100))
    crowd, far = random.uniform(300, 400, (2, 200)), random.uniform(0, 1024, (2, 8))
    assert radius(alone) > radius(spread) > radius(spread, crowd) > radius(crowd, far)
    assert radius(crowd, far) == pytest.approx(radius(alone) / 2)


def test_an_empty_scene_has_an_empty_plan():
    plan = frame.plan(Scene(8.0), Places(), palette.lut(THEME), (320, 200), 0.0)
    assert len(plan.stars.x) == len(plan.dust.x) == 0
    assert list(plan.trails) == list(plan.ground) == []


def test_a_plan_has_stars_memory_trails_and_ground():
    scene, places = filled("m")
    plan = frame.plan(scene, places, palette.lut(THEME), (320, 200), 0.0)
    assert len(plan.stars.x) == len(plan.dust.x) == 5
    assert (plan.stars.amount == round(STAR * 65536)).all()
    assert len(plan.trails) == 1
    assert plan.trails[0].level[0] == 0.0
    assert plan.trails[0].level[-1] == 1.5
    assert len(plan.ground) == 2
    assert ((plan.stars.x > 0) & (plan.stars.x < 320)).all()


def test_models_have_tints_in_order():
    scene, places = filled("a", "b", "c")
    plan = frame.plan(scene, places, palette.lut(THEME), (320, 200), 0.0)
    assert sorted(np.unique(plan.stars.tint).tolist()) == [0, 1]
    assert len(plan.trails) == 1  # one session


def test_only_districts_in_use_have_ground():
    scene, places = filled("a")
    places.place(TokenVisualizationUpdate("x", 0, token_id=1, model="unused"))
    plan = frame.plan(scene, places, palette.lut(THEME), (64, 64), 0.0)
    assert len(plan.ground) == 2


def test_a_scene_that_remembers_nothing_shows_what_is_active():
    scene, places = filled("a")
    scene.memory.restore(np.array([], np.uint64), np.array([]), 0.0)
    plan = frame.plan(scene, places, palette.lut(THEME), (64, 64), 0.0)
    assert len(plan.stars.x) == 5


def test_a_map_too_wide_for_its_curve_has_none():
    scene, places = filled("a", *(f"m{number}" for number in range(300)), count=1)
    plan = frame.plan(scene, places, palette.lut(THEME), (64, 64), 0.0)
    assert len(plan.ground) == 301


def test_cells_of_several_districts_lie_apart():
    keys = np.array([5, (1 << 20) + 5, (17 << 20) + 5], np.uint64)
    columns, rows = cartography.map_coordinates(keys)
    for index, district in enumerate((0, 1, 17)):
        left, top = origin_of(district)
        assert (columns[index] - left, rows[index] - top) == (columns[0], rows[0])
