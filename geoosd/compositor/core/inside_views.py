"""The views of a network's inside: attention and layer activations, as sources have sent them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import palette
from geoosd.compositor.core.insides import AttentionRow, Bytes, Floats, Inside
from geoosd.compositor.core.look import Box, Drawing, Label, Look
from geoosd.compositor.core.moment import Moment
from geoosd.compositor.core.panels import Pixels, Values, bars, card, heat, strongest
from geoosd.compositor.core.places import SIDE
from geoosd.compositor.core.plan import FramePlan, Overlay, no_splats
from geoosd.compositor.core.view import View
from geoosd.compositor.core.wording import shown
from geoosd.wire.messages import Theme

MAX_COLUMNS: Final = 192
"""Positions of the context that are shown: the first ones and the newest."""
MAX_SHOWN_ROWS: Final = 96
_MOST_CELL: Final = 28.0
"""Pixels that a cell of a matrix has at most, in a picture of 1024."""

Mask: TypeAlias = npt.NDArray[np.bool_]


class _Page:
    """A picture without a map: overlays and labels in the theme's colours."""

    def __init__(self, look: Look, theme: Theme, title: str, detail: str) -> None:
        self.view = View(SIDE / 2, SIDE / 2, look.width / SIDE, look.width, look.height)
        self.unit = self.view.unit
        self.theme = theme
        self.overlays: list[Overlay] = []
        self.labels: list[Label] = []
        margin = 26 * self.unit
        self.say(margin, margin, title, 22, theme.text, "lt")
        self.say(margin, margin + 32 * self.unit, detail, 14.5, theme.muted, "lt")
        self.room = Box(0, 0, look.width, look.height).inset(margin).below(0, 62 * self.unit)

    def say(
        self, x: float, y: float, text: str, size: float, color: str, anchor: str = "lm",
        opacity: float = 1.0,
    ) -> None:  # fmt: skip
        label = Label(x, y, text, size * self.unit, palette.rgb(color), anchor, opacity)  # type: ignore[arg-type]
        self.labels.append(label)

    def card(self, box: Box) -> Box:
        """A card; what it has room for."""
        self.overlays.append(card(box, self.theme, self.unit))
        return box.inset(14 * self.unit)

    def absent(self, what: str) -> Drawing:
        """Nobody has sent it: say so, and nothing else."""
        inner = self.card(self.room)
        middle = inner.left + inner.width / 2, inner.top + inner.height / 2
        self.say(*middle, "absent", 30, self.theme.muted, "mm")
        self.say(
            middle[0], middle[1] + 36 * self.unit, f"no source has sent {what}", 15,
            self.theme.muted, "mm",
        )  # fmt: skip
        self.say(
            middle[0], middle[1] + 60 * self.unit,
            "model servers do not tell it; etc/examples has programs that do", 15,
            self.theme.muted, "mm",
        )  # fmt: skip
        return self.drawing()

    def drawing(self) -> Drawing:
        plan = FramePlan(
            self.view, palette.lut(self.theme), no_splats(), no_splats(), overlays=self.overlays
        )
        return Drawing(plan, self.labels)


def attention(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """Who looks at whom: each token's attention to those before it, all heads together, and each
    head's alone."""
    inside = next((each for each in taken.insides if each.rows or each.matrix is not None), None)
    if inside is None:
        return _Page(look, theme, "Attention", "what each token looked at").absent("attention")
    if not inside.rows:
        return _plain_matrix(inside, look, theme)
    shape = inside.rows[-1].packed.shape[:2]
    rows = [row for row in inside.rows if row.packed.shape[:2] == shape][-MAX_SHOWN_ROWS:]
    layers, heads = shape
    page = _Page(
        look,
        theme,
        "Attention",
        f"what each of the newest {_many(len(rows), 'token')} looked at · "
        f"{_many(layers, 'layer')}, {_many(heads, 'head')} "
        f"· {_provenance(inside, 'attention_weights')}",
    )
    columns = columns_of(rows)
    values, known = _aligned(rows, columns)
    ramp = palette.ramp(theme)
    first, second = _halves(page.room, 16 * page.unit)
    # Square roots, as they came: a weight of a hundredth is a tenth as bright as one of 1.
    mean = values.mean(axis=(1, 2), dtype=np.float32) / np.float32(255)
    together = np.where(known, mean, np.float32(np.nan))
    _matrix(page, first, together, ramp, taken, inside, rows, columns)
    _atlas(page, second, values, known, ramp)
    return page.drawing()


def layers(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """How strongly every layer answers, now and in the last updates."""
    inside = next((each for each in taken.insides if each.layers is not None), None)
    if inside is None or inside.layers is None:
        page = _Page(look, theme, "Layers", "how strongly each layer answers")
        return page.absent("layer activations")
    count = len(inside.layers)
    page = _Page(
        look,
        theme,
        "Layers",
        f"{_many(count, 'activation')} of {inside.name} · "
        f"{_provenance(inside, 'layer_activations')}",
    )
    past = [each for each in inside.past if len(each) == count]
    history = np.abs(np.stack(past)) if count else np.zeros((0, 0), np.float32)
    most = float(history.max(initial=0.0)) or 1.0
    room = page.room
    upper = Box(room.left, room.top, room.width, room.height * 0.6)
    lower = Box(
        room.left, upper.bottom + 16 * page.unit, room.width,
        room.height * 0.4 - 16 * page.unit,
    )  # fmt: skip
    inner = page.card(upper)
    plot = Box(
        inner.left + 46 * page.unit, inner.top + 8 * page.unit,
        inner.width - 46 * page.unit, inner.height - 34 * page.unit,
    )  # fmt: skip
    ramp = palette.ramp(theme)
    if count:
        page.overlays.append(bars(history[-1] / most, plot, ramp, theme, page.unit))
    for share in (0.0, 0.5, 1.0):
        y = plot.bottom - share * plot.height
        page.say(plot.left - 8 * page.unit, y, _number(share * most), 13, theme.muted, "rm")
    step = max(1, math.ceil(count * 34 * page.unit / max(1.0, plot.width)))
    for index in range(0, count, step):
        x = plot.left + (index + 0.45) * plot.width / count
        page.say(x, plot.bottom + 15 * page.unit, str(index), 13, theme.muted, "mm")
    below = page.card(lower)
    page.say(
        plot.left, below.top + 2, "each layer against its own usual; newest on the right",
        13.5, theme.muted, "lt",
    )  # fmt: skip
    rows = below.below(plot.left - below.left, 26 * page.unit)
    page.overlays.append(heat(_unusual(history).T, rows, ramp, gap=1))
    step = max(1, math.ceil(count * 15 * page.unit / max(1.0, rows.height)))
    for index in range(0, count, step):
        y = rows.top + (index + 0.5) * rows.height / count
        page.say(rows.left - 8 * page.unit, y, str(index), 12.5, theme.muted, "rm")
    return page.drawing()


def _unusual(history: Floats) -> Values:
    """Where each value lies between its layer's 2 % and 98 % quantile, 0 to 1."""
    if history.size == 0:
        return history
    low, high = np.quantile(history, (0.02, 0.98), axis=0)
    spread = np.where(high > low, high - low, 1)
    return np.asarray(np.clip((history - low) / spread, 0, 1) ** 1.4)


def _number(value: float) -> str:
    """A value on an axis, in a few characters."""
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _plain_matrix(inside: Inside, look: Look, theme: Theme) -> Drawing:
    matrix = np.zeros((0, 0), np.float32) if inside.matrix is None else inside.matrix
    page = _Page(
        look, theme, "Attention",
        f"{' × '.join(map(str, matrix.shape))} of {inside.name} · "
        f"{_provenance(inside, 'attention_weights')}",
    )  # fmt: skip
    inner = _no_larger(page.card(page.room), (*matrix.shape, 0, 0)[:2], page.unit)
    most = float(np.max(matrix, initial=0.0)) or 1.0
    page.overlays.append(
        heat(np.sqrt(np.clip(matrix / most, 0, 1)), inner, palette.ramp(theme), gap=1)
    )
    return page.drawing()


def _no_larger(box: Box, shape: tuple[int, ...], unit: float) -> Box:
    """As much of *box* as its cells need: a picture of a few tokens grows with them, instead of
    filling the page with a cell."""
    rows, columns = shape
    most = _MOST_CELL * unit
    return Box(box.left, box.top, min(box.width, columns * most), min(box.height, rows * most))


def _provenance(inside: Inside, name: str) -> str:
    return inside.provenance.get(name, "its source does not say how it knows")


def columns_of(rows: Sequence[AttentionRow]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The positions of the context that the picture shows, ascending."""
    every = np.unique(np.concatenate([row.columns for row in rows]))
    if len(every) <= MAX_COLUMNS:
        return every
    first = max(row.first for row in rows)
    first = min(first, MAX_COLUMNS // 4)
    return np.concatenate((every[:first], every[first - MAX_COLUMNS :]))


def _aligned(
    rows: Sequence[AttentionRow], columns: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[Bytes, Mask]:
    """Square roots of weights times 255, of shape (rows, layers, heads, columns), and for which
    rows and columns they came; 0 where they did not."""
    layer_count, head_count = rows[0].packed.shape[:2]
    values = np.zeros((len(rows), layer_count, head_count, len(columns)), np.uint8)
    known = np.zeros((len(rows), len(columns)), np.bool_)
    for index, row in enumerate(rows):
        place = np.searchsorted(columns, row.columns)
        place = np.minimum(place, len(columns) - 1)
        there = np.flatnonzero(columns[place] == row.columns)
        known[index, place[there]] = True
        # What was kept are the first positions and the newest: a run or two, side by side in both.
        breaks = (np.diff(there) != 1) | (np.diff(place[there]) != 1)
        for run in np.split(there, np.flatnonzero(breaks) + 1):
            if len(run):
                to = place[run[0]]
                values[index, ..., to : to + len(run)] = row.packed[..., run[0] : run[-1] + 1]
    return values, known


def _halves(room: Box, gap: float) -> tuple[Box, Box]:
    """A square as large as it can be, and the rest, beside or below it."""
    if room.width >= room.height:
        side = min(room.height, room.width * 0.58)
        return (
            Box(room.left, room.top, side, room.height),
            Box(room.left + side + gap, room.top, room.width - side - gap, room.height),
        )
    side = min(room.width, room.height * 0.58)
    return (
        Box(room.left, room.top, room.width, side),
        Box(room.left, room.top + side + gap, room.width, room.height - side - gap),
    )


def _matrix(
    page: _Page, box: Box, values: Values, ramp: Pixels, taken: Moment, inside: Inside,
    rows: Sequence[AttentionRow], columns: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> None:  # fmt: skip
    """All heads together, a row for each token with its word beside it."""
    inner = page.card(box)
    margin = 104 * page.unit
    plot = _no_larger(inner.below(margin, 26 * page.unit), values.shape, page.unit)
    page.say(
        plot.left, inner.top + 2, "all heads together; the context from left to right", 13.5,
        page.theme.muted, "lt",
    )  # fmt: skip
    # The first position takes what is left over (an "attention sink") and would outshine the rest.
    rest = values[:, 1:] if values.shape[1] > 1 else values
    scale = float(np.nanquantile(rest, 0.99)) if np.isfinite(rest).any() else 1.0
    page.overlays.append(heat((values / max(scale, 1e-3)) ** 0.8, plot, ramp, gap=1))
    known = taken.words_of(inside.name)
    step = max(1, math.ceil(15 * page.unit * len(rows) / plot.height))
    for index in range(0, len(rows), step):
        position = rows[index].position
        thought = None if position is None else known.get(position)
        text = "" if thought is None else shown(thought.token.current_token)[:12]
        y = plot.top + (index + 0.5) * plot.height / len(rows)
        page.say(plot.left - 8 * page.unit, y, text, 13, page.theme.text, "rm", 0.85)


def _atlas(page: _Page, box: Box, values: Bytes, known: Mask, ramp: Pixels) -> None:
    """Each head alone, layers downwards: every one has a pattern of its own."""
    inner = page.card(box)
    page.say(
        inner.left, inner.top + 2, "each head alone, layer by layer", 13.5, page.theme.muted, "lt"
    )
    room = inner.below(0, 26 * page.unit)
    _, layer_count, head_count, _ = values.shape
    # As many columns of layers as make the small pictures most nearly square.
    across = min(
        range(1, layer_count + 1),
        key=lambda count: abs(
            math.log(
                (room.width / (count * head_count)) / (room.height / math.ceil(layer_count / count))
            )
        ),
    )
    down = math.ceil(layer_count / across)
    gap = 3 * page.unit
    wide, high = room.width / across, room.height / down
    label, every = 22 * page.unit, 1
    if wide < 3 * label:
        # Too many for a number each: one before each row, of the first in it.
        room, every = room.below(label + 8 * page.unit, 0), across
        wide, label = room.width / across, 0.0
    each = (wide - label - 4 * page.unit) / head_count
    size = _no_larger(Box(0, 0, each - gap, high - gap), (len(values), values.shape[-1]), page.unit)
    heads = values.reshape(len(values), -1, values.shape[-1])
    small, seen = _fitted(heads, size), _fitted(known[:, None], size)[:, 0]
    pictures = np.zeros((max(1, round(room.height)), max(1, round(room.width)), 4), np.uint8)
    for layer in range(layer_count):
        left, top = room.left + layer % across * wide, room.top + layer // across * high
        if layer % every == 0:
            page.say(
                left + label - 5 * page.unit, top + size.height / 2, str(layer), 12.5,
                page.theme.muted, "rm",
            )  # fmt: skip
        for head in range(head_count):
            number = layer * head_count + head
            shown = _shades(heads[:, number][known])[small[:, number]]
            picture = heat(np.where(seen, shown, np.float32(np.nan)), size, ramp).pixels
            x, y = round(left - room.left + label + head * each), round(top - room.top)
            place = pictures[y : y + len(picture), x : x + picture.shape[1]]
            place[:] = picture[: len(place), : place.shape[1]]
    page.overlays.append(Overlay(round(room.left), round(room.top), pictures))


def _fitted(values: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
    """Values of shape (rows, any, columns), in no more rows and columns than *box* has pixels."""
    narrow = np.ascontiguousarray(strongest(values, max(1, round(box.height))).T)
    return strongest(narrow, max(1, round(box.width))).T


def _shades(head: Bytes) -> Values:
    """How bright each byte of one head is shown, so that what it does can be seen: 99 % of what it
    has are at most full."""
    counts: npt.NDArray[np.intp] = np.bincount(head, minlength=256).cumsum()
    most = int((counts < 0.99 * counts[-1]).sum())
    return np.power(np.linspace(0, 255 / max(most, 1), 256), 0.75)
