"""A frame plan: everything a renderer draws, in pixels. Views make plans, backends draw them.

How a view makes one::

    view = fit(columns, rows, width, height)          # or a View of its own: centre, scale, size
    x, y = view.to_pixels(columns + 0.5, rows + 0.5)
    plan = FramePlan(view, palette.lut(theme), stars(x, y, level, tint, view))

A plan shares nothing with the scene and is complete: whichever backend draws it, and whatever that
backend drew before, the pixels are the same (:class:`Backend`), so one that fails can be replaced
in the middle of a frame. The light is integers (:mod:`.brush`)::

    index = min(((F * star_scale >> 16) + still >> 6) + glow(G * glow_scale >> 16), 4095)
    pixel = lut[tint, index]

``F`` holds the small discs of the stars; ``G`` their wide ones, at a quarter and a sixteenth of the
resolution, so there is no blur pass; ``still`` ground, dust and trails. Tone curve, theme and tints
live in the table. Weights that decay forward (:mod:`.field`) need only other scales from frame to
frame. Bars, heat maps and labels are :class:`Overlay`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.compositor.core.brush import ONE
from geoosd.compositor.core.palette import Lut
from geoosd.compositor.core.view import View

MAX_SPLATS: Final = 8192
"""Of one kind in one plan. With amounts of at most :data:`MAX_AMOUNT` no sum leaves 32 bits."""
MAX_AMOUNT: Final = 6 * ONE
SCALE_ONE: Final = 65536

STAR: Final = 2.6
DUST: Final = 1.9
CROWD_SIDE: Final = 32.0
"""Pixels of a square in a picture of 1024 that is lived in or not, for :func:`crowding`."""

Floats: TypeAlias = npt.NDArray[np.float64]
Amounts: TypeAlias = npt.NDArray[np.uint32]
Tints: TypeAlias = npt.NDArray[np.uint8]
Image: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Splats:
    """Discs of light, the weakest first: where two tints meet, the later one's is shown.

    ``x`` and ``y`` in pixels, ``amount`` of energy at the centre (:data:`~.brush.ONE` is a quarter
    of what a pixel can show), ``tint`` by model. ``radius`` is the standard deviation of the disc
    in pixels, ``halo`` and ``far`` those of two faint wide ones around it; 0 for none.
    """

    x: Floats
    y: Floats
    amount: Amounts
    tint: Tints
    radius: float = 1.0
    halo: float = 0.0
    far: float = 0.0

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Stroke:
    """A run of thin straight lines through (x, y) in pixels; ``level`` of energy at each point."""

    x: Floats
    y: Floats
    level: Floats


@dataclass(frozen=True)
class Overlay:
    """A picture laid over the finished one: ``pixels`` of shape (height, width, 4), R G B A with
    straight alpha; its left upper corner at (``left``, ``top``), inside the picture or not."""

    left: int
    top: int
    pixels: Image


def no_splats() -> Splats:
    """No light at all."""
    nothing = np.zeros(0, np.float64)
    return Splats(nothing, nothing, np.zeros(0, np.uint32), np.zeros(0, np.uint8))


@dataclass(frozen=True)
class FramePlan:
    """One picture. ``lut`` is of :func:`.palette.lut`; scales are of :data:`SCALE_ONE`, at most 1.

    ``dust`` is fainter than ``stars`` and does not decay; ``ground`` is what stays as long as the
    view does: a backend keeps its pixels.
    """

    view: View
    lut: Lut
    stars: Splats
    dust: Splats
    trails: Sequence[Stroke] = ()
    ground: Sequence[Stroke] = ()
    overlays: Sequence[Overlay] = ()
    star_scale: int = SCALE_ONE
    glow_scale: int = SCALE_ONE

    def __post_init__(self) -> None:
        for splats in (self.stars, self.dust):
            if len(splats) > MAX_SPLATS or splats.amount.max(initial=0) > MAX_AMOUNT:
                raise ValueError("cannot plan a frame: more light than 32 bits hold")


class BackendError(Exception):
    """A backend cannot go on; its words are the reason. Another one can draw the same plan."""


class Timings(NamedTuple):
    """Seconds that one picture took, by stage; what a backend has no part of is 0."""

    cpu: float = 0.0
    upload: float = 0.0
    gpu: float = 0.0
    readback: float = 0.0


class Backend(Protocol):
    """Draws plans. Everything blocks, and is called from one thread."""

    name: str
    """``numpy`` or ``wgpu``."""
    adapter: str
    """What it draws on, in words."""
    live_tiles: int
    """Of the last picture: those that something but the ground reached."""
    timings: Timings
    """Of the last picture."""

    def draw(self, plan: FramePlan) -> Image:
        """An array of shape (height, width, 4), R G B A, all opaque; the next may overwrite it.

        Raises :class:`BackendError` when it cannot go on.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def stars(x: Floats, y: Floats, level: Floats, tint: Tints, view: View) -> Splats:
    """Stars with halos, of *level* 0 to 1, as large as suits picture and crowd."""
    crowd = max(0.5, crowding(x, y, view.unit))
    # Zoomed in, where cells are wide, a star fills more of its own.
    radius = max(0.7, 1.7 * view.unit * crowd, min(0.24 * view.scale, 5 * view.unit))
    amount = _amount(level * STAR)
    return Splats(x, y, amount, tint, radius, 10.4 * view.unit * crowd, 36.0 * view.unit * crowd)


def dust(
    x: Floats, y: Floats, level: Floats, tint: Tints, view: View, spread: float = 0.0
) -> Splats:
    """Faint points without halo, of *level* 0 to 1; as wide as the squares that they stand for,
    *spread* pixels."""
    crowd = crowding(x, y, view.unit)
    # What fills its squares is dimmed, so that what is active still stands out from it.
    dimmed = max(0.2, math.sqrt(crowd))
    radius = max(0.95 * view.unit * max(0.8, crowd), min(0.14 * view.scale, 3 * view.unit))
    radius = max(0.8, 0.43 * spread, radius)
    return Splats(x, y, _amount(level * DUST * dimmed), tint, radius)


def _amount(energy: Floats) -> Amounts:
    return np.rint(energy * ONE).astype(np.uint32)


def crowding(x: Floats, y: Floats, unit: float) -> float:
    """How much smaller than usual stars are drawn so that a crowd stays legible: up to 1.

    By the room that each has in the squares that are lived in: what lies far out makes no room.
    """
    if len(x) < 2:
        return 1.0
    side = CROWD_SIDE * unit
    squares = np.unique(np.floor(x / side) * 4096 + np.floor(y / side))
    return math.sqrt(min(1.0, len(squares) / len(x)))
