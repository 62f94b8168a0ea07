"""Words over pictures, as pixels."""

import numpy as np
import pytest

from geoosd.compositor.adapters.lettering import letter, lettered
from geoosd.compositor.adapters.render_numpy import render
from geoosd.compositor.core.look import Box, Drawing, Flow, Label
from geoosd.compositor.core.palette import lut
from geoosd.compositor.core.plan import FramePlan, no_splats
from geoosd.compositor.core.view import View

from drawing_scene import theme  # isort: skip

RED, BLUE = (255, 0, 0), (0, 0, 255)


def plan(size=(200, 100)):
    return FramePlan(View(0, 0, 1, *size), lut(theme()), no_splats(), no_splats())


def box_of(overlay):
    """Left, top, right, bottom of what can be seen."""
    rows, columns = np.nonzero(overlay.pixels[..., 3] > 30)
    return (
        overlay.left + columns.min(), overlay.top + rows.min(),
        overlay.left + columns.max() + 1, overlay.top + rows.max() + 1,
    )  # fmt: skip


def test_a_label_lies_where_its_anchor_says():
    for anchor, check in (
        ("lm", lambda left, top, right, bottom: left >= 99 and top < 50 < bottom),
        ("rm", lambda left, top, right, bottom: right <= 101 and top < 50 < bottom),
        ("mm", lambda left, top, right, bottom: abs(left + right - 200) <= 3),
        ("lt", lambda left, top, right, bottom: left >= 99 and top >= 49),
        ("rt", lambda left, top, right, bottom: right <= 101 and top >= 49),
    ):
        (overlay,) = letter(Drawing(plan(), [Label(100, 50, "Hxy", 20, RED, anchor)]))
        assert check(*box_of(overlay)), (anchor, box_of(overlay))


def test_size_colour_and_opacity():
    small, large = letter(
        Drawing(plan(), [Label(0, 0, "H", 12, RED), Label(0, 0, "H", 36, BLUE, opacity=0.5)])
    )
    assert box_of(large)[3] - box_of(large)[1] == pytest.approx(
        3 * (box_of(small)[3] - box_of(small)[1]), abs=3
    )
    assert (small.pixels[..., :3] == RED).all()
    assert (large.pixels[..., :3] == BLUE).all()
    assert small.pixels[..., 3].max() > 250
    assert 120 < large.pixels[..., 3].max() < 130


def test_a_halo_lies_around_the_letters():
    bare, with_halo = letter(
        Drawing(plan(), [Label(50, 50, "o", 30, RED), Label(50, 50, "o", 30, RED, halo=BLUE)])
    )
    outer, inner = box_of(with_halo), box_of(bare)
    assert outer[0] < inner[0]
    assert outer[3] > inner[3]
    colors = with_halo.pixels[with_halo.pixels[..., 3] > 250][:, :3]
    assert (colors == BLUE).all(axis=1).any()
    assert (colors[:, 0] > 200).any()


def test_nothing_to_say_is_no_overlay():
    assert letter(Drawing(plan(), [Label(0, 0, "", 12, RED), Label(0, 0, "a", 12, RED, opacity=0)],
                          [Flow(Box(0, 0, 10, 10), 12, 8, [])])) == []  # fmt: skip


def lines_of(overlay):
    """How many lines of text can be seen."""
    ink = (overlay.pixels[..., 3] > 60).any(axis=1)
    return int((np.diff(ink.astype(int), prepend=0) > 0).sum())


ROOM = Box(10, 20, 180, 90)


def flow(pieces, box=ROOM, most=12, least=12):
    (overlay,) = letter(
        Drawing(plan(), (), [Flow(box, most, least, [(text, RED, 1.0) for text in pieces])])
    )
    assert overlay.pixels.shape == (round(box.height), round(box.width), 4)
    return overlay


def test_text_is_broken_at_spaces_and_line_breaks():
    assert lines_of(flow([" mmm"])) == 1
    assert lines_of(flow([" mmm", " mmm\nmm", "m"])) == 2
    assert lines_of(flow([" mmmmmm"] * 8, Box(0, 0, 150, 200))) == 4
    # One word of several tokens stays together: it does not fit beside the first.
    assert lines_of(flow([" mmmm", " mm", "mm", "mm"], Box(0, 0, 80, 90))) == 2
    assert lines_of(flow(["\n\n", "x"], Box(0, 0, 80, 90))) == 1


def test_text_is_as_large_as_fits():
    large = flow([" mm"], most=30)
    assert box_of(large)[3] - box_of(large)[1] > 14
    much = flow([" mmmm"] * 30, most=30, least=10)
    assert 3 < lines_of(much) <= 6


def test_of_too_long_a_text_the_end_is_shown():
    box = Box(0, 0, 60, 40)
    (overlay,) = letter(
        Drawing(
            plan(), (), [Flow(box, 12, 12, [(" early", RED, 1.0)] * 20 + [(" late", BLUE, 1.0)])]
        )
    )
    seen = overlay.pixels[overlay.pixels[..., 3] > 200][:, :3]
    assert (seen == BLUE).all(axis=1).any()
    assert lines_of(overlay) == 2


def test_letters_that_no_font_has_are_drawn_all_the_same():
    for text in ("日本", "ñü", "→", "\ud7ff", "a\x00b"):
        (overlay,) = letter(Drawing(plan(), [Label(20, 20, text, 15, RED)]))
        assert overlay.pixels.shape[0] >= 1


def test_a_drawing_with_words_is_a_plan_that_any_backend_draws():
    drawing = Drawing(plan(), [Label(100, 50, "word", 30, (255, 255, 255), "mm")])
    picture = render(lettered(drawing))
    assert picture.shape == (100, 200, 4)
    assert picture[40:60, 60:140, :3].max() > 200
    assert render(drawing.plan)[..., :3].max() < 60
