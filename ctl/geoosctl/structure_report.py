"""The look of a structure report: what is wrong and what to do first, then the evidence.

Every line fits 80 columns, or the terminal where that is wider, up to 120.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

from geoosctl import cells, output
from geoosd.structure.baseline import Change
from geoosd.structure.churn import Hot
from geoosd.structure.report import (
    DIMENSION_THRESHOLD,
    OVERALL_THRESHOLD,
    Offender,
    Report,
    Subsystem,
    judged,
)

_BAR: Final = 20
_SHOWN: Final = 3
"""Offenders of a rule and further cycles that are shown without --debug."""
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_RULES: Final = {
    "parse": "do not parse",
    "imports": "unresolved imports",
    "docstring": "without a docstring",
    "naming": "named against the convention",
    "length": "longer than 500 lines",
    "contracts": "broken contracts",
}


def lines(report: Report, changes: Sequence[Change] | None, *, debug: bool) -> list[str]:
    """The report; with *changes* against a baseline; with every offender where *debug* is set."""
    return [*_lines(report, changes, debug)]


def _lines(report: Report, changes: Sequence[Change] | None, debug: bool) -> Iterator[str]:
    word = output.colored(report.status, bold=True)
    reason = f" ({output.visible(report.reason)})" if report.reason else ""
    if report.score is None:
        yield from _hanging(f"{word}: ", f"{report.reason} in {report.tree}")
        return
    formula = click.style(f"formula version {report.formula}", dim=True)
    yield f"PAS {click.style(_three(report.score), bold=True)}  {word}{reason}  {formula}"
    yield from _hanging("", report.tree, dim=True)
    yield ""
    yield _value("overall", report.score, OVERALL_THRESHOLD, "")
    for name, dimension in report.dimensions.items():
        yield _value(name, dimension.value, DIMENSION_THRESHOLD, _made_of(name, report))
    if changes is not None:
        yield ""
        yield from _changes(changes)
    if report.recommendations:
        yield ""
        for words in report.recommendations:
            yield from _hanging("→ ", words)
    yield from _cycles(report, debug)
    for rule, title in _RULES.items():
        yield from _offenders(title, report.offenders.get(rule, []), debug)


def _value(name: str, value: float, threshold: float, made_of: str) -> str:
    color = output.COLORS[judged(value, threshold)]
    bar = click.style(_bar(value), fg=color)
    beside = "  " + click.style(made_of, dim=True) if made_of else ""
    return f"{name:<11}  {_three(value)}  {bar}{beside}"


def _three(value: float) -> str:
    """Three digits, rounded down: 1.000 is nothing less."""
    return f"{math.floor(value * 1000 + 1e-9) / 1000:.3f}"


def _bar(share: float) -> str:
    """*share* of _BAR cells, in eighths; full only where it is 1."""
    eighths = int(share * _BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(_BAR, "·")


def _made_of(name: str, report: Report) -> str:
    """The counts behind a dimension, in at most 40 columns."""
    counts, terms = report.counts, report.terms
    if name == "symmetry":
        evenness = f"evenness {_three(terms['evenness'])}, " if "evenness" in terms else ""
        return f"{evenness}{counts['cyclic_modules']} of {counts['files']} in cycles"
    if name == "integrity":
        failing = f"{counts['parse_failures']} of {counts['files']} unparsed"
        return f"{failing}, {counts['unresolved_imports']}/{counts['imports']} unresolved"
    if name == "stability":
        return f"a change reaches {100 * terms['propagation']:.1f} % of modules"
    rules = [rule for rule in ("docstring", "naming", "length", "contracts") if rule in terms]
    broken = sum(len(report.offenders[rule]) for rule in rules)
    return f"{output.count(len(rules), 'rule')}, {output.count(broken, 'offence')}"


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    if not changes:
        yield f"{output.colored('healthy')}  every count is as in the baseline"
    for each in changes:
        word = "critical" if each.worse else "healthy"
        what = "worse than" if each.worse else "better than"
        name = each.name.replace("_", " ")
        yield f"{output.colored(word)}  {name}: {each.now}, {what} the baseline's {each.before}"
    if changes and not any(each.worse for each in changes):
        yield "          hold it there with --write-baseline"


def _cycles(report: Report, debug: bool) -> Iterator[str]:
    if not report.cycles:
        return
    yield ""
    yield click.style(output.count(len(report.cycles), "import cycle"), bold=True)
    shown = report.cycles if debug else report.cycles[:_SHOWN]
    for cycle in shown:
        path = " → ".join(cycle.path)
        knot = f" [{cycle.modules} modules]" if cycle.modules > len(cycle.path) - 1 else ""
        yield from _hanging("  ", f"{path}{knot} {cycle.file}:{cycle.line}", further="    ")
    yield from _more(len(report.cycles) - len(shown))


def _offenders(title: str, offenders: Sequence[Offender], debug: bool) -> Iterator[str]:
    if not offenders:
        return
    yield ""
    yield click.style(f"{title}: {len(offenders)}", bold=True)
    shown = offenders if debug else offenders[:_SHOWN]
    for each in shown:
        place = f"{each.file}:{each.line}" if each.line else each.file
        words = f"{place}: {each.message}" if place else each.message
        yield from _hanging("  ", words, further="    ")
    yield from _more(len(offenders) - len(shown))


def _more(count: int) -> Iterator[str]:
    if count:
        yield click.style(f"  and {count} more: --debug", dim=True)


# -- --debug ---------------------------------------------------------------------------------------


def debug_lines(
    report: Report, hot: Sequence[Hot], hits: int, misses: int, seconds: float
) -> list[str]:
    """What was counted: subsystems, entropy, the widest modules, churn, raw counts, the cache."""
    found: list[str] = []
    if report.score is not None:
        found += ["", *_subsystems(report.subsystems, report.entropy)]
        found += ["", *_widest(report)]
        found += ["", *_churn(hot)]
    if report.counts:
        found += ["", click.style("counts", bold=True), *_paragraph(_counts(report.counts))]
    if report.notes:
        found += ["", click.style("notes", bold=True)]
        found += [line for note in report.notes for line in _hanging("  ", note, further="    ")]
    files = hits + misses
    share = f" ({100 * hits / files:.0f} %)" if files else ""
    found += ["", f"cache: {hits} of {files} files known{share}; took {seconds:.2f} s"]
    return found


def _subsystems(subsystems: Sequence[Subsystem], entropy: float) -> Iterator[str]:
    import statistics  # costs milliseconds that only --debug should pay

    yield click.style("files per subsystem", bold=True)
    largest = max(each.files for each in subsystems)
    width = min(40, max(len(each.name) for each in subsystems))
    for each in subsystems:
        name = cells.pad(cells.shorten(output.visible(each.name), width), width)
        bar = _bar(each.files / largest).rstrip("·")
        yield f"  {name}  {each.files:>5}  {bar}"
    sizes = [each.files for each in subsystems if each.name != "(root)"]
    if sizes:
        yield (
            f"  median {statistics.median(sizes):g}, mean {statistics.fmean(sizes):.1f}, "
            f"max {max(sizes)}, min {min(sizes)}; entropy {entropy:.3f} bits"
        )


def _widest(report: Report) -> Iterator[str]:
    yield click.style("widest modules: how many a change reaches, on how many they rest", bold=True)
    for each in report.widest:
        yield f"  {each.reaches:>5}  {each.depends:>5}  {_fit(each.module, 16)}"
    if not report.widest:
        yield "  none: no module imports another"


def _churn(hot: Sequence[Hot]) -> Iterator[str]:
    yield click.style("churn × size, last year (not scored)", bold=True)
    for each in hot:
        yield f"  {each.commits:>4} × {each.lines:>5}  {_fit(each.file, 16)}"
    if not hot:
        yield "  no history: git says nothing of this tree"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items())


# -- width -----------------------------------------------------------------------------------------


def _width() -> int:
    return max(60, min(120, output.terminal_width()))


def _fit(text: str, taken: int) -> str:
    return cells.shorten(output.visible(text), _width() - taken)


def _paragraph(text: str) -> Iterable[str]:
    return _hanging("  ", text)


def _hanging(label: str, text: str, *, further: str | None = None, dim: bool = False) -> list[str]:
    """*label* and *text* in the terminal's width; its further lines begin with *further*."""
    margin = " " * len(click.unstyle(label)) if further is None else further
    first = len(click.unstyle(label)) - len(margin)
    wrapped = textwrap.wrap(
        output.visible(text),
        _width() - len(margin),
        initial_indent=" " * max(0, first),
        break_on_hyphens=False,
    ) or [""]
    wrapped[0] = wrapped[0][max(0, first) :]
    shown = [click.style(line, dim=dim) for line in wrapped]
    return [label + shown[0], *(margin + line for line in shown[1:])]
