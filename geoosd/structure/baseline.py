"""A ratchet: counts that must not get worse, whatever the score does.

A score can stay the same while one thing improves and another decays; the counts cannot. A
baseline is a small JSON file beside the tree, written by ``geoosctl structure --write-baseline``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from geoosd.errors import GeoosError, reason_of
from geoosd.structure.report import FORMULA, Report
from geoosd.structure.untyped import table

RATCHETED: Final = (
    "parse_failures",
    "unresolved_imports",
    "cycles",
    "cyclic_modules",
    "without_docstring",
    "misnamed",
    "too_long",
    "broken_contracts",
)
"""Counts of which more is worse."""
KEPT: Final = ("contracts",)
"""Counts of which fewer is worse."""


@dataclass(frozen=True)
class Change:
    """A count that differs from the baseline's."""

    name: str
    before: int
    now: int
    worse: bool


def compare(report: Report, path: Path) -> list[Change]:
    """What differs from the baseline at *path*, the worse first.

    Raises GeoosError where the file cannot be read, or is of another formula.
    """
    before = _read(path)
    changes = [
        Change(name, before[name], now, (now > before[name]) is (name in RATCHETED))
        for name, now in _counts(report).items()
        if now != before[name]
    ]
    return sorted(changes, key=lambda each: not each.worse)


def write(report: Report, path: Path) -> None:
    """Make the counts of *report* the baseline. Raises GeoosError where that cannot be."""
    content = {"formula": FORMULA, "counts": _counts(report)}
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise GeoosError(f"cannot write the baseline {path}: {reason_of(error)}") from None


def _counts(report: Report) -> Mapping[str, int]:
    if report.score is None:
        raise GeoosError(f"cannot hold {report.tree} to a baseline: {report.reason}")
    return {name: report.counts[name] for name in (*RATCHETED, *KEPT)}


def _read(path: Path) -> Mapping[str, int]:
    again = "write it anew with --write-baseline"
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        reason = reason_of(error)
        raise GeoosError(f"cannot read the baseline {path}: {reason}; {again}") from None
    except ValueError as error:
        raise GeoosError(f"cannot read the baseline {path}: {error}; {again}") from None
    if table(content).get("formula") != FORMULA:
        raise GeoosError(f"cannot use the baseline {path}: it is of another formula; {again}")
    known = table(table(content).get("counts"))
    missing = [name for name in (*RATCHETED, *KEPT) if not isinstance(known.get(name), int)]
    if missing:
        raise GeoosError(f"cannot use the baseline {path}: it has no {missing[0]}; {again}")
    return known
