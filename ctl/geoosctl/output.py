"""What geoosctl prints: tables, times, sizes, JSON; and nothing that could steer a terminal.

Text that is not our own (a model's answer, a log record, a name) goes through :func:`visible`
before it reaches a terminal: escape sequences in it would otherwise act on the reader's screen.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from geoosctl import cells

SCHEMA_VERSION = 1
"""``version`` of every JSON object; grows when a field changes its meaning or goes."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LINE_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

COLORS: dict[str, str] = {
    "active": "green",
    "healthy": "green",
    "ready": "green",
    "starting": "yellow",
    "reloading": "yellow",
    "draining": "yellow",
    "loading": "yellow",
    "warning": "yellow",
    "unreachable": "red",
    "critical": "red",
    "failed": "red",
    "down": "red",
    "error": "red",
    "unknown": "magenta",
    "debug": "bright_black",
}
"""Colour of a state, a verdict or a level."""


def visible(text: str, *, lines: bool = False) -> str:
    """*text* without control characters: each becomes U+FFFD.

    With *lines*, newline and tab stay and carriage returns go; otherwise the result is one line.
    C0, C1, DEL and the bidirectional overrides are control characters here.
    """
    if lines:
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r", ""))
    return _LINE_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_json(members: Mapping[str, Any]) -> None:
    """One versioned JSON object on one line; on a terminal in ASCII, which cannot act on it."""
    ascii_only = sys.stdout.isatty()
    click.echo(json.dumps({"version": SCHEMA_VERSION, **members}, ensure_ascii=ascii_only))


def colored(word: str, *, bold: bool = False) -> str:
    """*word* in the colour of its meaning; click strips it where there is no terminal."""
    return click.style(word, fg=COLORS.get(word), bold=bold)


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a line; colour survives only on a terminal without ``NO_COLOR``."""
    stream = sys.stderr if err else sys.stdout
    click.echo(text, err=err, color=wants_color(stream.isatty()))


def wants_color(terminal: bool) -> bool:
    """Whether to colour (https://no-color.org)."""
    import os

    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def ago(seconds: float) -> str:
    """A duration in one unit: ``7 s``, ``4 min``, ``3 h``, ``12 d``."""
    seconds = max(0.0, seconds)
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}" if size == 1 else f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86400)} d"


def mebibytes(size: int) -> str:
    """A size in MiB."""
    return f"{size / (1 << 20):.1f} MiB"


def size(count: int) -> str:
    """A size in the unit that suits it: ``831 B``, ``4.0 KiB``, ``1.2 GiB``."""
    if count < 1024:
        return f"{count} B"
    for unit in ("KiB", "MiB"):
        count_in = count / (1 << 10 if unit == "KiB" else 1 << 20)
        if count_in < 1024:
            return f"{count_in:.1f} {unit}"
    return f"{count / (1 << 30):.1f} GiB"


def number(value: float) -> str:
    """A rate with three digits that count: ``0``, ``4.2``, ``153``, ``12.3 k``."""
    if not math.isfinite(value):
        return "–"
    if value >= 10_000:
        return f"{value / 1000:.1f} k"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def count(number: int, word: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def clock(timestamp: float) -> str:
    """Local time of day with milliseconds."""
    moment = datetime.fromtimestamp(timestamp)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    align: str = "",
    indent: str = "",
) -> list[str]:
    """Rows in columns as wide as their widest cell, two spaces apart; column heads are bold.

    *align* is one of ``<`` and ``>`` a column, ``<`` where it is too short. Cells may be coloured.
    """
    widths = _widths(head, rows)
    sides = align.ljust(len(head), "<")
    lines = [_row([click.style(cell, bold=True) for cell in head], widths, sides)]
    lines += [_row(row, widths, sides) for row in rows]
    return [indent + line for line in lines]


def table_within(
    head: Sequence[str], rows: Sequence[Sequence[str]], cut: Sequence[str], *, align: str = ""
) -> list[str]:
    """A table in the terminal's width, if that can be: cells of the columns *cut* are shortened
    where they must be, the widest first, so they have no colour."""
    widths = _widths(head, rows)
    columns = [head.index(each) for each in cut]
    over = sum(widths) + 2 * (len(widths) - 1) - terminal_width()
    while over > 0 and (wide := [each for each in columns if widths[each] > len(head[each])]):
        widths[max(wide, key=widths.__getitem__)] -= 1
        over -= 1
    rows = [
        [cells.shorten(row[at], widths[at]) if at in columns else row[at] for at in range(len(row))]
        for row in rows
    ]
    return table(head, rows, align=align)


def _widths(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(cells.width(row[index]) for row in [head, *rows]) for index in range(len(head))]


def terminal_width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def _row(row: Sequence[str], widths: Sequence[int], sides: str) -> str:
    padded = [
        cells.pad(cell, width, right=side == ">")
        for cell, width, side in zip(row, widths, sides, strict=True)
    ]
    return "  ".join(padded).rstrip()


def line_width(taken: int) -> int:
    """Columns for a line of text where *taken* of the terminal's are not to be had: at least 24,
    and at most 120 with them."""
    return max(24, min(120, terminal_width()) - taken)


def wrapped(text: str, indent: int, *, dim: bool = False) -> Iterator[str]:
    """*text*, cleaned, in lines of the terminal's width, *indent* columns to the right."""
    for line in cells.wrap(visible(text), line_width(indent)):
        yield " " * indent + (click.style(line, dim=True) if dim else line)


def hanging(label: str, text: str) -> Iterator[str]:
    """*label*, which may be coloured, and *text*, whose further lines stand under its first."""
    margin = cells.width(label)
    first, *rest = cells.wrap(visible(text), line_width(margin)) or [""]
    yield label + first
    for line in rest:
        yield " " * margin + line
