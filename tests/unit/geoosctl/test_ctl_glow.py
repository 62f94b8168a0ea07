"""The terminal's map and text: what is lit, what fades, what fits."""

import re

from geoosctl.cells import columns_of
from geoosctl.glow import Glow, Text
from geoosctl.screen import Screen

STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def token(x, y, **more):
    return {"hilbert_position": [x, y], "current_token": "t", **more}


def plain(lines):
    return [STYLE.sub("", line) for line in lines]


def shown(glow, width=8, rows=4, now=0.0):
    return plain(glow.lines(width, rows, now))


def test_nothing_is_dark():
    assert shown(Glow(true_color=True)) == [" " * 8] * 4


def test_one_token_lights_one_pixel_in_the_middle():
    glow = Glow(true_color=True)
    glow.take(token(0.3, 0.7), 0.0)
    lines = shown(glow)
    assert all(len(line) == 8 for line in lines)
    assert "".join(lines).replace(" ", "") in ("▀", "▄")
    assert lines[2][4] == "▀"


def test_the_view_fits_itself_to_all_districts():
    glow = Glow(true_color=True)
    # The outer curve's first four: (0, 0), (0, 1), (1, 1), (1, 0), or mirrored for even orders.
    for district in range(4):
        glow.take(token(0.5, 0.5, district=district), 0.0)
    lines = shown(glow)
    cells = [(column, row) for row in range(4) for column in range(8)]
    lit = [(column, row) for column, row in cells if lines[row][column] != " "]
    assert len(lit) == 4
    assert {column for column, _ in lit} == {min(lit)[0], max(lit)[0]}
    assert max(lit)[0] - min(lit)[0] >= 5


def test_two_pixels_of_one_character_have_two_colours():
    glow = Glow(true_color=True)
    for place, weight in ((0.0, 0.0), (0.4, 1.0), (0.6, 0.5), (1.0, 0.0)):
        glow.take(token(0.5, place, activation=weight), 0.0)
    assert re.search(r"38;2;[0-9;]+;48;2;[0-9;]+m▀", "".join(glow.lines(8, 2, 0.0)))


def test_light_fades_to_a_trace_that_stays():
    glow = Glow(true_color=True)
    glow.take(token(0.5, 0.5), 0.0)
    bright, dim, trace, later = ("".join(glow.lines(8, 4, now)) for now in (0, 4, 60, 600))
    assert "38;2;255;250;220" in bright
    assert len({bright, dim, trace}) == 3
    assert trace == later
    glow.clear()
    assert shown(glow) == [" " * 8] * 4


def test_256_colours_where_there_are_no_more_and_the_themes_own():
    glow = Glow(true_color=False)
    glow.use_theme({"ramp": ["#000000", "#ff0000"]})
    glow.take(token(0.5, 0.5), 0.0)
    assert "38;5;196;49m" in "".join(glow.lines(8, 4, 0.0))
    glow.take({"hilbert_position": None}, 0.0)
    glow.take(token(0.5, 0.5, activation=0.0), 0.0)


def test_text_is_wrapped_at_spaces_and_by_columns():
    text = Text()
    text.add("one two three\nfour")
    assert text.lines(8, 9) == ["one two ", "three", "four"]
    assert text.lines(8, 2) == ["three", "four"]
    wide = Text()
    wide.add("思考の幾何学e\N{COMBINING ACUTE ACCENT}")
    assert [sum(map(columns_of, line)) for line in wide.lines(6, 9)] == [6, 6, 1]
    tabs = Text()
    tabs.add("a\tb" + "c" * 30)
    assert all(len(line) <= 10 for line in tabs.lines(10, 9))


def test_a_frame_is_as_large_as_the_terminal():
    screen = Screen(true_color=True)
    screen.take({"message_type": "Hello", "payload": {"theme": None}}, 0.0)
    snapshot = {"tokens": [token(0.1, 0.2, session="s1", model="gemma")]}
    screen.take({"message_type": "Snapshot", "payload": snapshot}, 0.0)
    for number in range(400):
        payload = token(number / 400, 0.5, session="s1", model="gemma", current_token=f" {number}")
        screen.take({"message_type": "TokenVisualizationUpdate", "payload": payload}, 0.0)
    evil = token(0.5, 0.5, session="s2", current_token="\x1b[31mred\n")
    screen.take({"message_type": "TokenVisualizationUpdate", "payload": evil}, 0.0)
    screen.take({"message_type": "Gap", "payload": {"dropped": 3}}, 0.0)
    theme = {"theme": {"ramp": ["#000000", "#ffffff"]}}
    screen.take({"message_type": "ThemeChanged", "payload": theme}, 0.0)
    screen.take({"message_type": "SessionEnded", "payload": {}}, 0.0)
    frame = screen.frame(80, 24, 0.0)
    assert "\x1b[31m" not in frame
    lines = plain(frame.split("\r\n"))
    assert len(lines) == 24
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1] == "401 tokens, 3 missed; Ctrl-C ends"
    assert any("399" in line[42:] for line in lines)
    assert any("── a model ──" in line for line in lines)
    assert any(set("▀▄") & set(line[:40]) for line in lines)
    screen.said = "the server has gone; connecting again in 0.3 s"
    assert plain(screen.frame(60, 12, 0.0).split("\r\n"))[-1] == screen.said
