"""The NumPy renderer's integer steps."""

import numpy as np
import pytest

from geoosd.compositor.adapters import render_numpy
from geoosd.compositor.adapters.render_numpy import Renderer, _enlarged, _walk, render
from geoosd.compositor.core import frame, palette
from geoosd.compositor.core.frame import Stroke
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import Theme, TokenVisualizationUpdate

NIGHT, DAY = (
    palette.lut(
        Theme("t", "T", ground, "#ffffff", "#888888", "#00ff00", [ground, end], ["#ffffff", tint])
    )
    for ground, end, tint in (("#000000", "#80ff40", "#ff0000"), ("#ffffff", "#102030", "#00ffff"))
)


def say(scene, places, token_id, model, now):
    token = TokenVisualizationUpdate(
        "a", 0, token_id=token_id, session="s", model=model, activation=0.9
    )
    places.place(token)
    scene.apply(token, 0.0, now)


@pytest.mark.parametrize("kept", [2 << 20, 0])
def test_a_picture_does_not_depend_on_those_before_it(monkeypatch, kept):
    monkeypatch.setattr(render_numpy, "KEPT_PIXELS", kept)
    scene, places, renderer = Scene(0.5), Places(), Renderer()
    steps = [
        (None, NIGHT, (200, 130)),
        (7, NIGHT, (200, 130)),
        (9, NIGHT, (200, 130)),
        (900_000, NIGHT, (200, 130)),
        (None, NIGHT, (200, 130)),
        (5000, DAY, (200, 130)),
        (5001, DAY, (130, 200)),
        (None, DAY, (130, 200)),
    ]
    pictures = []
    for second, (token_id, table, size) in enumerate(steps):
        for model in ("m", "n") if token_id is not None else ():
            say(scene, places, token_id, model, float(second))
        plan = frame.plan(scene, places, table, size, float(second))
        pictures.append(renderer.draw(plan).copy())
        assert (pictures[-1] == render(plan)).all()
    assert (pictures[1] != pictures[2]).any()


def test_only_what_is_lit_is_composed_again(monkeypatch):
    composed = []
    look_up = np.take

    def take(table, level, **options):
        composed.append(level.size)
        return look_up(table, level, **options)

    monkeypatch.setattr(np, "take", take)
    scene, places, renderer = Scene(8.0), Places(), Renderer()
    say(scene, places, 0, "m", 0.0)
    say(scene, places, 1_000_000, "m", 0.0)
    sizes = []
    for _ in range(3):
        composed.clear()
        renderer.draw(frame.plan(scene, places, NIGHT, (1024, 1024), 0.0))
        sizes.append(sum(composed))
    assert sizes[0] > sizes[1] == sizes[2] > 0


def test_with_no_live_tile_nothing_is_composed(monkeypatch):
    renderer = Renderer()
    plan = frame.plan(Scene(8.0), Places(), NIGHT, (300, 200), 0.0)
    monkeypatch.setattr(np, "take", None)
    for _ in range(2):
        assert (renderer.draw(plan).view(np.uint32) == NIGHT[0]).all()


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
