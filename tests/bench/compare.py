"""Compare two bench.json files: has a ratio become more than 10 % worse?

A file is ``{"version": 1, "results": [{"name": str, "ratio": float, "better": "higher" | "lower",
"low": float, "high": float}, ...]}``; further keys are kept for people. A ratio is ours against a
peer's in the same run, so that the machine drops out. ``low`` and ``high``, which may be missing,
are the extremes of its rounds: where the two files' ranges meet, the difference may be noise, and
is said but not held against anybody. A benchmark that is no longer there counts as worse: nothing
gets better by being left out.

    python tests/bench/compare.py COMMITTED NEW

Ends with 0 when nothing is worse, 1 when something is, 64 when a file cannot be used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOLERANCE = 0.10
VERSION = 1


@dataclass(frozen=True)
class Ratio:
    """One benchmark's ratio, which way is better, and the extremes of its rounds."""

    value: float
    better: str
    low: float | None = None
    high: float | None = None

    def worsening(self, new: float) -> float:
        """By which share of the old ratio *new* is worse; negative: better."""
        change = (self.value - new) / self.value
        return change if self.better == "higher" else -change

    def meets(self, new: Ratio) -> bool:
        """Whether some round was no better than some round of *new*, where the rounds are known."""
        if self.low is None or self.high is None or new.low is None or new.high is None:
            return False
        return self.low <= new.high if self.better == "higher" else new.low <= self.high


def ratios(document: Mapping[str, Any]) -> dict[str, Ratio]:
    """The ratios of a bench.json by name. Raises ValueError that says what is wrong with it."""
    if document.get("version") != VERSION:
        raise ValueError(f"its version is {document.get('version')!r}, not {VERSION}")
    found: dict[str, Ratio] = {}
    for entry in document.get("results", []):
        name, value, better = (entry.get(key) for key in ("name", "ratio", "better"))
        if not isinstance(name, str) or name in found:
            raise ValueError(f"a result has no name of its own: {name!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{name}: ratio is {value!r}, not a number above 0")
        if better not in ("higher", "lower"):
            raise ValueError(f"{name}: better is {better!r}, not higher or lower")
        found[name] = Ratio(float(value), better, *_range(name, entry))
    return found


def _range(name: str, entry: Mapping[str, Any]) -> tuple[float, float] | tuple[None, None]:
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None:
        return None, None
    numbers = all(isinstance(each, int | float) for each in (low, high))
    if not (numbers and 0 < low <= entry["ratio"] <= high):
        raise ValueError(f"{name}: {low!r} to {high!r} is no range around its ratio")
    return float(low), float(high)


def compare(old: Mapping[str, Ratio], new: Mapping[str, Ratio]) -> tuple[list[str], list[str]]:
    """One line for each benchmark, and the names of those that became worse."""
    lines: list[str] = []
    worse: list[str] = []
    for name, before in sorted(old.items()):
        after = new.get(name)
        if after is None:
            lines.append(f"{name}: {before.value:.3g} -> missing  WORSE")
            worse.append(name)
            continue
        share = before.worsening(after.value)
        verdict = ""
        if share > TOLERANCE + 1e-9:
            verdict = "  worse, or noise: the rounds overlap" if before.meets(after) else "  WORSE"
        lines.append(
            f"{name}: {before.value:.3g} -> {after.value:.3g} "
            f"({-share:+.1%}, {before.better} is better){verdict}"
        )
        if verdict == "  WORSE":
            worse.append(name)
    lines += [f"{name}: new, {new[name].value:.3g}" for name in sorted(new.keys() - old.keys())]
    return lines, worse


def main(arguments: Sequence[str]) -> int:
    """Compare the two files that *arguments* name."""
    if len(arguments) != 2:
        print("usage: compare.py COMMITTED NEW", file=sys.stderr)
        return 64
    committed, fresh = map(Path, arguments)
    if not committed.exists():
        print(f"nothing to compare with: no benchmark is committed yet ({committed})")
        return 0
    tables = []
    for path in (committed, fresh):
        try:
            tables.append(ratios(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            print(f"cannot compare: {path}: {error}", file=sys.stderr)
            return 64
    lines, worse = compare(*tables)
    print("\n".join(lines))
    if worse:
        print(f"worse by more than {TOLERANCE:.0%}: {', '.join(worse)}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
