"""Cards, heat maps and bars, pixel by pixel."""

import numpy as np
from drawing_scene import theme

from geoosd.compositor.core import palette
from geoosd.compositor.core.look import Box
from geoosd.compositor.core.panels import bars, card, heat

GREY = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def test_heat_puts_each_value_where_it_belongs():
    values = np.array([[0.0, 1.0], [0.5, np.nan]])
    overlay = heat(values, Box(3, 4, 8, 6), GREY)
    assert (overlay.left, overlay.top, overlay.pixels.shape) == (3, 4, (6, 8, 4))
    assert (overlay.pixels[:3, :4] == [0, 0, 0, 255]).all()
    assert (overlay.pixels[:3, 4:] == [255, 255, 255, 255]).all()
    assert (overlay.pixels[3:, :4, 0] == 128).all()
    assert (overlay.pixels[3:, 4:, 3] == 0).all()


def test_cells_that_share_a_pixel_show_their_greatest():
    values = np.zeros((100, 300))
    values[57, 211] = 2.0  # beyond the scale
    pixels = heat(values, Box(0, 0, 30, 10), GREY).pixels
    assert pixels[5, 21, 0] == 255
    assert (pixels[..., 0] > 0).sum() == 1


def test_cells_with_room_have_gaps():
    pixels = heat(np.ones((2, 3)), Box(0, 0, 30, 20), GREY, gap=1).pixels
    assert (pixels[:, [9, 19, 29], 3] == 0).all()
    assert (pixels[[9, 19], :, 3] == 0).all()
    assert (pixels[..., 3] > 0).sum() == (20 - 2) * (30 - 3)
    crowded = heat(np.ones((9, 9)), Box(0, 0, 12, 12), GREY, gap=1).pixels
    assert (crowded[..., 3] == 255).all()


def test_heat_of_nothing_is_transparent():
    assert heat(np.zeros((0, 4)), Box(0, 0, 5, 5), GREY).pixels.max() == 0


def test_bars_are_as_tall_as_their_values():
    pixels = bars(np.array([0.0, 0.5, 1.0, 7.0]), Box(0, 0, 80, 100), GREY, theme(), 1.0).pixels
    tall = (pixels[..., 3] == 255).sum(axis=0)
    assert tall[5] == 0
    assert abs(int(tall[25]) - 50) <= 1
    assert tall[45] == tall[65] == 100
    assert (pixels[:, [19, 39, 59, 79], 3] == 0).all()
    # Brighter towards the end.
    assert pixels[2, 45, 0] > pixels[97, 45, 0]
    thin = bars(np.ones(100), Box(0, 0, 120, 10), GREY, theme(), 1.0).pixels
    assert (thin[..., 3] == 255).all()
    assert bars(np.zeros(0), Box(0, 0, 9, 9), GREY, theme(), 1.0).pixels.max() == 0


def test_a_card_has_round_corners_and_an_edge():
    pixels = card(Box(0, 0, 60, 40), theme(), 1.0).pixels
    assert pixels[0, 0, 3] == 0
    assert pixels[20, 30, 3] == 236
    assert pixels[0, 30, :3].sum() > pixels[20, 30, :3].sum()
    assert (pixels == pixels[::-1, ::-1]).all()
    assert card(Box(0, 0, 0.2, 0.2), theme(), 1.0).pixels.shape == (1, 1, 4)


def test_a_ramp_has_256_steps_from_end_to_end():
    steps = palette.ramp(theme())
    assert steps.shape == (256, 3)
    assert tuple(steps[0]) == palette.rgb(theme().ramp[0])
    assert tuple(steps[-1]) == palette.rgb(theme().ramp[-1])
    assert palette.mixed("#000000", "#ffffff", 0.5) == (128, 128, 128)
