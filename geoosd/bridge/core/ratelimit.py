"""Rate limits: a token bucket for each client and each upstream, in its form as one time (GCRA).

Of a bucket only the time is kept at which it will be full again: it is full where that is past.
*now* is one monotonic clock in seconds; one that jumps back is no harm, since no bucket is ever
taken to be emptier than empty. Used by :mod:`..adapters.proxy` and :mod:`..adapters.asking`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

MAX_KEYS: Final = 4096
"""Buckets that one limit keeps; full ones are let go of without loss, then the oldest."""


class RateLimit:
    """At most *rate* requests a second, and at once as many as a second brings, at least one."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.burst = max(1, math.floor(rate))
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, now: float) -> float:
        """Take one of *key*'s requests: 0.0, or the seconds after which there will be one."""
        span = self.burst / self.rate
        full_at = min(max(self._full_at.get(key, now), now), now + span)
        wait = full_at + 1 / self.rate - (now + span)
        if wait > 1e-9:  # a rounding error is no reason to wait
            self._full_at[key] = full_at  # less than it was, where the clock went back
            return wait
        self._full_at[key] = full_at + 1 / self.rate
        self._full_at.move_to_end(key)
        if len(self._full_at) > MAX_KEYS:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        for key in [key for key, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[key]
        if len(self._full_at) > MAX_KEYS:
            self._full_at.popitem(last=False)


class RateLimits:
    """The limits of a bridge: one over clients and one for each upstream, where configured."""

    def __init__(self) -> None:
        self._client: RateLimit | None = None
        self._upstreams: dict[str, RateLimit] = {}

    def configure(self, client_rate: float | None, upstream_rates: Mapping[str, float]) -> None:
        """Take other rates, in requests per second; buckets of one that stays go on."""
        if client_rate is None:
            self._client = None
        elif self._client is None or self._client.rate != client_rate:
            self._client = RateLimit(client_rate)
        old = self._upstreams
        self._upstreams = {}
        for upstream, rate in upstream_rates.items():
            limit = old.get(upstream)
            same = limit is not None and limit.rate == rate
            self._upstreams[upstream] = limit if limit and same else RateLimit(rate)

    @property
    def limits_clients(self) -> bool:
        """Whether clients are limited at all."""
        return self._client is not None

    def client(self, key: str, now: float) -> float:
        """Take one request of a client: 0.0, or the seconds until it may ask."""
        return self._client.take(key, now) if self._client is not None else 0.0

    def upstream(self, upstream: str, now: float) -> float:
        """Take one request to an upstream: 0.0, or the seconds until it may be asked."""
        limit = self._upstreams.get(upstream)
        return limit.take("", now) if limit is not None else 0.0
