"""What several workers say of themselves, as one: status, health and metrics.

Workers read the same feed, so what they tell of it is the same for all, and the largest counts;
what they tell of their viewers adds up. Counters go on where they were when a worker is started
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from geoosd.wire.reports import SEVERITY, Check, DaemonHealth, DaemonStatus, Link, Queue

_SAME_QUEUES: Final = ("ring",)
_SAME_FAMILIES: Final = ("broadcast_messages", "broadcast_pictures", "broadcast_queue_depth")
_CUMULATIVE: Final = ("counter", "histogram")
_SUMMED_DETAILS: Final = ("viewers", "lagging", "prompts")


def status_of(statuses: Mapping[int, DaemonStatus]) -> DaemonStatus:
    """One status of *statuses* by worker, at least one: that of the worker furthest in the feed,
    with the sums and the worst of all.
    """
    first = max(statuses.values(), key=lambda status: int(status.details.get("seq", 0)))
    sums = {
        key: str(sum(int(status.details.get(key, 0)) for status in statuses.values()))
        for key in _SUMMED_DETAILS
    }
    count = int(sums["viewers"])
    rates: dict[str, float] = {}
    for status in statuses.values():
        for name, rate in status.rates.items():
            rates[name] = max(rate, rates.get(name, 0.0))
    return DaemonStatus(
        name=first.name,
        state=first.state,
        status=f"{count} viewer{'' if count == 1 else 's'}",
        pid=first.pid,
        version=first.version,
        since=min(status.since for status in statuses.values()),
        memory_bytes=sum(status.memory_bytes for status in statuses.values()),
        addresses=first.addresses,
        rates=rates,
        queues=list(_queues(statuses.values())),
        links=[
            Link(f"{link.name} {worker}", link.peer, link.state, link.since, link.reconnects)
            for worker, status in sorted(statuses.items())
            for link in status.links
        ],
        details={**first.details, **sums},
    )


def _queues(statuses: Iterable[DaemonStatus]) -> Iterator[Queue]:
    by_name: dict[str, list[Queue]] = {}
    for status in statuses:
        for queue in status.queues:
            by_name.setdefault(queue.name, []).append(queue)
    for name, queues in by_name.items():
        lost = [queue.dropped for queue in queues]
        yield Queue(
            name,
            max(queue.depth for queue in queues),
            max(queue.capacity for queue in queues),
            queues[0].policy,
            max(lost) if name in _SAME_QUEUES else sum(lost),
        )


def checks_of(healths: Mapping[int, DaemonHealth]) -> list[Check]:
    """The checks of all workers, each once: the worst verdict, and which worker says what."""
    by_name: dict[str, list[tuple[int, Check]]] = {}
    for worker, health in sorted(healths.items()):
        for check in health.checks:
            by_name.setdefault(check.name, []).append((worker, check))
    return [_check_of(found) for found in by_name.values()]


def _check_of(found: list[tuple[int, Check]]) -> Check:
    worst = max((check for _worker, check in found), key=lambda check: SEVERITY[check.status])
    said = {check.summary for _worker, check in found}
    summary = worst.summary
    if len(said) > 1:
        summary = "; ".join(f"worker {worker}: {check.summary}" for worker, check in found)
    return Check(worst.name, worst.status, summary, worst.remedy, worst.since)


class Sample(NamedTuple):
    """What a sample of Prometheus' text format is known by."""

    family: str
    kind: str
    name: str
    labels: tuple[tuple[str, str], ...]


Samples = Mapping[Sample, float]


class Totals:
    """The samples of all workers, added up."""

    def __init__(self) -> None:
        self._lives: dict[int, object] = {}
        self._now: dict[int, Samples] = {}
        self._before: dict[int, dict[Sample, float]] = {}

    def take(self, worker: int, life: object, samples: Samples) -> None:
        """Note what *worker* says; *life* is another one once it was started again."""
        before = self._before.setdefault(worker, {})
        if self._lives.setdefault(worker, life) != life:
            self._lives[worker] = life
            for sample, value in self._now[worker].items():
                if sample.kind in _CUMULATIVE:
                    before[sample] = before.get(sample, 0.0) + value
        self._now[worker] = samples

    def all(self, present: Iterable[int]) -> dict[Sample, float]:
        """Every sample; a worker that is not *present* counts with what it has done so far."""
        here = set(present)
        totals: dict[Sample, float] = {}
        for worker, now in self._now.items():
            before = self._before[worker]
            for sample in {**before, **now}:
                if sample.kind not in _CUMULATIVE and worker not in here:
                    continue
                value = before.get(sample, 0.0) + now.get(sample, 0.0)
                old = totals.get(sample, 0.0)
                same = sample.family in _SAME_FAMILIES
                totals[sample] = max(old, value) if same else old + value
        return totals
