"""Columns of a terminal that text takes, which are not its characters: a CJK character and most
emoji take two (Unicode Standard Annex 11), a combining mark none. Text that comes in is clean
(:func:`.output.visible`) but for click's colours.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import click

_NO_WIDTH: Final = ("Mn", "Me", "Cf")
"""General categories of marks that sit on the character before them, and of joiners."""

_CHUNK: Final = re.compile(r"\s+|\S+")


def columns_of(character: str) -> int:
    """Columns that a character takes: 2 for wide ones, 0 for combining ones."""
    if character.isascii():
        return 1
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width(text: str) -> int:
    """Columns that *text* takes on one line; its colours take none."""
    plain = click.unstyle(text)
    return len(plain) if plain.isascii() else sum(map(columns_of, plain))


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """*text* with spaces up to *columns*; before it where it stands *right*."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def head(text: str, columns: int) -> str:
    """As much of the plain *text* as fits into *columns*, with the marks on its last character."""
    used = 0
    for at, character in enumerate(text):
        used += columns_of(character)
        if used > columns:
            return text[:at]
    return text


def shorten(text: str, columns: int) -> str:
    """The plain *text* in at most *columns*; an ellipsis stands for what is cut off."""
    return text if width(text) <= columns else head(text, max(0, columns - 1)) + "…"


def wrap(text: str, columns: int) -> list[str]:
    """The plain *text* in lines of at most *columns*, at least 2, broken at spaces; inside a word
    only where it is longer than a line, as a sentence in Chinese is."""
    lines: list[str] = []
    line = ""
    for chunk in _CHUNK.findall(text):
        if chunk.isspace() or width(line + chunk) <= columns:
            line += chunk
            continue
        if width(chunk) <= columns:
            lines.append(line.rstrip())
            line = chunk
            continue
        line += chunk
        while width(line) > columns:
            start = head(line, columns)
            lines.append(start.rstrip())
            line = line[len(start) :].lstrip()
    return [*lines, *([line.rstrip()] if line.strip() else [])]
