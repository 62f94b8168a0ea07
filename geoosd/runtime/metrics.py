"""Metrics of one daemon: a Prometheus registry, and rates for people to read."""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from geoosd import __version__

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# A gauge with the time of its making beside each counter would double the text and tell nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _Process(Collector):
    """What the process costs, by the names of prometheus_client's own collector (proc_pid_stat(5)).

    That one wants /proc/stat, which a service with ``ProcSubset=pid`` does not have, and without it
    tells nothing at all.
    """

    def __init__(self) -> None:
        ticks = int(_own("stat").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        self._started = time.time() - age

    def collect(self) -> Iterator[Metric]:
        pages = [int(number) for number in _own("statm").split()]
        used = resource.getrusage(resource.RUSAGE_SELF)
        most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = most_files == resource.RLIM_INFINITY
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "CPU time, user and system, in seconds",
            value=used.ru_utime + used.ru_stime,
        )
        for name, text, value in (
            ("virtual_memory_bytes", "Virtual memory in bytes", pages[0] * _PAGE_BYTES),
            ("resident_memory_bytes", "Resident memory in bytes", pages[1] * _PAGE_BYTES),
            ("start_time_seconds", "When it was started, in seconds since 1970", self._started),
            ("open_fds", "Open file descriptors", len(list(Path("/proc/self/fd").iterdir()))),
            ("max_fds", "Most file descriptors", float("inf") if unlimited else most_files),
        ):
            yield GaugeMetricFamily(f"process_{name}", text, value=value)


def _own(name: str) -> str:
    return Path(f"/proc/self/{name}").read_text(encoding="ascii", errors="replace")


def new_registry() -> CollectorRegistry:
    """A registry with the process's own metrics and the version."""
    registry = CollectorRegistry()
    registry.register(_Process())
    build = Gauge("geoos_build_info", "Version of geoos; always 1", ["version"], registry=registry)
    build.labels(version=__version__).set(1)
    return registry


def exposition(registry: CollectorRegistry) -> str:
    """The registry in Prometheus text format 0.0.4."""
    return generate_latest(registry).decode()


def resident_bytes() -> int:
    """Resident memory of this process in bytes (proc_pid_statm(5))."""
    return int(_own("statm").split()[1]) * _PAGE_BYTES


def memory_limit() -> int | None:
    """Bytes that the service manager lets this process's control group have (cgroups(7))."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition(":")[2]
        limit = Path(f"/sys/fs/cgroup{group}/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(limit) if limit.isdigit() else None


class RateMeter:
    """Events per second over the last *window* seconds; times are of one monotonic clock."""

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._marks: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, n: int, now: float) -> None:
        """Count *n* events at *now*."""
        marks = self._marks
        if marks and now - marks[-1][0] < self._window / 50:
            # One mark per fiftieth of the window bounds the memory whatever the rate.
            marks[-1] = (marks[-1][0], marks[-1][1] + n)
        else:
            marks.append((now, n))
        self._total += n
        self._forget(now)

    def per_second(self, now: float) -> float:
        """The rate over the window that ends at *now*."""
        self._forget(now)
        return self._total / self._window

    def _forget(self, now: float) -> None:
        marks = self._marks
        while marks and now - marks[0][0] > self._window:
            self._total -= marks.popleft()[1]
