"""geoosctl.columns: several answers on one screen, whatever its size."""

import io

import pytest
from rich.console import Console

from geoosctl.answers import Answer, progress_text
from geoosctl.columns import Columns
from geoosd.wire.messages import (
    SessionEnded,
    SessionProgress,
    TokenVisualizationUpdate,
    Usage,
)

WORDS = [f"word{number} " for number in range(400)]


def screen(width, height):
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    return Columns(console), console


def answer(label, words=(), upstream=None, role="answer", **ended):
    made = Answer(label, upstream)
    for word in words:
        made.add(TokenVisualizationUpdate(word, 0, role=role))
    if ended:
        made.ended = SessionEnded("s", **ended)
    return made


def drawn(columns, console, *answers):
    for each in answers:
        columns.token(each, "answer", "")
    columns._live.stop()  # else a print shows its picture too, once a twelfth of a second is over
    with console.capture() as captured:
        console.print(columns.picture())
    return captured.get().splitlines()


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(80, 24, 2), (80, 24, 3), (80, 24, 5), (40, 20, 2), (20, 10, 3), (200, 50, 7)],
)
def test_while_they_grow_they_fit_the_screen_and_show_the_newest(width, height, count):
    answers = [answer(f"model{number}", WORDS) for number in range(count)]
    lines = drawn(*screen(width, height), *answers)
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    text = "".join(lines)
    assert text.count("word399") == count
    assert "word0 " not in text
    for number in range(count):
        assert f"model{number}" in text


def test_eighty_columns_hold_two():
    lines = drawn(*screen(80, 24), answer("left", ["one"]), answer("right", ["two"]))
    assert any("left" in line and "right" in line for line in lines)
    lines = drawn(*screen(50, 24), answer("left", ["one"]), answer("right", ["two"]))
    assert not any("left" in line and "right" in line for line in lines)


def test_they_grow_together_and_take_no_more_room_than_the_longest():
    lines = drawn(*screen(80, 24), *(answer(name, ["x"]) for name in "abc"))
    assert len(lines) == 2 * 3
    lines = drawn(*screen(80, 24), answer("a", ["x\n", "y"]), answer("b"), answer("c"))
    assert len(lines) == 2 * 4


def test_what_there_is_to_know():
    waiting, failed = answer("waits"), answer("failed", ["half"], error="it reset\x1b[2J")
    waiting.progress = progress_text(SessionProgress("s", "queued", position=3))
    done = answer(
        "done",
        ["all"],
        usage=Usage(1, 9, 10),
        tokens_per_second=25.0,
        time_to_first_token=0.5,
    )
    silent = answer("silent", error=None)
    silent.ended = SessionEnded("s")
    text = "\n".join(drawn(*screen(160, 30), waiting, failed, done, silent))
    assert "queued, 3 before it" in text
    assert "it reset�[2J" in text
    assert "9 tokens · 25 tok/s" in text
    assert "no text" in text


def test_the_same_model_of_two_upstreams():
    lines = drawn(*screen(80, 24), answer("m", ["x"], "one"), answer("m", ["y"], "two"))
    assert "one/m" in "".join(lines)
    assert "two/m" in "".join(lines)


def test_in_the_end_the_whole_stands_there():
    columns, console = screen(80, 24)
    columns.token(answer("m", WORDS), "answer", "")
    columns.close()
    text = console.file.getvalue()
    assert all(word.strip() in text for word in WORDS)


def test_nothing_came():
    columns, console = screen(80, 24)
    columns.close()
    assert "─" not in console.file.getvalue()
