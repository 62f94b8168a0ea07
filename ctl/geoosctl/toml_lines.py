"""On which line of a TOML file a key stands; ``tomllib`` does not tell. Pure.

It reads tables, arrays of tables and (dotted) keys at the begin of a line (TOML 1.0, "Keys",
"Table"), which is how a configuration is written. Of a key inside an inline table or a list it
gives the line on which that begins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

_PART: Final = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_NAME: Final = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE: Final = re.compile(rf"\s*(\[\[?)\s*({_NAME})\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(rf"\s*({_NAME})\s*=")
_QUOTES: Final = ('"""', "'''")
_TOLD: Final = re.compile(r": (?:unknown key )?([a-z_]+(?:\[[\d.]+\])?(?:\.\w+(?:\[[\d.]+\])?)*)")


def key_of(message: str) -> str | None:
    """The key that a :class:`geoosd.errors.ConfigError` is about, such as ``bridge.listen``."""
    found = _TOLD.search(message)
    return found[1] if found else None


def line_of(text: str, key: str) -> int | None:
    """The line, from 1 on, of *key* (``bridge.upstream[1].url``), else of what it is in."""
    places = dict(reversed(list(_keys(text))))
    parts = re.sub(r"\[\.\.\.\]", "[0]", key).split(".")
    while parts:
        for name in (".".join(parts), re.sub(r"\[\d+\]$", "", ".".join(parts))):
            if name in places:
                return places[name]
        parts.pop()
    return None


def _keys(text: str) -> Iterator[tuple[str, int]]:
    """Every key and table with its line; the tables of an array are numbered."""
    prefix, counts = "", Counter[str]()
    quote: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if quote is not None:
            quote = None if quote in line else quote
            continue
        if table := _TABLE.match(line):
            name = _plain(table[2])
            prefix = name
            if table[1] == "[[":
                prefix = f"{name}[{counts[name]}]"
                counts[name] += 1
            yield prefix, number
        elif key := _KEY.match(line):
            name = _plain(key[1])
            yield f"{prefix}.{name}" if prefix else name, number
            opened = [each for each in _QUOTES if line.count(each) % 2]
            quote = opened[0] if opened else None


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
