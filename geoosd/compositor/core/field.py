"""A sparse field of decaying weights over the cells of the map.

Forward decay (Cormode et al., "Forward Decay", ICDE 2009): a weight a added at time t is stored as
a · 2**((t - t0) / half_life), so decay is one scalar at reading and nothing has to be done while
nothing happens. Before the scalar grows out of range all weights are rescaled by a power of two,
which is exact. Memory follows what is alive: what has faded is dropped, and ``capacity`` bounds it.

Keys and weights lie in two arrays, and a table says where in them a cell is: so the event loop adds
in a fraction of a microsecond, and takes a copy for a thread at the speed of memory.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.wire.messages import TokenVisualizationUpdate

Keys: TypeAlias = npt.NDArray[np.uint64]
Weights: TypeAlias = npt.NDArray[np.float64]

MAX_WEIGHT: Final = 2.0**64
"""A cell that is given more at once is refused: with what rescaling leaves room for, sums of a
lifetime stay finite."""

_RESCALE_AT: Final = 64.0
"""Doublings of the scalar after which weights are rescaled."""


def key_of(district: int, cell: int) -> int:
    """A cell of the whole map as one number: the district above 20 bits of cell."""
    return district << 20 | cell


def key_of_token(token: TokenVisualizationUpdate) -> int:
    """The cell of a placed token."""
    return key_of(token.district or 0, token.cell or 0)


def check_cells(keys: Keys, weights: Weights) -> None:
    """Raises ValueError for shapes that differ, keys that come twice, or what :meth:`Field.add`
    would refuse."""
    if keys.shape != weights.shape or keys.ndim != 1:
        raise ValueError(f"{keys.shape} keys do not go with {weights.shape} weights")
    if not ((weights >= 0) & (weights <= MAX_WEIGHT)).all():
        raise ValueError("a weight is negative, too large or not finite")
    if len(np.unique(keys)) != len(keys):
        raise ValueError("a cell comes twice")


class Cells(NamedTuple):
    """The weights of one moment, by themselves: what a thread sorts while the field goes on.

    ``keys`` and ``weights`` are of one length, in no order; below ``floor`` a cell counts as dark.
    """

    keys: Keys
    weights: Weights
    floor: float

    def strongest(self, limit: int | None = None) -> tuple[Keys, Weights]:
        """Keys and weights of the cells that are not dark, strongest first, at most *limit*.

        Ties are ordered by key.
        """
        lit = self.weights >= self.floor
        keys, weights = self.keys[lit], self.weights[lit]
        if limit is not None and limit < len(keys):
            chosen = np.argpartition(weights, len(weights) - limit)[-limit:]
            keys, weights = keys[chosen], weights[chosen]
        order = np.lexsort((keys, -weights))
        return keys[order], weights[order]


class Field:
    """Weights by cell key. All times are of one monotonic clock, in seconds.

    ``decay`` is the time in which a weight falls to 1/e; below ``floor`` a cell counts as dark.
    """

    def __init__(self, decay: float, *, floor: float, capacity: int) -> None:
        self._doubling = decay * math.log(2)
        self._floor = floor
        self._capacity = capacity
        self._origin: float | None = None
        self._keys = array("Q")
        self._stored = array("d")
        self._slots: dict[int, int] = {}
        self._sweep_at = min(4096, capacity)

    def __len__(self) -> int:
        return len(self._slots)

    def set_decay(self, decay: float, now: float) -> None:
        """Use another decay time from *now* on; weights keep their present values."""
        keys, weights, _ = self.at(now)
        self._doubling = decay * math.log(2)
        self.restore(keys, weights, now)

    def add(self, key: int, amount: float, now: float) -> None:
        """Add *amount* to a cell. Raises ValueError unless it is from 0 to :data:`MAX_WEIGHT`."""
        if not 0.0 <= amount <= MAX_WEIGHT:
            raise ValueError(f"cannot add {amount} to a field: not a weight")
        scale = self._scale(now)  # may replace what is stored
        slot = self._slots.get(key)
        if slot is not None:
            self._stored[slot] += amount * scale
            return
        self._slots[key] = len(self._keys)
        self._keys.append(key)
        self._stored.append(amount * scale)
        if len(self._keys) > self._sweep_at:
            self._sweep(now)

    def value(self, key: int, now: float) -> float:
        """The weight of one cell."""
        scale = self._scale(now)
        slot = self._slots.get(key)
        return 0.0 if slot is None else self._stored[slot] / scale

    def values(self, keys: Iterable[int], now: float) -> dict[int, float]:
        """The weights of some cells: those that have any."""
        scale = self._scale(now)
        known = ((key, self._slots.get(key)) for key in keys)
        return {key: self._stored[slot] / scale for key, slot in known if slot is not None}

    def at(self, now: float) -> Cells:
        """All cells with their weights at *now*; copied."""
        scale = self._scale(now)
        keys = np.frombuffer(self._keys, np.uint64).copy()
        return Cells(keys, np.frombuffer(self._stored, np.float64) / scale, self._floor)

    def alive(self, now: float) -> int:
        """How many cells are not dark; ``len`` counts those that wait to be swept too."""
        weights = self.at(now).weights
        return int(np.count_nonzero(weights >= self._floor))

    def dark_at(self, now: float) -> float:
        """When the last cell will have become dark; *now* if all are."""
        most = float(np.frombuffer(self._stored, np.float64).max(initial=0.0)) / self._scale(now)
        if most < self._floor:
            return now
        # A millionth later, so that no rounding holds the weight at its floor.
        return now + (math.log2(most / self._floor) + 1e-6) * self._doubling

    def cells(self, now: float, limit: int | None = None) -> tuple[Keys, Weights]:
        """The strongest at *now*, as :meth:`Cells.strongest` has it."""
        return self.at(now).strongest(limit)

    def restore(self, keys: Keys, weights: Weights, now: float) -> None:
        """Replace everything. Raises ValueError as :func:`check_cells` does."""
        check_cells(keys, weights)
        self._origin = now
        self._keep(keys, weights)
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
            keys = np.frombuffer(self._keys, np.uint64)
            faded = np.ldexp(np.frombuffer(self._stored, np.float64), -min(whole, 1 << 30))
            alive = faded >= self._floor / 4
            self._keep(keys[alive], faded[alive])
        return math.exp2(doublings)

    def _sweep(self, now: float) -> None:
        """Drop what is dark; if that is not enough, also the weakest quarter of the capacity."""
        keep = self._capacity - self._capacity // 4 if len(self) > self._capacity else None
        keys, weights = self.cells(now, keep)
        self._keep(keys, weights * self._scale(now))
        self._sweep_at = min(max(4096, 2 * len(self)), self._capacity)

    def _keep(self, keys: Keys, stored: Weights) -> None:
        """Hold these cells and no others."""
        self._keys = array("Q", keys.astype(np.uint64).tobytes())
        self._stored = array("d", stored.astype(np.float64).tobytes())
        self._slots = {key: slot for slot, key in enumerate(keys.tolist())}
