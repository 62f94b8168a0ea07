"""geoosctl.cells: columns of a terminal. rich counts them too, and is the independent oracle."""

from __future__ import annotations

import textwrap

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from geoosctl import cells
from geoosctl.output import colored

_SCRIPTS = "aé żł 思考の幾何学，한국어Ж你🦄🌍–…·→\u0301\u200b"
texts = st.text(st.sampled_from(_SCRIPTS), max_size=60)


@given(texts)
def test_width_is_what_rich_counts(text):
    assert cells.width(text) == cell_len(text)


def test_colours_take_no_room(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert cells.width(colored("active")) == 6
    assert cells.pad(colored("active"), 8).endswith("  ")
    assert cells.pad("思", 4, right=True) == "  思"


@given(texts, st.integers(0, 20))
def test_a_head_is_as_much_as_fits(text, columns):
    start = cells.head(text, columns)
    assert text.startswith(start)
    assert cells.width(start) <= columns
    rest = text[len(start) :]
    assert not rest or cells.width(start) + cells.width(rest[0]) > columns


def test_a_mark_stays_on_its_character():
    assert cells.head("e\u0301e\u0301", 1) == "e\u0301"


@given(texts, st.integers(1, 20))
def test_what_is_shortened_says_so(text, columns):
    short = cells.shorten(text, columns)
    assert cells.width(short) <= columns
    assert short == text or short.endswith("…")


@given(texts, st.integers(2, 20))
def test_wrapping_loses_nothing_but_spaces(text, columns):
    lines = cells.wrap(text, columns)
    assert all(cells.width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text("abc ", max_size=80), st.integers(2, 20))
def test_plain_words_are_wrapped_as_the_standard_library_does(text, columns):
    text = " ".join(text.split())
    usual = [line.rstrip() for line in textwrap.wrap(text, columns)]  # it keeps one at times
    assert cells.wrap(text, columns) == usual
