"""When the next frame is due: up to so many a second, and none while nothing changes.

After a change everything fades; when all of it has, one last frame shows that, and then there is
nothing to draw until the next change. The driver is :mod:`..adapters.frames`; all times are of one
monotonic clock, in seconds.
"""

from __future__ import annotations

import math
from typing import Final

_FADES: Final = 12.0
"""Decay times until what was lit, a hundred times over even, is dark: e**-12 of it is left."""


class Pacer:
    """The times of frames."""

    def __init__(self, fps: int, decay: float) -> None:
        self._changes_until = -math.inf
        self._last = -math.inf
        self.set_pace(fps, decay)

    def set_pace(self, fps: int, decay: float) -> None:
        """At most *fps* frames a second; what is lit falls to 1/e in *decay* seconds."""
        self._interval = 1 / fps
        self._fade = _FADES * decay

    def changed(self, now: float) -> None:
        """Something new is to be seen, and will fade."""
        self._changes_until = now + self._fade

    def asked(self, now: float) -> None:
        """Somebody has no frame yet: one is due, whether anything changes or not."""
        self._changes_until = max(self._changes_until, now + self._interval)

    def drawn(self, now: float) -> None:
        """A frame shows how things are at *now*."""
        self._last = now

    @property
    def due(self) -> float | None:
        """When the next frame may be drawn; None while it would be like the last."""
        if self._last >= self._changes_until:
            return None
        return self._last + self._interval
