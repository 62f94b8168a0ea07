"""Cards, heat maps and bars as overlays: plain pixels with straight alpha, R G B A."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core import palette
from geoosd.compositor.core.look import Box
from geoosd.compositor.core.plan import Overlay
from geoosd.wire.messages import Theme

Values: TypeAlias = npt.NDArray[np.floating]
Pixels: TypeAlias = npt.NDArray[np.uint8]

_RADIUS: Final = 12.0


def card(box: Box, theme: Theme, unit: float) -> Overlay:
    """A raised surface with round corners and a thin edge, that what follows lies on."""
    width, height = max(1, round(box.width)), max(1, round(box.height))
    radius = min(_RADIUS * unit, width / 2, height / 2)
    x = np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius)
    y = np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius)
    outside = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None])
    # Distance to the edge, negative inside: of a rectangle whose corners are arcs.
    distance = outside + np.minimum(np.maximum(x[None, :], y[:, None]), 0) - radius
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., :3] = palette.mixed(theme.background, theme.text, 0.045)
    edge = np.clip(1.5 * unit - np.abs(distance + unit), 0, 1)[..., None] * 0.5
    line = np.array(palette.mixed(theme.background, theme.text, 0.22))
    pixels[..., :3] = np.rint(pixels[..., :3] * (1 - edge) + line * edge).astype(np.uint8)
    pixels[..., 3] = np.rint(np.clip(0.5 - distance, 0, 1) * 236).astype(np.uint8)
    return Overlay(round(box.left), round(box.top), pixels)


def heat(values: Values, box: Box, ramp: Pixels, *, gap: int = 0) -> Overlay:
    """A heat map of *values* 0 to 1, of shape (rows, columns); NaN is left transparent.

    Cells that share a pixel are shown by their greatest value. *gap* pixels are left between
    cells that have room for it.
    """
    width, height = max(1, round(box.width)), max(1, round(box.height))
    pixels = np.zeros((height, width, 4), np.uint8)
    if values.size:
        known = np.where(np.isnan(values), -1.0, np.clip(values, 0.0, 1.0))
        rows, columns = known.shape
        down, across = _edges(rows, height), _edges(columns, width)
        known = np.maximum.reduceat(known, down[0], axis=0)[down[1]]
        known = np.maximum.reduceat(known, across[0], axis=1)[:, across[1]]
        pixels[..., :3] = ramp[np.rint(np.maximum(known, 0) * 255).astype(np.intp)]
        pixels[..., 3] = np.where(known < 0, 0, 255)
        if gap and height >= 4 * gap * rows:
            pixels[_gaps(rows, height, gap)] = 0
        if gap and width >= 4 * gap * columns:
            pixels[:, _gaps(columns, width, gap)] = 0
    return Overlay(round(box.left), round(box.top), pixels)


def bars(values: Values, box: Box, ramp: Pixels, theme: Theme, unit: float) -> Overlay:
    """Upright bars for *values* 0 to 1, each brighter towards its end, with a faint light above
    it; a track behind."""
    width, height = max(1, round(box.width)), max(1, round(box.height))
    pixels = np.zeros((height, width, 4), np.uint8)
    count = len(values)
    if count:
        tall = np.clip(values, 0, 1)[np.arange(width) * count // width] * height
        level = height - np.arange(height)[:, None] - 0.5
        inside = np.clip(tall[None, :] - level + 0.5, 0, 1)
        above = np.exp(-np.maximum(level - tall, 0) / (16 * unit)) * np.minimum(
            1, tall / height * 3
        )
        shade = np.minimum(0.25 + 0.75 * np.minimum(level, tall) / height, 1)
        light = ramp[np.rint(shade * 255).astype(np.intp)]
        track = np.array(palette.mixed(theme.background, theme.text, 0.08))
        share = np.maximum(inside, above * 0.4)[..., None]
        pixels[..., :3] = np.rint(light * share + track * (1 - share)).astype(np.uint8)
        pixels[..., 3] = np.rint(70 + 185 * share[..., 0]).astype(np.uint8)
        if width >= 3 * count:
            pixels[:, _gaps(count, width, max(1, round(min(6 * unit, width / count / 4))))] = 0
    return Overlay(round(box.left), round(box.top), pixels)


def _edges(count: int, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the groups of values begin that share a pixel, and the group of each pixel."""
    if count >= size:
        return np.arange(size) * count // size, np.arange(size)
    return np.arange(count), np.arange(size) * count // size


def _gaps(count: int, size: int, gap: int) -> npt.NDArray[np.bool_]:
    """The last *gap* pixels of each of *count* cells."""
    which = np.arange(size + gap) * count // size
    return np.asarray(which[:-gap] != which[gap:])
