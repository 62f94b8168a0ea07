"""A theme as a lookup table: tone curve, colours and tints in one step of the renderer.

Entry ``tint * 4096 + level`` is a pixel, R G B A from the lowest byte. ``level`` is the energy of a
pixel times :data:`LEVELS_PER_UNIT`; the curve 1 - exp(-1.2 v) keeps detail where many tokens
meet, as film does.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.wire.messages import Theme

LEVELS: Final = 4096
RANGE: Final = 4.0
"""Energy at which a pixel is as bright as it can be."""
LEVELS_PER_UNIT: Final = (LEVELS - 1) / RANGE

Lut: TypeAlias = npt.NDArray[np.uint32]

_CURVE: Final = 1.2


def rgb(color: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def is_dark(theme: Theme) -> bool:
    """Whether its background is darker than a middle grey."""
    return sum(rgb(theme.background)) < 384


def lut(theme: Theme) -> Lut:
    """The table of *theme*: uint32 of shape (tints × 4096,).

    A tint multiplies the ramp; it takes hold with the energy, so that the background is the same
    for every model.
    """
    energy = np.arange(LEVELS) / LEVELS_PER_UNIT
    tone = (1 - np.exp(-_CURVE * energy)) / (1 - np.exp(-_CURVE * RANGE))
    stops = np.linspace(0, 1, len(theme.ramp))
    ramp = np.array([rgb(color) for color in theme.ramp], np.float64)
    channels: list[npt.NDArray[np.float64]] = [
        np.interp(tone, stops, ramp[:, channel]) for channel in (0, 1, 2)
    ]
    base = np.stack(channels, axis=1)
    hold = np.minimum(tone * 4, 1.0)[:, None]
    table = np.empty((len(theme.tints), LEVELS), np.uint32)
    for index, tint in enumerate(theme.tints):
        factor = 1 - hold + hold * np.array(rgb(tint)) / 255
        pixel = np.floor(base * factor + 0.5).astype(np.uint32)
        red, green, blue = pixel[:, 0], pixel[:, 1], pixel[:, 2]
        table[index] = red | green << 8 | blue << 16 | np.uint32(255 << 24)
    return table.ravel()


def ramp(theme: Theme) -> npt.NDArray[np.uint8]:
    """256 even steps of the theme's ramp, R G B: for heat maps and bars, where a value is a
    colour and no light is added up."""
    stops = np.linspace(0, 1, len(theme.ramp))
    colors = np.array([rgb(color) for color in theme.ramp], np.float64)
    steps = np.linspace(0, 1, 256)
    channels = [np.interp(steps, stops, colors[:, channel]) for channel in (0, 1, 2)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def mixed(one: str, other: str, share: float) -> tuple[int, int, int]:
    """A colour between two: *share* 0 is the first, 1 the second."""
    red, green, blue = (
        round(a + (b - a) * share) for a, b in zip(rgb(one), rgb(other), strict=True)
    )
    return red, green, blue
