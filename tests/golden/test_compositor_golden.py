"""Pictures as they were when they were looked at, to within one level.

A picture that differs is kept under ``reports/golden`` beside a difference image, sixteen
times amplified. ``GEOOS_UPDATE_GOLDENS=1`` writes the pictures anew: look at them.
"""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from golden_session import session
from PIL import Image

from geoosd.compositor.adapters.lettering import lettered
from geoosd.compositor.adapters.render_numpy import render
from geoosd.compositor.core import frame, palette, views
from geoosd.compositor.core.look import Look
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import Theme, TokenVisualizationUpdate

HERE = Path(__file__).parent


def theme(repository, name):
    return msgspec.json.decode((repository / f"etc/themes/{name}.json").read_bytes(), type=Theme)


def walk(models, count):
    """A made-up stream over a vocabulary of 262,144, the same on every machine."""
    scene, places = Scene(8.0), Places()
    state = 12345
    for position in range(count):
        for model in models:
            state = (1103515245 * state + 12345) % (1 << 31)
            token_id = state * state >> 44 if position % 4 else 500 + state % 60
            token = TokenVisualizationUpdate(
                "t",
                position,
                token_id=token_id,
                model=model,
                session=model,
                activation=(state >> 8 & 1023) / 1023,
            )
            places.place(token)
            scene.apply(token, 0.0, position / 25)
    return scene, places


CASES = {
    "one-model": (["m"], 300, "aurora", (512, 512)),
    "two-models": (["m", "n"], 120, "ember", (640, 360)),
    "on-paper": (["m"], 80, "paper", (301, 203)),
    "nothing": ([], 0, "aurora", (64, 48)),
}


VIEWS = {
    "view-activation": (Look("activation", 480, 270), "aurora", 1),
    "view-activation-labels": (Look("activation", 480, 270, labels=True), "aurora", 1),
    "view-activation-zoomed": (
        Look("activation", 400, 300, zoom=5.0, center=(1140.0, 140.0)), "aurora", 1,
    ),
    "view-activation-hidpi": (Look("activation", 480, 270, labels=True), "aurora", 2),
    "view-memory": (Look("memory", 480, 270, labels=True), "ember", 1),
    "view-confidence": (Look("confidence", 640, 360, labels=True), "aurora", 1),
    "view-confidence-on-paper": (Look("confidence", 360, 640), "paper", 1),
    "view-models": (Look("models", 640, 360, labels=True), "aurora", 1),
    "view-attention": (Look("attention", 640, 360), "aurora", 1),
    "view-layers": (Look("layers", 640, 360), "aurora", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden(name, repository):
    models, count, theme_name, size = CASES[name]
    scene, places = walk(models, count)
    table = palette.lut(theme(repository, theme_name))
    picture = render(frame.plan(scene, places, table, size, count / 25))
    assert picture.shape == (size[1], size[0], 4)
    compare(name, picture, repository)


@pytest.fixture(scope="module")
def taken():
    return session()


@pytest.mark.parametrize("name", VIEWS)
def test_view(name, taken, repository):
    look, theme_name, dpr = VIEWS[name]
    sharper = look._replace(width=look.width * dpr, height=look.height * dpr)
    drawing = views.draw(taken, sharper, theme(repository, theme_name))
    compare(name, render(lettered(drawing)), repository)


def test_every_view_has_a_golden():
    assert {look.view for look, _, _ in VIEWS.values()} == set(views.VIEWS)


def test_two_device_pixels_a_pixel_are_the_same_picture_sharper():
    """What a HiDPI picture shows of two pixels by two is what the plain one shows of one."""
    with (
        Image.open(HERE / "view-activation-labels.png") as plain,
        Image.open(HERE / "view-activation-hidpi.png") as sharp,
    ):
        assert sharp.size == (2 * plain.width, 2 * plain.height)
        away = np.asarray(sharp.reduce(2), int) - np.asarray(plain, int)
    assert np.abs(away).mean() < 4


def compare(name, picture, repository):
    """The picture is its golden to within one level."""
    assert (picture[..., 3] == 255).all()
    golden = HERE / f"{name}.png"
    if os.environ.get("GEOOS_UPDATE_GOLDENS"):
        Image.fromarray(picture[..., :3]).save(golden, optimize=True)
    with Image.open(golden) as image:
        expected = np.asarray(image.convert("RGB"))
    assert picture.shape[:2] == expected.shape[:2]
    difference = np.abs(picture[..., :3].astype(int) - expected)
    if difference.max() > 1:
        keep(repository / "reports" / "golden", name, picture, difference)
    assert difference.max() <= 1, f"see reports/golden/{name}.png and its difference"


def keep(failed, name, picture, difference):
    failed.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture[..., :3]).save(failed / f"{name}.png")
    amplified = np.minimum(difference * 16, 255).astype(np.uint8)
    Image.fromarray(amplified).save(failed / f"{name}-difference.png")


def test_every_pixel_outside_live_tiles_is_background(repository):
    table = palette.lut(theme(repository, "aurora"))
    scene, places = Scene(8.0), Places()
    picture = render(frame.plan(scene, places, table, (100, 70), 0.0))
    assert (picture.reshape(-1, 4).view(np.uint32) == table[0]).all()
