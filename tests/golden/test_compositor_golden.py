"""Pictures as they were when they were looked at, to within one level.

A picture that differs is kept under ``reports/golden`` beside a difference image, sixteen
times amplified. ``GEOOS_UPDATE_GOLDENS=1`` writes the pictures anew: look at them.
"""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from geoosd.compositor.adapters.render_numpy import render
from geoosd.compositor.core import frame, palette
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


@pytest.mark.parametrize("name", CASES)
def test_golden(name, repository):
    models, count, theme_name, size = CASES[name]
    scene, places = walk(models, count)
    table = palette.lut(theme(repository, theme_name))
    picture = render(frame.plan(scene, places, table, size, count / 25))
    assert picture.shape == (size[1], size[0], 4)
    assert (picture[..., 3] == 255).all()
    golden = HERE / f"{name}.png"
    if os.environ.get("GEOOS_UPDATE_GOLDENS"):
        Image.fromarray(picture[..., :3]).save(golden, optimize=True)
    with Image.open(golden) as image:
        expected = np.asarray(image.convert("RGB"))
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
