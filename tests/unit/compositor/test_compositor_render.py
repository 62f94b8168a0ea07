"""The NumPy backend: what it keeps between pictures, and that no picture shows it."""

from dataclasses import replace

import numpy as np
import pytest

from geoosd.compositor.adapters import render_numpy
from geoosd.compositor.adapters.render_numpy import NumpyBackend, render
from geoosd.compositor.core import frame, palette
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.plan import SCALE_ONE, Overlay
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
    scene, places, backend = Scene(0.5), Places(), NumpyBackend()
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
        pictures.append(backend.draw(plan).copy())
        assert (pictures[-1] == render(plan)).all()
    assert (pictures[1] != pictures[2]).any()


def test_only_what_is_lit_is_composed_again(monkeypatch):
    composed = []
    look_up = np.take

    def take(table, level, **options):
        composed.append(level.size)
        return look_up(table, level, **options)

    monkeypatch.setattr(np, "take", take)
    scene, places, backend = Scene(8.0), Places(), NumpyBackend()
    say(scene, places, 0, "m", 0.0)
    say(scene, places, 1_000_000, "m", 0.0)
    sizes = []
    for _ in range(3):
        composed.clear()
        backend.draw(frame.plan(scene, places, NIGHT, (1024, 1024), 0.0))
        sizes.append(sum(composed))
    assert sizes[0] > sizes[1] == sizes[2] > 0


def test_with_no_live_tile_nothing_is_composed(monkeypatch):
    backend = NumpyBackend()
    plan = frame.plan(Scene(8.0), Places(), NIGHT, (300, 200), 0.0)
    monkeypatch.setattr(np, "take", None)
    for _ in range(2):
        assert (backend.draw(plan).view(np.uint32) == NIGHT[0]).all()


def test_a_picture_of_another_size_in_between_changes_nothing():
    scene, places, backend = Scene(8.0), Places(), NumpyBackend()
    for token_id in (3, 70_000):
        say(scene, places, token_id, "m", 0.0)
        for size in ((200, 130), (64, 64), (90, 90), (200, 130)):
            plan = frame.plan(scene, places, NIGHT, size, 0.0)
            assert (backend.draw(plan) == render(plan)).all()
    backend.close()
    assert (backend.draw(plan) == render(plan)).all()


def test_half_the_scale_is_half_the_light():
    """Decay is a scalar: scaled light equals light of scaled amounts, to a rounding."""
    scene, places = Scene(8.0), Places()
    for token_id in range(0, 4000, 100):
        say(scene, places, token_id, "m", 0.0)
    whole = frame.plan(scene, places, NIGHT, (256, 256), 0.0)
    halved = replace(whole, star_scale=SCALE_ONE // 2, glow_scale=SCALE_ONE // 2)
    stars = replace(whole.stars, amount=whole.stars.amount // 2)
    difference = render(halved).astype(int) - render(replace(whole, stars=stars))
    assert np.abs(difference).max() <= 1
    assert (render(halved) != render(whole)).any()


def test_scaled_light_leaves_nothing_behind():
    backend = NumpyBackend()
    for number, scale in enumerate([SCALE_ONE, 9000, SCALE_ONE, SCALE_ONE, 40_000, 0]):
        scene, places = Scene(8.0), Places()
        say(scene, places, 0, "m", 0.0)
        say(scene, places, 1_000_000, "m", 0.0)
        whole = frame.plan(scene, places, NIGHT, (512, 512), 0.0)
        some = replace(whole.stars, x=whole.stars.x + 60 * number)
        plan = replace(whole, stars=some, star_scale=scale)
        assert (backend.draw(plan) == render(plan)).all()


def test_a_picture_that_failed_half_way_leaves_nothing_behind(monkeypatch):
    scene, places, backend = Scene(8.0), Places(), NumpyBackend()
    for token_id in range(0, 4000, 100):
        say(scene, places, token_id, "m", 0.0)
    plan = frame.plan(scene, places, NIGHT, (256, 256), 0.0)
    backend.draw(plan)
    with monkeypatch.context() as broken:
        broken.setattr(render_numpy.glow, "across", None)
        with pytest.raises(TypeError):
            backend.draw(plan)
    assert (backend.draw(plan) == render(plan)).all()


def test_an_overlay_is_gone_with_the_next_plan():
    backend = NumpyBackend()
    plan = frame.plan(Scene(8.0), Places(), NIGHT, (200, 130), 0.0)
    label = Overlay(150, 100, np.full((60, 90, 4), 255, np.uint8))
    labelled = backend.draw(replace(plan, overlays=[label])).copy()
    assert (labelled[100:, 150:] == 255).all()
    assert (labelled[:100, :150].view(np.uint32) == NIGHT[0]).all()
    assert (backend.draw(plan).view(np.uint32) == NIGHT[0]).all()
