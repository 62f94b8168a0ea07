"""Where cells lie in a picture, and how much detail of them is drawn."""

import numpy as np
import pytest
from drawing_scene import World, filled

from geoosd.compositor.core import cartography, hilbert
from geoosd.compositor.core.aim import view_of, within
from geoosd.compositor.core.cartography import ground, map_coordinates, mip, seen
from geoosd.compositor.core.look import Box, Look
from geoosd.compositor.core.places import ORDER, SIDE, origin_of
from geoosd.compositor.core.plan import MAX_SPLATS
from geoosd.compositor.core.view import View
from geoosd.wire.messages import District


def test_a_mip_level_holds_the_greatest_of_each_square():
    rng = np.random.default_rng(1)
    keys = rng.choice(1 << 20, 5000, replace=False).astype(np.uint64) + np.uint64(3 << 20)
    weights = rng.random(5000)
    for level in (1, 3, 10):
        x, y = map_coordinates(keys)
        left, top = origin_of(3)
        squares = {}
        for column, row, weight in zip(x - left, y - top, weights, strict=True):
            square = int(column) >> level, int(row) >> level
            squares[square] = max(squares.get(square, 0.0), weight)
        some, strength = mip(keys, weights, level)
        assert sorted(strength.tolist()) == sorted(squares.values())
        columns, rows = map_coordinates(some)
        found = {
            (int(column - left) >> level, int(row - top) >> level): value
            for column, row, value in zip(columns, rows, strength, strict=True)
        }
        assert found == squares
    nothing = np.zeros(0, np.uint64), np.zeros(0)
    assert len(mip(*nothing, 2)[0]) == 0


def view(scale=1.0, size=1024):
    left, top = origin_of(0)
    return View(left + 512.0, top + 512.0, scale, size, size)


def test_detail_follows_the_scale():
    keys = np.arange(16_384, dtype=np.uint64)
    weights = np.linspace(0.1, 1.0, len(keys))
    near = seen(keys, weights, view(1.0, 2048), {}, limit=20_000)
    far = seen(keys, weights, view(0.0625), {})
    assert (len(near.x), len(far.x)) == (16_384 // 4, 16_384 // 256)
    assert far.weight.max() == near.weight.max() == 1.0
    # Centres of squares, not their first cells: as far apart as they are wide.
    assert np.diff(np.unique(far.x)).min() == pytest.approx(1.0)
    assert (np.diff(far.weight) >= 0).all()


def test_there_is_never_more_than_a_plan_may_hold():
    keys = np.arange(1 << 18, dtype=np.uint64)
    some = seen(keys, np.ones(len(keys)), view(1.0), {})
    assert len(some.x) <= MAX_SPLATS
    few = seen(np.arange(100, dtype=np.uint64) << np.uint64(20), np.arange(100.0) + 1,
               View(512.0, 512.0, 1e-2, 4096, 4096), {}, limit=10)  # fmt: skip
    assert few.weight.tolist() == list(np.arange(91.0, 101.0))


def test_what_lies_outside_is_left_out():
    keys = np.array([0, (1 << 20) - 1], np.uint64)
    x, y = map_coordinates(keys[:1])
    close = View(float(x[0]), float(y[0]), 4.0, 100, 100)
    assert seen(keys, np.ones(2), close, {}).keys.tolist() == [0]


def test_the_curve_gets_finer_as_one_comes_closer():
    districts, keys = [District(0, None, "given")], np.zeros(1, np.uint64)

    def steps(scale, center=(100.0, 100.0)):
        strokes = ground(districts, keys, View(*center, scale, 512, 512))
        return [
            float(np.hypot(np.diff(s.x), np.diff(s.y)).min()) / scale for s in strokes[1:]
        ], strokes

    coarse, _ = steps(0.6)
    assert coarse == pytest.approx([16.0])
    finer, _ = steps(8.0)
    assert min(finer) == pytest.approx(4.0)
    finest, strokes = steps(64.0)
    assert min(finest) == pytest.approx(1.0)
    assert all(len(stroke.x) < 200 for stroke in strokes)
    assert len(ground(districts, keys, View(512, 512, 1e-4, 64, 64))) == 1
    # Far from the district there is nothing of it but its frame.
    away, strokes = steps(64.0, (-5000.0, 20.0))
    assert (away, len(strokes)) == ([], 1)


def test_a_fine_curve_is_the_hilbert_curve():
    left, top = origin_of(0)
    strokes = ground([District(0, None, "given")], np.zeros(1, np.uint64),
                     View(left + 4.0, top + 4.0, 60.0, 480, 480))  # fmt: skip
    drawn = set()
    for stroke in strokes[1:]:
        columns = np.rint((stroke.x - 240) / 60 + left + 4.0 - 0.5).astype(int).tolist()
        rows = np.rint((stroke.y - 240) / 60 + top + 4.0 - 0.5).astype(int).tolist()
        drawn |= set(zip(columns, rows, strict=True))
        steps = np.abs(np.diff(columns)) + np.abs(np.diff(rows))
        assert (steps == 1).all()
    assert {hilbert.cell_at(index, ORDER) for index in range(16)} <= drawn


def test_a_view_is_panned_and_zoomed():
    world = filled(20)
    taken = world.moment()
    whole = view_of(taken, Look(width=400, height=400))
    assert view_of(taken, Look(width=400, height=400, zoom=4.0)).scale == 4 * whole.scale
    there = view_of(taken, Look(width=400, height=400, zoom=2.0, center=(5.0, 6.0)))
    assert (there.center_x, there.center_y) == (5.0, 6.0)
    near = view_of(taken, Look(width=400, height=400, zoom=3.0))
    x, y = near.to_pixels(*map_coordinates(taken.lit[0]))
    assert ((x > 0) & (x < 400) & (y > 0) & (y < 400)).any()
    nothing = World().moment()
    assert view_of(nothing, Look(zoom=2.0)).center_x == SIDE / 2


def test_one_outlier_does_not_draw_the_view_away():
    world = World()
    for number in range(40):
        world.token(token_id=number, activation=1.0)
    world.token(token_id=1_000_000, activation=1.0)
    aimed = view_of(world.moment(), Look(zoom=4.0))
    near = map_coordinates(np.arange(40, dtype=np.uint64) + np.uint64(1 << 20))
    x, y = aimed.to_pixels(*near)
    assert ((x > 0) & (x < 1024) & (y > 0) & (y < 1024)).all()
    # Little is shown of what lies beyond the cells in use: these are at the edge of the picture.
    assert x.min() < 0.1 * 1024
    wide = view_of(world.moment(), Look(zoom=1.01))
    assert wide.center_x == pytest.approx(view_of(world.moment(), Look()).center_x, rel=0.02)
    # Zoomed at what is remembered when nothing is lit.
    world.now += 1000.0
    assert len(world.moment().lit[0]) == 0
    assert view_of(world.moment(), Look(zoom=4.0)).center_x == aimed.center_x
    # And where the newest token's cell is forgotten, at the middle.
    world.scene.memory.restore(np.zeros(1, np.uint64), np.ones(1), world.now)
    assert view_of(world.moment(), Look(zoom=4.0)).scale > 0


@pytest.mark.parametrize("zoom", [2.0, 8.0, 64.0, 1024.0])
def test_zoomed_in_there_is_a_cell_to_see(zoom):
    world = World()
    # A cross: most columns are dense in one place, most rows in another.
    for step in range(20):
        world.token(token_id=int(hilbert.indices_of(np.array([step * 9]), np.array([90]), 10)[0]))
        world.token(
            token_id=int(hilbert.indices_of(np.array([400]), np.array([300 + step * 9]), 10)[0])
        )
    view = view_of(world.moment(), Look(width=640, height=360, zoom=zoom))
    x, y = view.to_pixels(*(part + 0.5 for part in map_coordinates(world.moment().lit[0])))
    assert ((x > 0) & (x < 640) & (y > 0) & (y < 360)).any()


def test_a_view_within_a_room_of_the_picture():
    part = View(10.0, 20.0, 2.0, 100, 50)
    whole = within(part, Box(300, 40, 100, 50), Look(width=400, height=200))
    x, y = whole.to_pixels(np.array([10.0]), np.array([20.0]))
    assert (x[0], y[0]) == (350.0, 65.0)


def test_a_moment_is_by_itself():
    world = filled(5)
    taken = world.moment()
    before = taken.lit[1].sum(), len(taken.newest), len(taken.insides[0].rows)
    world.token(activation=1.0, session="s")
    world.state(attention_weights=[[1.0]], layer_activations=[1.0])
    assert (taken.lit[1].sum(), len(taken.newest), len(taken.insides[0].rows)) == before
    assert taken.words_of("s")[4].token.current_token == " w4"
    assert taken.words_of("nobody") == {}
    assert cartography.key_of_token(taken.newest[0].token) == int(taken.newest[0].token.cell) + (
        1 << 20
    )
