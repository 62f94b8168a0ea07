"""Reading samples from a Prometheus text, and percentiles from histograms.

A percentile is that of ``histogram_quantile()``: linear within the bucket that it falls into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\S+)?")
_BOUND: Final = re.compile(r'\ble="([^"]*)"')


def read(text: str, names: Iterable[str]) -> dict[str, list[tuple[str, float]]]:
    """The samples of *names*: their labels as they stand in the text, and their values."""
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in names}
    for line in text.splitlines():
        matched = _SAMPLE.fullmatch(line)
        if matched is None or matched[1] not in found:
            continue
        try:
            value = float(matched[3])
        except ValueError:
            continue
        found[matched[1]].append((matched[2] or "", value))
    return found


def total(samples: Sequence[tuple[str, float]]) -> float:
    """The sum over all labels."""
    return sum(value for _, value in samples)


def buckets(samples: Sequence[tuple[str, float]]) -> dict[float, float]:
    """Cumulated counts of ``_bucket`` samples by upper bound, summed over all other labels."""
    found: dict[float, float] = {}
    for labels, value in samples:
        if (bound := _BOUND.search(labels)) is not None:
            upper = float(bound[1])
            found[upper] = found.get(upper, 0.0) + value
    return found


def percentile(grown: Mapping[float, float], share: float) -> float | None:
    """The value below which *share* of the observations lie; None where there are none.

    *grown* are cumulated counts by upper bound. What lies above the last finite bound counts as
    that.
    """
    bounds = sorted(grown)
    if not bounds or not (count := grown[bounds[-1]]):
        return None
    wanted = share * count
    below, lower = 0.0, 0.0
    for bound in bounds:
        if grown[bound] >= wanted:
            if bound == float("inf"):
                return lower
            part = grown[bound] - below
            return lower + (bound - lower) * ((wanted - below) / part if part else 1.0)
        below, lower = grown[bound], bound
    return lower
