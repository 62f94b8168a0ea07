"""Lays one picture over another, in integers, the same for every backend."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core.plan import Image, Overlay

_ROWS: Final = 32
"""Laid in one go: what they need stays in a cache."""
_LANES: Final = np.uint32(0x00FF00FF)
_OPAQUE: Final = np.uint32(0xFF000000)

Words: TypeAlias = npt.NDArray[np.uint32]


def lay(picture: Image, overlay: Overlay) -> None:
    """Blend *overlay* over *picture*, of shape (height, width, 4); what lies outside is left out.

    Each channel is (below · (255 - alpha) + above · alpha + 127) // 255; the result is opaque.
    """
    height, width = picture.shape[:2]
    rows, columns = overlay.pixels.shape[:2]
    top, left = max(0, overlay.top), max(0, overlay.left)
    bottom, right = min(height, overlay.top + rows), min(width, overlay.left + columns)
    if top >= bottom or left >= right:
        return
    above = _words(np.ascontiguousarray(overlay.pixels))[
        top - overlay.top : bottom - overlay.top, left - overlay.left : right - overlay.left
    ]
    below = _words(picture)[top:bottom, left:right]
    for first in range(0, len(below), _ROWS):
        some = slice(first, first + _ROWS)
        below[some] = _blended(below[some], above[some])


def _words(pixels: Image) -> Words:
    return pixels.view(np.uint32)[..., 0]


def _blended(below: Words, above: Words) -> Words:
    """Two channels in the lanes of one word, then the third: a lane never grows beyond 16 bits."""
    alpha = above >> np.uint32(24)
    rest = np.uint32(255) - alpha
    outer = (below & _LANES) * rest + (above & _LANES) * alpha + np.uint32(0x007F007F)
    # x // 255 is (x + 1 + (x >> 8)) >> 8 for all x below 65535.
    outer += (outer >> np.uint32(8) & _LANES) + np.uint32(0x00010001)
    middle = (below >> np.uint32(8) & np.uint32(255)) * rest
    middle += (above >> np.uint32(8) & np.uint32(255)) * alpha + np.uint32(127)
    middle += (middle >> np.uint32(8)) + np.uint32(1)
    return outer >> np.uint32(8) & _LANES | middle & np.uint32(0xFF00) | _OPAQUE
