"""Merging what the daemons answered: metrics texts into one, log records by time.

The metrics format is Prometheus' text format 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/): HELP and TYPE stand once per family
and all samples of a family stand together.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import merge

from geoosd.wire.reports import Record

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\]|\\.)*")')
_SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+(?P<value>\S.*)'
)
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


@dataclass
class _Family:
    """One metric of all daemons; ``comments`` stand before the samples."""

    name: str
    kind: str | None = None
    help: str | None = None
    samples: list[str] = field(default_factory=list[str])
    left_out: list[str] = field(default_factory=list[str])

    def lines(self) -> Iterable[str]:
        """The family as text."""
        for daemon in self.left_out:
            yield f"# {self.name} of {daemon} is left out: it has another type there"
        if self.samples and self.help is not None:
            yield f"# HELP {self.name} {self.help}"
        if self.samples and self.kind is not None:
            yield f"# TYPE {self.name} {self.kind}"
        yield from self.samples


def merge_metrics(texts: Mapping[str, str]) -> str:
    """One exposition of the *texts* by daemon.

    Every sample gets the label ``daemon``; one of that name that is there already becomes
    ``exported_daemon``, as a Prometheus server would do. The first help text of a family counts; a
    daemon that gives a family another type than the first one did is left out of it, said in a
    comment. Lines that are no samples are dropped.
    """
    families: dict[str, _Family] = {}
    for daemon, text in texts.items():
        _add_text(families, daemon, text)
    lines = [line for family in families.values() for line in family.lines()]
    return "".join(f"{line}\n" for line in lines)


def _add_text(families: dict[str, _Family], daemon: str, text: str) -> None:
    kinds: dict[str, str] = {}
    helps: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            _note(line, kinds, helps)
        elif found := _SAMPLE.fullmatch(line.strip()):
            name = _family_name(found["name"], kinds)
            kind = kinds.get(name)
            family = families.setdefault(name, _Family(name, kind, helps.get(name)))
            if family.kind != kind:
                if daemon not in family.left_out:
                    family.left_out.append(daemon)
                continue
            labels = _labels(daemon, found["labels"] or "")
            family.samples.append(f"{found['name']}{{{labels}}} {found['value']}")


def _note(line: str, kinds: dict[str, str], helps: dict[str, str]) -> None:
    """Take a HELP or TYPE line; any other comment is dropped."""
    _, _, rest = line.partition("# ")
    keyword, _, rest = rest.partition(" ")
    name, _, value = rest.partition(" ")
    if keyword == "HELP":
        helps[name] = value
    elif keyword == "TYPE":
        kinds[name] = value.strip()


def _family_name(sample: str, kinds: Mapping[str, str]) -> str:
    """The family of a sample: ``x_bucket``, ``x_sum`` and ``x_count`` belong to ``x``."""
    stem = _SUFFIX.sub("", sample)
    return stem if sample not in kinds and stem in kinds else sample


def _labels(daemon: str, labels: str) -> str:
    own = [
        f"{'exported_daemon' if name == 'daemon' else name}={value}"
        for name, value in _LABEL.findall(labels)
    ]
    return ",".join([f'daemon="{daemon}"', *own])


def merge_records(by_daemon: Iterable[list[Record]], lines: int) -> list[Record]:
    """The newest *lines* of all records by time; each list is oldest first.

    Records of one daemon keep their order even if its clock was set back meanwhile.
    """
    merged = list(merge(*by_daemon, key=lambda record: record.timestamp))
    return merged[len(merged) - min(lines, len(merged)) :]


class Cursor:
    """Which records of one daemon were taken already.

    A follower subscribes again when a daemon comes back, and the ring then repeats what it holds:
    :meth:`take` is True once for each record that is not older than *floor* (seconds since the
    epoch). At most *remembered* records are known by heart.
    """

    __slots__ = ("_floor", "_order", "_taken")

    def __init__(self, floor: float, remembered: int = 4096) -> None:
        self._floor = floor
        self._order: deque[tuple[float, str, str | None]] = deque(maxlen=remembered)
        self._taken: set[tuple[float, str, str | None]] = set()

    def take(self, record: Record) -> bool:
        """Whether *record* is new; from now on it is not."""
        key = (record.timestamp, record.event, record.session)
        if record.timestamp < self._floor or key in self._taken:
            return False
        if len(self._order) == self._order.maxlen:
            self._taken.discard(self._order[0])
        self._order.append(key)
        self._taken.add(key)
        return True
