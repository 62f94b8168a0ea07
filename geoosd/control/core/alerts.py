"""Alerts: quantities beyond a threshold, from when they fired until they resolved.

The rules are those of :mod:`geoosd.wire.alerting`. An alert fires at once, and resolves when it has
been well for :data:`RESOLVE_SECONDS`, so that one that comes and goes is told of once. One whose
quantity is not known for the moment stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from geoosd.control.core.samples import buckets, percentile, read, total
from geoosd.control.core.trends import Increase
from geoosd.wire.alerting import Alert, Rule, alert

RESOLVE_SECONDS: Final = 30.0
_WINDOW: Final = 300.0
_RECENT: Final = 60.0
_RESTARTS: Final = 600.0

Turn: TypeAlias = tuple[Literal["fired", "resolved"], Alert]


class Alerts:
    """All rules and what fires. ``now`` is monotonic, ``wall`` seconds since the epoch."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._firing: dict[Rule, Alert] = {}
        self._beyond: dict[Rule, float] = {}

    @property
    def firing(self) -> list[Alert]:
        """What fires, in the order of the rules."""
        return [self._firing[rule] for rule in self._rules if rule in self._firing]

    def configure(self, rules: Iterable[Rule]) -> list[Turn]:
        """Use other rules; the alerts of those that are gone resolve."""
        self._rules = tuple(rules)
        gone = [rule for rule in self._firing if rule not in self._rules]
        return [("resolved", self._firing.pop(rule)) for rule in gone]

    def take(self, values: Mapping[str, float | None], now: float, wall: float) -> list[Turn]:
        """The quantities as of now; what fired or resolved."""
        turns: list[Turn] = []
        for rule in self._rules:
            value = values.get(rule.quantity)
            if value is not None:
                turns += self._judge(rule, value, now, wall)
        return turns

    def _judge(self, rule: Rule, value: float, now: float, wall: float) -> list[Turn]:
        old = self._firing.get(rule)
        if rule.is_beyond(value):
            self._beyond[rule] = now
            fresh = self._firing[rule] = alert(rule, value, wall if old is None else old.since)
            return [] if old is not None else [("fired", fresh)]
        if old is not None and now - self._beyond[rule] >= RESOLVE_SECONDS:
            del self._firing[rule]
            return [("resolved", alert(rule, value, old.since))]
        return []


class Quantities:
    """The quantities that rules may watch, from the daemons' metrics over time."""

    def __init__(self) -> None:
        self._grown = Increase(_WINDOW)
        self._flushes = Increase(_RECENT)
        self._restarts = Increase(_RESTARTS)

    def take(
        self,
        text: str,
        *,
        pas: float | None,
        restarts: int,
        down: int,
        now: float,
    ) -> dict[str, float | None]:
        """The quantities as of *now*, monotonic.

        *text* is the metrics of all daemons, *restarts* how many control saw in all, *down* how
        many daemons do not answer.
        """
        samples = read(text, _NAMES)
        failures = total(samples[_FAILURES])
        lost = sum(total(samples[name]) for name in _LOSSES)
        return {
            "pas": pas,
            "upstream_failures": self._grown.take(_FAILURES, failures, now),
            "broadcast_p99_ms": self._p99(_BROADCAST, samples[_BROADCAST], now),
            "pipeline_p99_ms": self._p99(_PIPELINE, samples[_PIPELINE], now),
            "lost_messages": self._grown.take("lost", lost, now),
            "restarts": self._restarts.take("restarts", restarts, now),
            "daemons_down": float(down),
        }

    def _p99(self, name: str, samples: list[tuple[str, float]], now: float) -> float | None:
        """Milliseconds that 99 of 100 observations of the last minute did not exceed.

        Among fewer than a hundred the slowest is left out: one hiccup is no alert. 0 where nothing
        is left, None where nobody counts.
        """
        grown = {
            bound: self._flushes.take(f"{name} {bound}", count, now)
            for bound, count in buckets(samples).items()
        }
        if not grown:
            return None
        count = max(grown.values())
        if count < 2:
            return 0.0
        seconds = percentile(grown, min(0.99, 1 - 1 / count))
        assert seconds is not None, "there are observations"
        return round(seconds * 1000, 3)


_FAILURES: Final = "geoos_upstream_failures_total"
_BROADCAST: Final = "broadcast_latency_seconds_bucket"
_PIPELINE: Final = "pipeline_latency_seconds_bucket"
_LOSSES: Final = ("geoos_outbox_dropped", "broadcast_dropped_total")
_NAMES: Final = (_FAILURES, _BROADCAST, _PIPELINE, *_LOSSES)
