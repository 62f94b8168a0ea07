"""A sparse field of decaying weights over the cells of the map.

Forward decay (Cormode et al., "Forward Decay", ICDE 2009): a weight a added at time t is stored as
a · 2**((t - t0) / half_life), so decay is one scalar at reading and nothing has to be done while
nothing happens. Before the scalar grows out of range all weights are rescaled by a power of two,
which is exact. Memory follows what is alive: what has faded is dropped, and ``capacity`` bounds it.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Keys: TypeAlias = npt.NDArray[np.uint64]
Weights: TypeAlias = npt.NDArray[np.float64]

_RESCALE_AT: Final = 64.0
"""Doublings of the scalar after which weights are rescaled."""


def key_of(district: int, cell: int) -> int:
    """A cell of the whole map as one number: the district above 20 bits of cell."""
    return district << 20 | cell


class Field:
    """Weights by cell key. All times are of one monotonic clock, in seconds.

    ``decay`` is the time in which a weight falls to 1/e; below ``floor`` a cell counts as dark.
    """

    def __init__(self, decay: float, *, floor: float, capacity: int) -> None:
        self._doubling = decay * math.log(2)
        self._floor = floor
        self._capacity = capacity
        self._origin: float | None = None
        self._stored: dict[int, float] = {}
        self._sweep_at = min(4096, capacity)

    def __len__(self) -> int:
        return len(self._stored)

    def set_decay(self, decay: float, now: float) -> None:
        """Use another decay time from *now* on; weights keep their present values."""
        keys, weights = self.cells(now)
        self._doubling = decay * math.log(2)
        self.restore(keys, weights, now)

    def add(self, key: int, amount: float, now: float) -> None:
        """Add *amount* to a cell. Raises ValueError unless it is finite and not negative."""
        if not 0.0 <= amount < math.inf:
            raise ValueError(f"cannot add {amount} to a field: not a finite weight")
        scale = self._scale(now)  # may replace what is stored
        stored = self._stored
        stored[key] = stored.get(key, 0.0) + amount * scale
        if len(stored) > self._sweep_at:
            self._sweep(now)

    def value(self, key: int, now: float) -> float:
        """The weight of one cell."""
        scale = self._scale(now)
        return self._stored.get(key, 0.0) / scale

    def cells(self, now: float, limit: int | None = None) -> tuple[Keys, Weights]:
        """Keys and weights of the cells that are not dark, strongest first, at most *limit*.

        Ties are ordered by key.
        """
        scale = self._scale(now)
        count = len(self._stored)
        keys = np.fromiter(self._stored.keys(), np.uint64, count)
        weights = np.fromiter(self._stored.values(), np.float64, count) / scale
        lit = weights >= self._floor
        keys, weights = keys[lit], weights[lit]
        if limit is not None and limit < len(keys):
            chosen = np.argpartition(-weights, limit)[:limit]
            keys, weights = keys[chosen], weights[chosen]
        order = np.lexsort((keys, -weights))
        return keys[order], weights[order]

    def copy(self) -> Field:
        """The same weights by themselves, made in a millisecond: for a thread that saves them."""
        twin = Field(1.0, floor=self._floor, capacity=self._capacity)
        twin._doubling, twin._origin = self._doubling, self._origin
        twin._stored = self._stored.copy()
        return twin

    def restore(self, keys: Keys, weights: Weights, now: float) -> None:
        """Replace everything. Raises ValueError for shapes that differ or weights not finite."""
        if keys.shape != weights.shape or keys.ndim != 1:
            raise ValueError(f"{keys.shape} keys do not go with {weights.shape} weights")
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("a weight is negative or not finite")
        self._origin = now
        self._stored = dict(zip(keys.tolist(), weights.tolist(), strict=True))
        self._sweep(now)

    def _scale(self, now: float) -> float:
        """2**((now - origin) / doubling), with the origin moved when that grows too large."""
        if self._origin is None:
            self._origin = now
        doublings = (now - self._origin) / self._doubling
        if doublings > _RESCALE_AT:
            whole = math.floor(doublings)
            self._origin += whole * self._doubling
            doublings -= whole
            faded = ((key, math.ldexp(weight, -whole)) for key, weight in self._stored.items())
            self._stored = {key: weight for key, weight in faded if weight >= self._floor / 4}
        return math.exp2(doublings)

    def _sweep(self, now: float) -> None:
        """Drop what is dark; if that is not enough, also the weakest quarter of the capacity."""
        keep = self._capacity - self._capacity // 4 if len(self._stored) > self._capacity else None
        keys, weights = self.cells(now, keep)
        scale = self._scale(now)
        self._stored = dict(zip(keys.tolist(), (weights * scale).tolist(), strict=True))
        self._sweep_at = min(max(4096, 2 * len(self._stored)), self._capacity)
