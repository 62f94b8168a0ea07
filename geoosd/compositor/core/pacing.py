"""When the next frame is due: up to so many a second, and none while nothing changes.

After a change what is lit fades, and the scene knows until when a pixel may still differ
(:meth:`.field.Field.dark_at`). One last frame shows that all is dark; then there is nothing to draw
until the next change. The driver is :mod:`..adapters.frames`; all times are of one monotonic clock,
in seconds.
"""

from __future__ import annotations

import math


class Pacer:
    """The times of frames."""

    def __init__(self, fps: int) -> None:
        self._changed = False
        self._fades_until = -math.inf
        self._last = -math.inf
        self.set_pace(fps)

    def set_pace(self, fps: int) -> None:
        """At most *fps* frames a second."""
        self._interval = 1 / fps

    def changed(self) -> None:
        """The next frame is another one, or somebody has none yet."""
        self._changed = True

    def drawn(self, now: float, fades_until: float) -> None:
        """A frame shows how things are at *now*; those until *fades_until* will differ."""
        self._changed = False
        self._fades_until = fades_until
        self._last = now

    @property
    def due(self) -> float | None:
        """When the next frame may be drawn; None while it would be like the last."""
        if not self._changed and self._last >= self._fades_until:
            return None
        return self._last + self._interval
