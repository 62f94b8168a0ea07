"""What a run found, as bench.json (for :mod:`.compare`) and as tables for people.

``results`` of bench.json are the ratios; ``values`` hold for that machine alone, ``skipped`` says
what could not be run. Tables fit 80 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from measure import Ratio, Result, Skipped, Target, Value

VERSION = 1
_NAME = 34
_ROW = f"{{:<{_NAME}}} {{:>8}} {{:>8}} {{:>6}} {{:>11}} {{:>8}}"
_HEAD = ("", "ours", "peer", "ratio", "range", "target")
WIDTH = 80


def document(
    results: Sequence[Result], machine: Mapping[str, Any], made: str, mode: str
) -> dict[str, Any]:
    """bench.json. *made* is an ISO date and time, *mode* ``full`` or ``quick``."""
    return {
        "version": VERSION,
        "made": made,
        "mode": mode,
        "machine": dict(machine),
        "results": [_entry(each) for each in results if isinstance(each, Ratio)],
        "values": [_entry(each) for each in results if isinstance(each, Value)],
        "skipped": [asdict(each) for each in results if isinstance(each, Skipped)],
    }


def results_of(document: Mapping[str, Any]) -> list[Result]:
    """The results of a bench.json: what :func:`document` was given, the ratios first."""
    ratios = [Ratio(**_fields(entry)) for entry in document["results"]]
    values = [Value(**_fields(entry)) for entry in document["values"]]
    return [*ratios, *values, *(Skipped(**entry) for entry in document["skipped"])]


def table(results: Iterable[Result]) -> str:
    """A table for a terminal of 80 columns."""
    lines = [_ROW.format(*_HEAD).rstrip(), "-" * WIDTH]
    for group, rows in _groups(results):
        lines.append(group)
        for row in rows:
            if isinstance(row, Skipped):
                text = f"  {_short(row.name)}: skipped: {row.reason}"
                lines += textwrap.wrap(text, WIDTH, subsequent_indent="    ")
            else:
                name = f"  {_short(row.name)}"
                if len(name) > _NAME:  # on a line of its own: the columns stay where they are
                    lines.append(name)
                    name = ""
                lines.append(_ROW.format(name, *_cells(row)).rstrip())
    return "\n".join(lines)


def markdown(results: Iterable[Result]) -> str:
    """The same table in Markdown."""
    lines = ["| benchmark | ours | peer | ratio | range | target |", "|---|--:|--:|--:|--:|--:|"]
    for group, rows in _groups(results):
        lines.append(f"| **{group}** | | | | | |")
        for row in rows:
            cells = ["skipped", "", "", row.reason, ""] if isinstance(row, Skipped) else _cells(row)
            lines.append(f"| {_short(row.name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def number(amount: float) -> str:
    """Three digits that count, with k or M: 0.0123, 4.56, 789, 12.3k."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(amount) >= limit * 0.9995:
            return _digits(amount / limit) + unit
    return _digits(amount)


def _digits(amount: float) -> str:
    if amount == 0:
        return "0"
    size = abs(amount)
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.0995 else 3
    return f"{amount:.{places}f}"


def _cells(row: Ratio | Value) -> list[str]:
    spread = f"{number(row.low)}-{number(row.high)}" if row.low != row.high else ""
    if isinstance(row, Ratio):
        ours, peer = (number(each) + row.unit for each in (row.ours, row.peer))
        return [ours, peer, number(row.ratio), spread, _verdict(row.target, row.ratio)]
    return [number(row.value) + row.unit, "", "", spread, _verdict(row.target, row.value)]


def _verdict(target: Target | None, amount: float) -> str:
    if target is None:
        return ""
    sign = "≥" if target.better == "higher" else "≤"
    return f"{sign}{number(target.bound)} {'✓' if target.is_met(amount) else '✗'}"


def _groups(results: Iterable[Result]) -> list[tuple[str, list[Result]]]:
    """By the part of the name before the colon, in order of appearance."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.name.partition(":")[0], []).append(result)
    return list(groups.items())


def _short(name: str) -> str:
    return name.partition(":")[2].strip() or name


def _entry(result: Ratio | Value) -> dict[str, Any]:
    entry = asdict(result)
    if result.target is not None:
        met = result.target.is_met(result.ratio if isinstance(result, Ratio) else result.value)
        entry["target"]["met"] = met
    return {
        key: float(f"{each:.4g}") if isinstance(each, float) else each
        for key, each in entry.items()
    }


def _fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(entry)
    if target := fields["target"]:
        fields["target"] = Target(target["bound"], target["better"])
    return fields
