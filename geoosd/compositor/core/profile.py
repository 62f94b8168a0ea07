"""How long pictures take, stage by stage: percentiles over the newest of them.

Stages are those of :class:`.plan.Timings`, then ``encode`` and ``frame``, the whole of it.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from geoosd.compositor.core.plan import Timings

STAGES: Final = (*Timings._fields, "encode", "frame")
QUANTILES: Final = (0.5, 0.95, 0.99)
_NEWEST: Final = 512


class Stage(NamedTuple):
    """Seconds: quantiles over the newest pictures; number and sum over all that took part in it."""

    quantiles: dict[float, float]
    pictures: int
    total: float


class Profile:
    """The newest 512 pictures' times, and the sum of all."""

    def __init__(self) -> None:
        self._newest: dict[str, deque[float]] = {stage: deque(maxlen=_NEWEST) for stage in STAGES}
        self._count = dict.fromkeys(STAGES, 0)
        self._total = dict.fromkeys(STAGES, 0.0)

    def add(self, drawn: Timings, encode: float) -> None:
        """One picture was drawn and encoded."""
        values = {**drawn._asdict(), "encode": encode, "frame": sum(drawn) + encode}
        for stage, seconds in values.items():
            if seconds > 0:  # what a backend has no part of is not quick, it is absent
                self._newest[stage].append(seconds)
                self._count[stage] += 1
                self._total[stage] += seconds

    def stages(self) -> dict[str, Stage]:
        """The stages that took any time."""
        return {
            stage: Stage(_quantiles(newest), self._count[stage], self._total[stage])
            for stage, newest in self._newest.items()
            if newest
        }

    def line(self) -> str:
        """Median and 95th percentile in milliseconds, in words; empty before the first picture."""
        return ", ".join(
            f"{stage} {1000 * it.quantiles[0.5]:.1f}/{1000 * it.quantiles[0.95]:.1f}"
            for stage, it in self.stages().items()
        )


def _quantiles(values: deque[float]) -> dict[float, float]:
    """The smallest values that so large a part of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    most = len(ordered) - 1
    return {part: ordered[min(most, int(part * len(ordered)))] for part in QUANTILES}
