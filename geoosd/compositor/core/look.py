"""What somebody wants to see, and what there is to draw for it: a frame plan and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from geoosd.compositor.core.plan import FramePlan
from geoosd.compositor.core.view import View

Rgb: TypeAlias = tuple[int, int, int]
Anchor: TypeAlias = Literal["lt", "mt", "rt", "lm", "mm", "rm", "ls", "ms", "rs"]

MAX_ZOOM: Final = 1024.0


class Look(NamedTuple):
    """A view by name and its size in pixels.

    ``zoom`` is relative to the view that shows all cells in use; ``center`` is (column, row) on the
    whole map; None: the middle of the cells in use, or with a zoom the newest token. Everything is
    drawn in proportion to the size, so twice the pixels (HiDPI) are the same picture, sharper.
    """

    view: str = "activation"
    width: int = 1024
    height: int = 1024
    zoom: float = 1.0
    center: tuple[float, float] | None = None
    labels: bool = False


class Box(NamedTuple):
    """A rectangle of the picture, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in it."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom

    def inset(self, by: float) -> Box:
        """The rectangle that is *by* pixels smaller on each side; a pixel always remains."""
        across, down = max(1.0, self.width - 2 * by), max(1.0, self.height - 2 * by)
        return Box(self.left + by, self.top + by, across, down)

    def below(self, left: float, top: float) -> Box:
        """What remains when *left* and *top* pixels are taken away; at least a pixel."""
        across, down = max(1.0, self.width - left), max(1.0, self.height - top)
        return Box(self.left + left, self.top + top, across, down)


@dataclass(frozen=True)
class Label:
    """A line of text. ``anchor`` says which of its points lies at (x, y): left, middle or right,
    and top, middle or baseline; with a ``halo`` it stands out against what is below."""

    x: float
    y: float
    text: str
    size: float
    color: Rgb
    anchor: Anchor = "lm"
    opacity: float = 1.0
    halo: Rgb | None = None


@dataclass(frozen=True)
class Flow:
    """Running text in a box, wrapped, as large as fits between ``most`` and ``least``; if it is too
    long even so, its end is shown. Each piece has its own colour and opacity."""

    box: Box
    most: float
    least: float
    pieces: Sequence[tuple[str, Rgb, float]]


@dataclass(frozen=True)
class Drawing:
    """A frame plan, and words to be laid over it. ``view`` is what pan and zoom start from."""

    plan: FramePlan
    labels: Sequence[Label] = ()
    flows: Sequence[Flow] = ()

    @property
    def view(self) -> View:
        """Which cells it shows."""
        return self.plan.view
