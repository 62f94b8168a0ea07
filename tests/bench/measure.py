"""How the benchmarks measure: alternation, medians, and what a result is. Pure but for the clock.

Absolute numbers of a shared machine mean little. So the subject and its peers take turns within one
run (A B C A B C ...), a ratio is taken within each round, and what is reported is the median of the
rounds with the lowest and the highest. Where a target speaks of CPU-seconds, those are measured and
not time. :mod:`.report` shows the results, :mod:`.compare` compares two runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Better: TypeAlias = Literal["higher", "lower"]
Turn: TypeAlias = Callable[[], float]
"""One turn of a contestant: a rate or a cost, measured."""


@dataclass(frozen=True)
class Pace:
    """How thorough a run is: *rounds* of alternation, each turn *seconds* long or so."""

    rounds: int
    seconds: float
    quick: bool


FULL = Pace(rounds=7, seconds=1.0, quick=False)
QUICK = Pace(rounds=3, seconds=0.25, quick=True)


@dataclass(frozen=True)
class Target:
    """The bound that product targets set, on a ratio or on a value."""

    bound: float
    better: Better

    def is_met(self, value: float) -> bool:
        """Whether *value* is on the right side of the bound, or on it."""
        return value >= self.bound if self.better == "higher" else value <= self.bound


@dataclass(frozen=True)
class Ratio:
    """Ours against a peer's in the same run: the machine drops out, as far as it can.

    ``ours`` and ``peer`` are medians in ``unit``; ``ratio`` is the median of the rounds' ratios,
    ``low`` and ``high`` the extremes among them.
    """

    name: str
    unit: str
    ours: float
    peer: float
    ratio: float
    low: float
    high: float
    better: Better
    target: Target | None = None


@dataclass(frozen=True)
class Value:
    """A measurement without a peer: it holds for this machine alone, and is never compared."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    target: Target | None = None


@dataclass(frozen=True)
class Skipped:
    """What this machine could not run, and why."""

    name: str
    reason: str


Result: TypeAlias = Ratio | Value | Skipped


def at_least(bound: float) -> Target:
    """A target that more is better than."""
    return Target(bound, "higher")


def at_most(bound: float) -> Target:
    """A target that less is better than."""
    return Target(bound, "lower")


def alternate(contestants: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Let the contestants take turns, *rounds* times; what each measured, by name."""
    if rounds < 1 or not contestants:
        raise ValueError(f"cannot measure {len(contestants)} contestants in {rounds} rounds")
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, turn in contestants.items():
            measured[name].append(turn())
    return measured


def ratio(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float],
    better: Better,
    target: Target | None = None,
) -> Ratio:
    """The ratio of two contestants of one alternation."""
    shares = [one / other for one, other in zip(ours, peer, strict=True)]
    return Ratio(
        name,
        unit,
        statistics.median(ours),
        statistics.median(peer),
        statistics.median(shares),
        min(shares),
        max(shares),
        better,
        target,
    )


def value(name: str, unit: str, measured: Sequence[float], target: Target | None = None) -> Value:
    """The median of what was measured."""
    return Value(
        name, unit, statistics.median(measured), min(measured), max(measured), target=target
    )


def percentile(histogram: Sequence[int], share: float) -> int:
    """The first bin at or below which *share* (0..1) of the counts lie."""
    total = sum(histogram)
    if not total:
        raise ValueError("cannot take a percentile of nothing")
    reached = 0
    for bin_, count in enumerate(histogram):
        reached += count
        if reached >= share * total:
            return bin_
    raise AssertionError("unreachable: the last bin holds the rest")


def cpu_rate(work: Callable[[], int], seconds: float) -> float:
    """Do *work*, which says how many units it did, for about *seconds* of this process's CPU time;
    units per CPU-second.
    """
    done = 0
    began = time.process_time()
    while (spent := time.process_time() - began) < seconds or not done:
        done += work()
    return done / spent


def cpu_cost(work: Callable[[], object], seconds: float) -> float:
    """CPU-milliseconds of one *work*, the median of as many as fit into *seconds*."""
    costs: list[float] = []
    end = time.process_time() + seconds
    while not costs or time.process_time() < end:
        began = time.process_time()
        work()
        costs.append((time.process_time() - began) * 1000)
    return statistics.median(costs)


def results_of(found: Iterator[Result] | Sequence[Result]) -> list[Result]:
    """All results, each name once. Raises ValueError for a name that is there twice."""
    results = list(found)
    names = [result.name for result in results]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"cannot use two results of one name: {', '.join(sorted(twice))}")
    return results
