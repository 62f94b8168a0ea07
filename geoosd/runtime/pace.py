"""How many calls a peer may make: a token bucket each, so that one cannot have it all.

The caller sleeps for as long as :meth:`Paces.spend` says before it goes on with that peer: it reads
no further meanwhile, and the kernel holds the peer back. Times are of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_PEERS: Final = 1024
"""Peers that are remembered; the one that called least recently is forgotten first."""


@dataclass
class _Bucket:
    tokens: float
    at: float


class Paces:
    """*rate* calls a second for each peer, and *burst* at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[int, _Bucket] = {}

    def spend(self, peer: int, now: float) -> float:
        """Count one call of *peer*; how many seconds it has to wait for it, 0 mostly."""
        bucket = self._buckets.pop(peer, None)
        if bucket is None:
            if len(self._buckets) >= MAX_PEERS:
                del self._buckets[next(iter(self._buckets))]
            bucket = _Bucket(self._burst, now)
        self._buckets[peer] = bucket
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate) - 1
        bucket.at = now
        return max(0.0, -bucket.tokens / self._rate)
