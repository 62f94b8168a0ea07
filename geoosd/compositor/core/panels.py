"""Cards, heat maps and bars as overlays: plain pixels with straight alpha, R G B A."""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import palette
from geoosd.compositor.core.look import Box, Rgb
from geoosd.compositor.core.plan import Overlay
from geoosd.wire.messages import Theme

Values: TypeAlias = npt.NDArray[np.floating]
Pixels: TypeAlias = npt.NDArray[np.uint8]

_RADIUS: Final = 12.0
_SOLID: Final = 236
"""The alpha of a card: what lies below shows a little."""


def card(box: Box, theme: Theme, unit: float) -> Overlay:
    """A raised surface with round corners and a thin edge, that what follows lies on."""
    width, height = max(1, round(box.width)), max(1, round(box.height))
    radius = min(_RADIUS * unit, width / 2, height / 2)
    red, green, blue = surface = palette.mixed(theme.background, theme.text, 0.045)
    line = palette.mixed(theme.background, theme.text, 0.22)
    words = np.full((height, width), red | green << 8 | blue << 16 | _SOLID << 24, np.uint32)
    pixels: Pixels = words.view(np.uint8).reshape(height, width, 4)
    x = np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius)
    y = np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius)
    # Further inside it is all the same.
    rim = math.ceil(max(radius, 2.5 * unit))
    for some in (slice(rim), slice(max(0, height - rim), None)):
        pixels[some] = _rim(x, y[some], radius, unit, surface, line)
    for some in (slice(rim), slice(max(0, width - rim), None)):
        pixels[:, some] = _rim(x[some], y, radius, unit, surface, line)
    return Overlay(round(box.left), round(box.top), pixels)


def _rim(x: Values, y: Values, radius: float, unit: float, surface: Rgb, line: Rgb) -> Pixels:
    """A card's pixels so far beyond the middles of the arcs that its corners are."""
    outside = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None])
    # Distance to the edge, negative inside: of a rectangle whose corners are arcs.
    distance = outside + np.minimum(np.maximum(x[None, :], y[:, None]), 0) - radius
    edge = np.clip(1.5 * unit - np.abs(distance + unit), 0, 1)[..., None] * 0.5
    pixels = np.empty((*distance.shape, 4), np.uint8)
    pixels[..., :3] = np.rint(np.array(surface) * (1 - edge) + np.array(line) * edge)
    pixels[..., 3] = np.rint(np.clip(0.5 - distance, 0, 1) * _SOLID)
    return pixels


def heat(values: Values, box: Box, ramp: Pixels, *, gap: int = 0) -> Overlay:
    """A heat map of *values* 0 to 1, of shape (rows, columns); NaN is left transparent.

    Cells that share a pixel are shown by their greatest value. *gap* pixels are left between
    cells that have room for it.
    """
    width, height = max(1, round(box.width)), max(1, round(box.height))
    if not values.size:
        return Overlay(round(box.left), round(box.top), np.zeros((height, width, 4), np.uint8))
    rows, columns = values.shape
    known = strongest(np.where(np.isnan(values), -1.0, values), height)
    known = strongest(np.ascontiguousarray(known.T), width).T
    cells = np.empty((*known.shape, 4), np.uint8)
    cells[..., :3] = ramp[np.rint(np.clip(known, 0.0, 1.0) * 255).astype(np.intp)]
    cells[..., 3] = np.where(known < 0, 0, 255)
    pixels = _spread(cells, height, width)
    if gap and height >= 4 * gap * rows:
        pixels[_gaps(rows, height, gap)] = 0
    if gap and width >= 4 * gap * columns:
        pixels[:, _gaps(columns, width, gap)] = 0
    return Overlay(round(box.left), round(box.top), pixels)


def strongest(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Along the first axis at most *size*: of those that share a pixel the greatest."""
    if len(values) <= size:
        return values
    edges = np.arange(size + 1) * len(values) // size
    first, last = edges[:-1], edges[1:] - 1
    found = values[first]
    # Whole rows at once: reduceat takes ten times as long.
    for step in range(1, int((last - first).max()) + 1):
        np.maximum(found, values[np.minimum(first + step, last)], out=found)
    return found


def bars(values: Values, box: Box, ramp: Pixels, theme: Theme, unit: float) -> Overlay:
    """Upright bars for *values* 0 to 1, each brighter towards its end, with a faint light above
    it; a track behind."""
    width, height = max(1, round(box.width)), max(1, round(box.height))
    count = len(values)
    if not count:
        return Overlay(round(box.left), round(box.top), np.zeros((height, width, 4), np.uint8))
    # A column of pixels for each bar.
    shown = values if count <= width else values[np.arange(width) * count // width]
    tall = np.clip(shown, 0, 1)[None, :] * height
    level = height - np.arange(height)[:, None] - 0.5
    inside = np.clip(tall - level + 0.5, 0, 1)
    above = np.exp(-np.maximum(level - tall, 0) / (16 * unit)) * np.minimum(1, tall / height * 3)
    shade = np.minimum(0.25 + 0.75 * np.minimum(level, tall) / height, 1)
    light = ramp[np.rint(shade * 255).astype(np.intp)]
    track = np.array(palette.mixed(theme.background, theme.text, 0.08))
    share = np.maximum(inside, above * 0.4)[..., None]
    columns = np.empty((height, len(shown), 4), np.uint8)
    columns[..., :3] = np.rint(light * share + track * (1 - share)).astype(np.uint8)
    columns[..., 3] = np.rint(70 + 185 * share[..., 0]).astype(np.uint8)
    pixels = _spread(columns, height, width)
    if width >= 3 * count:
        pixels[:, _gaps(count, width, max(1, round(min(6 * unit, width / count / 4))))] = 0
    return Overlay(round(box.left), round(box.top), pixels)


def _spread(cells: Pixels, height: int, width: int) -> Pixels:
    """*cells* over *height* × *width* pixels, of which there are no fewer."""
    rows, columns = cells.shape[:2]
    words: npt.NDArray[np.uint32] = cells.view(np.uint32)[..., 0]
    words = words[:, np.arange(width) * columns // width]
    words = words[np.arange(height) * rows // height]
    pixels: Pixels = words.view(np.uint8).reshape(height, width, 4)
    return pixels


def _gaps(count: int, size: int, gap: int) -> npt.NDArray[np.bool_]:
    """The last *gap* pixels of each of *count* cells."""
    which = np.arange(size + gap) * count // size
    return np.asarray(which[:-gap] != which[gap:])
