"""Recommendations: each follows from evidence in the report, and says what it would give.

The gain is what the mean of the four would rise by if all of it were mended; where that cannot be
said beforehand, nothing is promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from geoosd.structure.layout import ROOT
from geoosd.structure.report import DIMENSION_THRESHOLD, Cycle, Offender, Subsystem, Wide

_RULES: Final = {
    "docstring": ("say what it is in the first line of", "module"),
    "naming": ("rename as the language's convention wants in", "module"),
    "length": ("split", "module"),
    "contracts": ("keep the import contracts, or change what they promise:", "broken one"),
}


@dataclass(frozen=True)
class Evidence:
    """What advice is drawn from."""

    terms: dict[str, float]
    stability: float
    subsystems: list[Subsystem]
    cycles: list[Cycle]
    cycle_share: float
    hub: Wide | None
    modules: int
    offenders: dict[str, list[Offender]] = field(default_factory=dict[str, list[Offender]])


def recommendations(found: Evidence) -> list[str]:
    """One sentence each: the gravest dimension's first, then by gain."""
    listed = [
        *_integrity(found), *_cycles(found), *_evenness(found), *_rules(found), *_stability(found)
    ]  # fmt: skip
    return [words for _, words in sorted(listed, key=lambda each: -each[0])]


def _gain(gain: float) -> str:
    return f" (up to +{gain:.3f})" if gain >= 0.0005 else ""


def _first(offender: Offender) -> str:
    return f"{offender.file}:{offender.line}" if offender.line else offender.file


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _integrity(found: Evidence) -> Iterator[tuple[float, str]]:
    for rule, word in (("parse", "syntax error"), ("imports", "unresolved import")):
        offenders = found.offenders.get(rule, [])
        if offenders:
            gain = 0.25 * 0.5 * (1 - found.terms[rule])
            first = _first(offenders[0])
            yield gain, f"mend {_count(len(offenders), word)}, first {first}{_gain(gain)}"


def _cycles(found: Evidence) -> Iterator[tuple[float, str]]:
    if found.cycles:
        cycle = found.cycles[0]
        gain = 0.25 * (0.3 if "evenness" in found.terms else 1.0) * found.cycle_share
        which = "the cycle" if len(found.cycles) == 1 else f"{len(found.cycles)} cycles, first"
        path = f"{' → '.join(cycle.path)} ({cycle.file}:{cycle.line})"
        yield gain, f"break {which} {path}: let both sides import a third{_gain(gain)}"


def _evenness(found: Evidence) -> Iterator[tuple[float, str]]:
    evenness = found.terms.get("evenness", 1.0)
    if evenness < DIMENSION_THRESHOLD:
        named = [each for each in found.subsystems if each.name != ROOT]
        share = 100 * named[0].files / sum(each.files for each in named)
        gain = 0.25 * 0.7 * (1 - evenness)
        words = f"divide {named[0].name}: it has {share:.0f} % of the files in subsystems"
        yield gain, f"{words}{_gain(gain)}"


def _rules(found: Evidence) -> Iterator[tuple[float, str]]:
    applied = [rule for rule in _RULES if rule in found.terms]
    for rule in applied:
        offenders = found.offenders.get(rule, [])
        if offenders:
            gain = 0.25 / len(applied) * (1 - found.terms[rule])
            words, noun = _RULES[rule]
            count, first = _count(len(offenders), noun), _first(offenders[0])
            yield gain, f"{words} {count}, first {first}{_gain(gain)}"


def _stability(found: Evidence) -> Iterator[tuple[float, str]]:
    """The module in the middle: most pairs of modules see each other through it."""
    if found.stability < DIMENSION_THRESHOLD and found.hub is not None:
        hub = found.hub
        yield (
            0.0,
            f"narrow {hub.module}: what changes in {hub.depends} modules reaches {hub.reaches} "
            f"others through it, of {found.modules}; cut its imports, or divide it",
        )
