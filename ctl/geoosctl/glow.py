"""The map and the thought stream as lines of a terminal. Pure.

A character shows two pixels, one above the other, by a half block in two colours. A token lights
its place and fades within seconds, down to a trace that stays; the view fits itself to the places
in use. Places are those of docs/interfaces.md: x to the right, y down, a district is 1 wide.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from geoosctl.cells import columns_of

_REMEMBERED: Final = 2048
_FADE_SECONDS: Final = 4.0
_TRACE: Final = 0.12
_MARGIN: Final = 0.06
_LEAST_SIDE: Final = 1 / 64
_OUTER_ORDER: Final = 8  # even, as the outer curve of districts always is
_TEXT: Final = 8192
_HYPHEN_COLUMNS: Final = 12
_RAMP: Final = ((24, 40, 64), (40, 110, 150), (120, 220, 200), (255, 250, 220))
_UPPER, _LOWER = "\N{UPPER HALF BLOCK}", "\N{LOWER HALF BLOCK}"

Color = tuple[int, int, int]


class _Spot(NamedTuple):
    x: float
    y: float
    weight: float
    at: float


class Glow:
    """The map; ``ramp`` is from quiet to bright; *true_color*: the terminal has 24 bits."""

    def __init__(self, *, true_color: bool) -> None:
        self.ramp: Sequence[Color] = _RAMP
        self._true_color = true_color
        self._spots: deque[_Spot] = deque(maxlen=_REMEMBERED)

    def use_theme(self, theme: Mapping[str, Any]) -> None:
        """Take the colours of *theme* (Hello, ThemeChanged)."""
        self.ramp = [_color(each) for each in theme["ramp"]]

    def clear(self) -> None:
        """Forget all tokens."""
        self._spots.clear()

    def take(self, token: Mapping[str, Any], now: float) -> None:
        """Light a token's place (payload of a TokenVisualizationUpdate), if it has one."""
        place = token.get("hilbert_position")
        if place is not None:
            column, row = _outer_place(token.get("district") or 0)
            weight = token.get("activation")
            spot = _Spot(column + place[0], row + place[1], 1.0 if weight is None else weight, now)
            self._spots.append(spot)

    def lines(self, width: int, rows: int, now: float) -> list[str]:
        """*rows* lines of *width* columns, with their colours."""
        pixels = self._pixels(width, 2 * rows, now)
        return [self._line(pixels[2 * row], pixels[2 * row + 1]) for row in range(rows)]

    def _pixels(self, width: int, height: int, now: float) -> list[list[float]]:
        pixels = [[0.0] * width for _ in range(height)]
        if not self._spots:
            return pixels
        left, right = _span([spot.x for spot in self._spots])
        top, bottom = _span([spot.y for spot in self._spots])
        scale = min(width / (right - left), height / (bottom - top))
        for spot in self._spots:
            column = int(width / 2 + (spot.x - (left + right) / 2) * scale)
            row = int(height / 2 + (spot.y - (top + bottom) / 2) * scale)
            light = spot.weight * math.exp((spot.at - now) / _FADE_SECONDS)
            pixels[row][column] = max(_TRACE, min(1.0, pixels[row][column] + light))
        return pixels

    def _line(self, upper: Sequence[float], lower: Sequence[float]) -> str:
        parts: list[str] = []
        style = ""
        for above, below in zip(upper, lower, strict=True):
            if above and below:
                wanted, mark = f"{self._code(38, above)};{self._code(48, below)}", _UPPER
            elif above or below:
                mark = _UPPER if above else _LOWER
                wanted = f"{self._code(38, above or below)};49"
            else:
                wanted, mark = "0", " "
            if wanted != style:
                parts.append(f"\x1b[{wanted}m")
                style = wanted
            parts.append(mark)
        return "".join(parts) + "\x1b[0m"

    def _code(self, plane: int, light: float) -> str:
        """The colour of *light*, for the foreground (38) or the background (48)."""
        at = light * (len(self.ramp) - 1)
        low = min(int(at), len(self.ramp) - 2)
        first, second = self.ramp[low], self.ramp[low + 1]
        mixed = [round(a + (b - a) * (at - low)) for a, b in zip(first, second, strict=True)]
        if self._true_color:
            return f"{plane};2;{mixed[0]};{mixed[1]};{mixed[2]}"
        red, green, blue = (round(part / 255 * 5) for part in mixed)
        return f"{plane};5;{16 + 36 * red + 6 * green + blue}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """What is shown of one axis, so that every value lies well inside."""
    low, high = min(values), max(values)
    margin = max(_LEAST_SIDE - (high - low), _MARGIN * (high - low)) / 2
    return low - margin, high + margin


def _outer_place(district: int) -> tuple[int, int]:
    """Column and row of a district on the outer Hilbert curve."""
    x = y = 0
    for level in range(_OUTER_ORDER):
        right = (district >> 1) & 1
        down = (district ^ right) & 1
        if not down:
            if right:
                x, y = (1 << level) - 1 - x, (1 << level) - 1 - y
            x, y = y, x
        x += right << level
        y += down << level
        district >>= 2
    return x, y


def _color(text: str) -> Color:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


class Text:
    """The end of the thought stream; what comes in must be clean (``output.visible``)."""

    def __init__(self) -> None:
        self._text = ""

    def begin(self, head: str) -> None:
        """Begin a part with *head*, a line of its own."""
        self.add(f"\n\n{head}\n" if self._text else f"{head}\n")

    def add(self, text: str) -> None:
        """Go on with *text*."""
        self._text = (self._text + text)[-_TEXT:]

    def lines(self, width: int, rows: int) -> list[str]:
        """The last *rows* lines of at most *width* columns."""
        wrapped = [line for part in self._text.split("\n") for line in _wrapped(part, width)]
        return wrapped[-rows:]


def _wrapped(text: str, width: int) -> Iterator[str]:
    """*text* in lines of at most *width* columns, broken at a space where one is near."""
    text = text.expandtabs(4)
    start = used = at = 0
    while at < len(text):
        columns = columns_of(text[at])
        if used + columns > width:
            space = text.rfind(" ", start, at)
            end = space + 1 if space >= 0 and at - space <= _HYPHEN_COLUMNS else at
            yield text[start:end]
            start = end
            used = sum(map(columns_of, text[start:at]))
        used += columns
        at += 1
    yield text[start:]
