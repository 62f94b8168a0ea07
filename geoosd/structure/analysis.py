"""Look at a tree and report: where a caller begins. ``docs/health.md`` says what is measured.

Reads files and does nothing else; no clock, no state, so several may run at once::

    cache = Cache(folder, tree)
    cache.load()
    report = analyze(tree, cache).report
    cache.save(now)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from geoosd.errors import reason_of
from geoosd.structure import (
    contracts,
    measure,
    python_imports,
    python_source,
    rust_imports,
    rust_source,
)
from geoosd.structure.advice import Evidence, recommendations
from geoosd.structure.cache import Cache
from geoosd.structure.facts import Facts, unreadable
from geoosd.structure.layout import ROOT, Layout, SourceFile, scan
from geoosd.structure.links import Links
from geoosd.structure.report import Dimension, Offender, Report, judged, overall, unknown

SMALL: Final = 10
"""Modules; in a smaller tree stability says little."""


Mapper = Callable[[Callable[[SourceFile], Facts], Sequence[SourceFile]], Iterable[Facts]]
"""Calls a function with each file, like :func:`map`."""


@dataclass(frozen=True)
class Analysis:
    """A report, and the lines of each source file (for :mod:`.churn`)."""

    report: Report
    lines: dict[str, int]


def analyze(tree: Path, cache: Cache | None = None, each: Mapper = map) -> Analysis:
    """Measure *tree*, a folder; take from *cache* what is known and leave there what is new.

    *each* reads the files; it is :func:`map`, or does the same in several processes. Raises OSError
    where a folder of the tree cannot be listed.
    """
    tree = tree.resolve()
    layout = scan(tree)
    files = [file for file in layout.files if not file.is_test]
    counts = {"files": len(files), "tests": layout.tests}
    if not files:
        return Analysis(unknown(str(tree), "no Python or Rust source files", counts), {})
    rust = sum(1 for file in files if file.language == "rust")
    if rust and not rust_source.available():
        reason = f"{rust} Rust files, no tree-sitter: pip install 'geoos[structure]'"
        return Analysis(unknown(str(tree), reason, counts), {})
    facts = _facts(tree, files, cache, each)
    lines = {file.path: known.lines for file, known in zip(files, facts, strict=True)}
    return Analysis(_report(layout, files, facts), lines)


def _facts(
    tree: Path, files: Sequence[SourceFile], cache: Cache | None, each: Mapper
) -> list[Facts]:
    """The facts of each file: what the cache knows, and the rest read."""
    known = {file: facts for file in files if cache and (facts := cache.get(file)) is not None}
    missed = [file for file in files if file not in known]
    for file, facts in zip(missed, each(partial(_read, tree), missed), strict=True):
        known[file] = facts
        if cache:
            cache.put(file, facts)
    return [known[file] for file in files]


def _read(tree: Path, file: SourceFile) -> Facts:
    try:
        source = (tree / file.path).read_bytes()
    except OSError as error:
        return unreadable(b"", 0, f"cannot be read: {reason_of(error)}", 0)
    return python_source.read(source) if file.language == "python" else rust_source.read(source)


def _links(layout: Layout, files: Sequence[SourceFile], facts: Sequence[Facts]) -> Links:
    """The links of both languages; a file has those of its own."""
    links = python_imports.resolve(layout, files, facts)
    rust = rust_imports.resolve(layout, files, facts)
    links.names.update(rust.names)
    links.statements += rust.statements
    return links


def _report(layout: Layout, files: Sequence[SourceFile], facts: Sequence[Facts]) -> Report:
    count = len(files)
    unparsed = [index for index, known in enumerate(facts) if known.error is not None]
    links = _links(layout, files, facts)
    verdicts = contracts.judge(layout, files, links, unparsed)
    sources = measure.Sources(files, facts, links, verdicts)
    balance = measure.balance(files)
    shape = measure.shape(count, links.statements, unparsed)
    imports = measure.imports(shape, sources)
    rules = measure.rules(sources)
    cycles = measure.cycles(shape, sources)
    wide = measure.wide_modules(shape, sources)
    cyclic = shape.cyclic / count

    terms = {"evenness": balance.evenness} if balance.evenness is not None else {}
    terms |= {"acyclic": 1 - cyclic, "parse": 1 - len(unparsed) / count, "imports": imports.share}
    terms |= {"propagation": shape.visible / count**2}
    terms |= {rule: passing / of for rule, (passing, of, _) in rules.items()}
    values = {
        "symmetry": measure.symmetry(balance.evenness, cyclic),
        "integrity": (terms["parse"] + terms["imports"]) / 2,
        "stability": 1 - terms["propagation"],
        "consistency": _mean([terms[rule] for rule in rules]),
    }
    dimensions = {name: Dimension(value, judged(value)) for name, value in values.items()}
    score = _mean([*values.values()])
    status, reason = overall(score, dimensions)
    offenders = {"parse": _parse_failures(files, facts), "imports": imports.offenders}
    offenders |= {rule: found for rule, (_, _, found) in rules.items()}
    evidence = Evidence(
        terms,
        values["stability"],
        balance.subsystems,
        cycles,
        cyclic,
        measure.hub(wide),
        count,
        offenders,
    )
    return Report(
        tree=str(layout.tree),
        status=status,
        reason=reason,
        score=score,
        dimensions=dimensions,
        terms=terms,
        counts=_counts(layout, sources, shape, imports, rules),
        subsystems=balance.subsystems,
        entropy=balance.entropy,
        cycles=cycles,
        widest=wide[: measure.WIDEST],
        offenders=offenders,
        recommendations=recommendations(evidence),
        notes=_notes(layout, sources, balance, unparsed),
    )


def _mean(values: Sequence[float]) -> float:
    # fsum: the same in whatever order they come.
    return math.fsum(values) / len(values)


def _parse_failures(files: Sequence[SourceFile], facts: Sequence[Facts]) -> list[Offender]:
    return [
        Offender(file.path, *known.error)
        for file, known in zip(files, facts, strict=True)
        if known.error is not None
    ]


def _counts(
    layout: Layout,
    sources: measure.Sources,
    shape: measure.Shape,
    imports: measure.Imports,
    rules: dict[str, tuple[int, int, list[Offender]]],
) -> dict[str, int]:
    failing = {rule: of - passing for rule, (passing, of, _) in rules.items()}
    return {
        "files": len(sources.files),
        "tests": layout.tests,
        "lines": sum(known.lines for known in sources.facts),
        "parse_failures": sum(1 for known in sources.facts if known.error is not None),
        "imports": imports.resolved + imports.cyclic + imports.unresolved,
        "unresolved_imports": imports.unresolved,
        "guarded_imports": sources.links.guarded,
        "typing_imports": len(sources.links.typing),
        "cycles": len(shape.knots),
        "cyclic_modules": shape.cyclic,
        "visible_pairs": shape.visible,
        "without_docstring": failing["docstring"],
        "misnamed": failing["naming"],
        "too_long": failing["length"],
        "contracts": len(sources.contracts),
        "broken_contracts": failing.get("contracts", 0),
    }


def _notes(
    layout: Layout, sources: measure.Sources, balance: measure.Balance, unparsed: Sequence[int]
) -> list[str]:
    notes: list[str] = []
    if len(sources.files) < SMALL:
        notes.append("a small tree: each module is a large share of it, and so of its stability")
    if balance.evenness is None:
        notes.append("fewer than two subsystems: symmetry is that of cycles alone")
    outside = sum(each.files for each in balance.subsystems if each.name == ROOT)
    for number, what in (
        (outside, "in no subsystem, so not in the evenness"),
        (layout.outside, "outside the project's packages, so left out"),
        (layout.unprintable, "or folders with names that cannot be printed, so left out"),
    ):
        if number:
            notes.append(f"{number} file{'' if number == 1 else 's'} {what}")
    if unparsed:
        notes.append("what cannot be parsed is taken to import every module")
    if not sources.contracts:
        notes.append("no import contracts are declared: that rule is left out")
    notes += [
        f"contract {each.name}: {each.evidence}" for each in sources.contracts if each.kept is None
    ]
    return notes
