"""What each view shows, as drawings: where light and words lie, and what is absent."""

import math
from base64 import b64encode
from itertools import product

import numpy as np
import pytest
from drawing_scene import World, attention, filled, theme

from geoosd.compositor.adapters.render_numpy import render
from geoosd.compositor.core import confidence_view, inside_views, models_view, views, wording
from geoosd.compositor.core.cartography import map_coordinates
from geoosd.compositor.core.look import Box, Look
from geoosd.compositor.core.overlay import lay
from geoosd.compositor.core.view import View
from geoosd.wire import pictures
from geoosd.wire.messages import PackedAttention

WIDE, TALL = (640, 360), (300, 500)


def draw(world, name, size=WIDE, **wanted):
    return views.draw(world.moment(), Look(name, *size, **wanted), theme())


def rendered(drawing):
    return render(drawing.plan).copy()


def texts(drawing):
    return [label.text for label in drawing.labels]


def laid(drawing, size=WIDE):
    picture = np.zeros((size[1], size[0], 4), np.uint8)
    for overlay in drawing.plan.overlays:
        lay(picture, overlay)
    return picture


@pytest.mark.parametrize("size", [WIDE, TALL, (16, 16)])
@pytest.mark.parametrize("name", views.VIEWS)
@pytest.mark.parametrize("labels", [True, False])
def test_every_view_draws_every_scene_in_every_size(name, size, labels):
    for world in (World(), filled(1), filled(30, ("m", "n", None))):
        for zoom in (0.5, 1.0, 200.0):
            drawing = draw(world, name, size, labels=labels, zoom=zoom)
            assert (drawing.view.width, drawing.view.height) == size
            for splats in (drawing.plan.stars, drawing.plan.dust):
                assert np.isfinite(splats.x).all()
                assert np.isfinite(splats.y).all()


def test_views_have_the_numbers_that_the_protocol_says():
    assert tuple(views.VIEWS) == pictures.VIEWS


def test_who_asks_for_another_view_gets_the_list():
    with pytest.raises(ValueError, match="cannot draw view 'x': there are activation, memory, con"):
        draw(World(), "x")


def test_activation_shows_the_newest_words_beside_their_stars():
    world = World()
    world.token(" old", token_id=1)
    world.token(" far", token_id=90_000)
    world.token("\n", token_id=3000)
    world.token(" new", token_id=40_000)
    world.token("\x00", token_id=40_500)
    drawing = draw(world, "activation", labels=True)
    # Invisible text has no label.
    assert texts(drawing) == ["\x00", "new", "newline", "far", "old"]
    opacity = [label.opacity for label in drawing.labels]
    assert opacity == sorted(opacity, reverse=True)
    assert not draw(world, "activation").labels


def test_words_never_hide_each_other():
    world = World()
    for number in range(200):
        world.token(f"word{number}", number, token_id=number)
    labels = draw(world, "activation", labels=True).labels
    assert 3 < len(labels) <= wording.MOST
    for index, one in enumerate(labels):
        for other in labels[:index]:
            wide = 0.5 * one.size * max(len(one.text), len(other.text))
            assert abs(one.y - other.y) > one.size or abs(one.x - other.x) > wide


def test_a_token_without_any_shape_has_no_word():
    assert wording.shown(" ") == "space"
    assert wording.shown("") == ""
    assert wording.shown("\t") == ""
    assert wording.shown("  two\n words ") == "two words"


def test_memory_shows_what_came_often_as_brighter_and_knows_nothing_of_now():
    world = World()
    for _ in range(50):
        world.token(" often", token_id=5000)
    world.token(" once", token_id=9000)
    drawing = draw(world, "memory", labels=True)
    amounts = drawing.plan.stars.amount
    assert len(amounts) == 2
    assert amounts[1] > 3 * amounts[0]
    assert texts(drawing) == ["often", "once"]
    assert not drawing.plan.trails


def test_confidence_colours_places_and_text():
    world = World()
    world.token(" unsure", 0, token_id=1000, activation=0.01, entropy=4.0, session="s")
    world.token(" sure", 1, token_id=30_000, activation=1.0, entropy=1.0, session="s")
    world.token(" unknown", 2, token_id=60_000, session="s")
    drawing = draw(world, "confidence", labels=True)
    assert drawing.plan.stars.tint.tolist() == [1, len(confidence_view.SURENESS)]
    (flow,) = drawing.flows
    colors = {text: color for text, color, _ in flow.pieces}
    assert colors[" unsure"] == (0xFF, 0x6A, 0x55)
    assert colors[" sure"] == (0x3F, 0x93, 0xFF)
    assert colors[" unknown"] == (0x6B, 0x7A, 0x99)  # the theme's muted
    assert {"0", "1", "sure", "unsure"} <= set(texts(drawing))
    assert "unknown" not in texts(drawing)
    assert "probability · 2.5 bits each" in texts(drawing)
    full = "probability of the token · 2.5 bits of choice each"
    assert full in texts(draw(world, "confidence", (1280, 720)))


def luminance(color):
    """Relative luminance (WCAG 2.2), of 0 to 255 each."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (each / 255 for each in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["aurora", "ember", "paper"])
def test_the_text_of_confidence_is_legible_in_every_theme(name):
    world = World()
    for step in range(7):
        world.token(token_id=step, activation=(step + 0.5) / 7)
    drawing = views.draw(world.moment(), Look("confidence", *WIDE), theme(name))
    colors = {color for _, color, _ in drawing.flows[0].pieces}
    assert len(colors) == 7
    height, width, _ = drawing.plan.overlays[0].pixels.shape
    card = luminance(drawing.plan.overlays[0].pixels[height // 2, width // 2, :3].tolist())
    for color in colors:
        low, high = sorted((luminance(color), card))
        assert (high + 0.05) / (low + 0.05) >= 4.5, color


def test_trails_fade_with_the_tokens_that_they_join():
    world = World()
    for position in range(4):
        world.token(token_id=900 * position, activation=1.0)
    (fresh,) = draw(world, "activation").plan.trails
    world.now += 8.0
    (older,) = draw(world, "activation").plan.trails
    assert older.level.max() == pytest.approx(fresh.level.max() / math.e, rel=0.01)
    (told,) = draw(world, "confidence").plan.trails
    world.now += 800.0
    assert draw(world, "activation").plan.trails == []
    assert draw(world, "models").plan.trails == []
    # There it is the way of a text that is still shown.
    assert draw(world, "confidence").plan.trails[0].level.max() == told.level.max()


def test_the_trails_are_those_of_the_streams_that_were_written_last():
    world = World()
    for turn in range(2):
        for name in "abcdefghi":
            world.token(session=name, position=turn, token_id=100 * turn + ord(name))
    world.token(session="a", position=2, token_id=999)
    trails = draw(world, "activation").plan.trails
    assert len(trails) == 8
    x, y = draw(world, "activation").plan.view.to_pixels(
        *(part + 0.5 for part in map_coordinates(np.array([(1 << 20) + 999], np.uint64)))
    )
    assert (trails[-1].x[-1], trails[-1].y[-1]) == (x[0], y[0])


def test_views_change_by_themselves_until_all_is_dark_and_no_longer():
    world = World()
    for position in range(30):
        world.token(token_id=7 * position % 40, activation=0.9)
    dark_at = world.scene.activation.dark_at(world.now)

    def at(seconds):
        world.now = dark_at + seconds
        return {name: rendered(draw(world, name)).astype(int) for name in views.VIEWS}

    fading, almost, dark, later = at(-20.0), at(-0.5), at(0.0), at(1000.0)
    levels = {name: np.abs(fading[name] - dark[name]).max() for name in views.VIEWS}
    assert {name for name, most in levels.items() if most > 1} == views.FADING
    for name in views.VIEWS:
        # What is gone in the end could change no pixel by more than a level; memory fades in days.
        assert np.abs(almost[name] - dark[name]).max() <= 1
        assert np.abs(later[name] - dark[name]).max() <= 1
    assert world.scene.activation.dark_at(dark_at) == dark_at


def test_confidence_that_nobody_told_is_absent():
    world = World()
    world.token(" a", session="s")
    assert "absent: no source has sent probabilities" in texts(draw(world, "confidence"))
    assert len(draw(world, "confidence").plan.stars) == 0


def test_entropy_that_nobody_told_is_not_made_up():
    world = World()
    world.token(" a", activation=0.5)
    assert "probability of the token" in texts(draw(world, "confidence", (1280, 720)))
    assert "probability" in texts(draw(world, "confidence", (480, 270)))


def test_paper_keeps_its_own_ramp_for_confidence():
    world = filled(3)
    drawing = views.draw(world.moment(), Look("confidence", *WIDE), theme("paper"))
    assert drawing.plan.lut[0] & 0xFF > 128


def test_models_stand_side_by_side_each_in_its_box():
    world = filled(20, ("m", "n"))
    world.token(" x", token_id=5, model="n", session="n", choice=0)
    drawing = draw(world, "models", labels=True)
    names = [label for label in drawing.labels if label.text in ("m", "n")]
    assert [label.text for label in names] == ["n", "m"]  # the last to have written first
    assert names[0].x < 320 < names[1].x
    assert any("tokens/s · mean probability 0." in text for text in texts(drawing))
    districts = {each.model: each.index for each in world.places.districts}
    assert len(districts) == 2
    across = drawing.plan.dust.x
    assert ((across < 320).sum(), (across > 320).sum()) == (21, 20)


def test_models_without_anything_new_say_so():
    world = filled(2, ("m",))
    world.token(" n", model="n", session="n", choice=0)
    world.scene.thoughts.newest.clear()
    assert texts(draw(world, "models")).count("nothing new") == 2


def test_a_model_that_is_forgotten_has_no_box():
    world = filled(2, ("m", "n"))
    keys, weights = world.scene.memory.cells(world.now)
    mine = keys >> np.uint64(20) == 1
    world.scene.memory.restore(keys[mine], weights[mine], world.now)
    drawing = draw(world, "models")
    assert {"m", "n"} & set(texts(drawing)) == {"m"}


def test_a_model_whose_tokens_all_came_at_once_has_no_pace():
    world = World()
    world.token(" n")
    assert "1 tokens" in texts(draw(world, "models"))


def test_at_most_so_many_models_are_shown():
    world = filled(1, [f"m{number}" for number in range(12)])
    assert len(draw(world, "models").labels) == 2 * models_view.MAX_MODELS


def runs(lit):
    """The slices in which something is lit."""
    edges = np.flatnonzero(np.diff(lit.astype(int), prepend=0, append=0))
    return [slice(*ends) for ends in edges.reshape(-1, 2).tolist()]


def test_attention_shows_every_head_and_the_words_that_looked():
    world = filled(40)
    drawing = draw(world, "attention", (1280, 720))
    assert "what each of the newest 40 tokens looked at · 3 layers, 2 heads · measured" in texts(
        drawing
    )
    assert {"w0", "w39"} <= set(texts(drawing))
    _, together, _, alone = (overlay.pixels for overlay in drawing.plan.overlays)
    # 3 × 2 small pictures with room between them, each of another pattern.
    spans = [runs(alone[..., 3].any(axis=axis)) for axis in (0, 1)]
    small = [alone[rows, columns] for columns, rows in product(*spans)]
    assert len(small) == 6
    assert len({picture.tobytes() for picture in small}) == 6
    # Nobody looks at what comes later: the upper right corner is empty.
    assert together[5, -5, 3] == 0
    assert together[-5, 5, 3] == 255


def test_attention_keeps_the_first_and_the_newest_of_a_long_context():
    world = World()
    for number in range(120):
        world.state(position=number, attention_weights=attention(5000 + number, keep=200, first=4))
    drawing = draw(world, "attention", (1280, 720))
    assert "what each of the newest 96 tokens" in texts(drawing)[1]
    rows = list(world.scene.insides.all()[0].rows)[-96:]
    columns = inside_views.columns_of(rows)
    assert len(columns) == inside_views.MAX_COLUMNS
    assert columns[:4].tolist() == [0, 1, 2, 3]
    assert columns[-1] == 5118


def test_a_token_that_looked_at_nothing_that_is_shown_has_an_empty_row():
    world = World()
    world.state(position=9, attention_weights=attention(10))
    world.state(position=999, attention_weights=attention(1000, keep=400))
    pixels = draw(world, "attention", (1280, 720)).plan.overlays[1].pixels
    half = len(pixels) // 2
    assert not pixels[:half, :, 3].any()
    assert pixels[half:, :, 3].any()


def test_attention_of_another_shape_than_the_newest_is_left_out():
    world = World()
    world.state(attention_weights=attention(4))
    small = attention(5)
    small.layers, small.heads = small.heads, small.layers
    world.state(attention_weights=small)
    assert "what each of the newest 1 token looked at" in texts(draw(world, "attention"))[1]


def test_a_plain_matrix_is_shown_as_it_is():
    world = World()
    world.state(attention_weights=[[1.0, 0.0], [0.25, 0.75]])
    drawing = draw(world, "attention")
    assert "2 × 2 of s · measured" in texts(drawing)
    pixels = drawing.plan.overlays[1].pixels
    assert pixels[3, 3, :3].astype(int).sum() > pixels[-3, 3, :3].astype(int).sum()


def test_attention_of_nothing_at_all_is_dark():
    world = World()
    world.state(attention_weights=[[0.0, 0.0]], position=None)
    world.state(attention_weights=[])
    assert draw(world, "attention").plan.overlays[1].pixels[..., 3].max() == 0


@pytest.mark.parametrize("name", ["activation", "memory"])
def test_an_empty_map_shows_its_curve_and_says_what_to_do(name):
    world = World()
    (said,) = texts(draw(world, name))
    assert said.startswith("no token has come yet")
    assert rendered(draw(world, name)).max(axis=(0, 1))[2] > 50  # the curve can be seen
    world.token()
    assert texts(draw(world, name)) == []


def test_a_picture_of_few_tokens_is_small_and_grows_with_them():
    world = World()
    wide = 28 * View(0, 0, 1, *WIDE).unit
    for tokens in (1, 2, 5):
        world.state(attention_weights=attention(tokens), position=tokens)
        matrix = draw(world, "attention").plan.overlays[1].pixels
    assert matrix.shape[:2] == (round(3 * wide), round(5 * wide))
    world = World()
    world.state(attention_weights=[[0.9]])
    (_, alone) = draw(world, "attention").plan.overlays
    assert alone.pixels.shape[:2] == (round(wide), round(wide))


def test_of_many_layers_each_row_has_one_number():
    world = World()
    for position in range(1, 4):
        packed = np.full((200, 1, position), 90, np.uint8)
        world.state(
            attention_weights=PackedAttention(
                200, 1, position, 0, position, b64encode(packed.tobytes()).decode()
            ),
            position=position,
        )
    labels = [each for each in draw(world, "attention").labels if each.text.isdigit()]
    rows = {label.y for label in labels}
    assert len(labels) == len(rows) < 40
    assert len({label.x for label in labels}) == 1


def test_large_values_stay_within_their_card():
    world = World()
    world.state(layer_activations=[1e9, 2.0])
    assert {"1e+09", "5e+08"} <= set(texts(draw(world, "layers")))


def test_a_full_district_is_an_even_surface_and_not_white():
    world = World()
    world.token()
    keys = np.arange(1 << 16, dtype=np.uint64) + np.uint64(1 << 20)
    world.scene.memory.restore(keys, np.ones(len(keys)), world.now)
    world.now += 1000.0
    for name in ("memory", "activation"):
        levels = rendered(draw(world, name))[140:220, 280:360, :3].astype(float).mean(axis=2)
        assert 20 < levels.mean() < 190, name
        assert levels.std() < 0.12 * levels.mean(), name


@pytest.mark.parametrize(("name", "what"), [("attention", "attention"),
                                            ("layers", "layer activations")])  # fmt: skip
def test_what_no_source_has_sent_is_absent(name, what):
    world = World()
    world.token()
    drawing = draw(world, name)
    assert {"absent", f"no source has sent {what}"} <= set(texts(drawing))
    assert len(drawing.plan.overlays) == 1


def test_layers_are_bars_with_their_scale_and_their_past():
    world = filled(10)
    drawing = draw(world, "layers", (800, 600))
    assert "12 activations of s · measured" in texts(drawing)
    assert {"0", "20", "11"} <= set(texts(drawing))  # 20 is the greatest: 9 + 11
    bars = drawing.plan.overlays[1].pixels
    solid = (bars[..., 3] > 250).sum(axis=0)
    assert solid[-10] > solid[10] > 0
    upright = draw(world, "layers", TALL)
    assert len(upright.plan.overlays) == len(drawing.plan.overlays)


def test_layers_of_any_number_and_size():
    for values in ([], [0.0], [-3.0, 3.0], [1e30] * 700):
        world = World()
        world.state(layer_activations=values)
        world.state(layer_activations=values)
        drawing = draw(world, "layers")
        number = f"{len(values)} activation" + "s" * (len(values) != 1)
        assert f"{number} of s · measured" in texts(drawing)
        assert laid(drawing).max() > 0


def test_a_source_that_does_not_say_how_it_knows_is_quoted_so():
    world = World()
    world.state(layer_activations=[1.0])
    world.scene.insides.all()[0].provenance.clear()
    assert any(
        "its source does not say how it knows" in text for text in texts(draw(world, "layers"))
    )


def test_boxes():
    box = Box(10, 20, 100, 50)
    assert (box.right, box.bottom) == (110, 70)
    assert box.inset(5) == Box(15, 25, 90, 40)
    assert box.holds(10, 70)
    assert not box.holds(9, 30)
