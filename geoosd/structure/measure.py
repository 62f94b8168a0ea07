"""The four dimensions of a tree, formula version 1, and the evidence for them (docs/health.md).

No value can rise by adding a cycle, an import that does not resolve or a syntax error:

- a file that cannot be parsed counts as one that may import every module, and as many unresolved
  imports as its text has import keywords; importing it does not resolve either;
- an import that resolves inside a cycle, be it of a module itself, counts under symmetry alone,
  so that a new one cannot thin out those that do not resolve.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from geoosd.structure.contracts import Verdict
from geoosd.structure.facts import Facts
from geoosd.structure.graph import components, reach, reversed_edges, shortest_path
from geoosd.structure.layout import ROOT, SourceFile
from geoosd.structure.links import Links, Statement
from geoosd.structure.report import Cycle, Offender, Subsystem, Wide

MAX_LINES: Final = 500
WIDEST: Final = 10
_MODULE_NAME: Final = re.compile(r"_*[a-z][a-z0-9]*(?:_+[a-z0-9]+)*_*\Z")


@dataclass(frozen=True)
class Sources:
    """What is measured: source files without tests, their facts, the links between them."""

    files: Sequence[SourceFile]
    facts: Sequence[Facts]
    links: Links
    contracts: Sequence[Verdict]


# -- symmetry --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Balance:
    """How evenly files lie in subsystems."""

    subsystems: list[Subsystem]
    """The largest first, those of equal size by name; ROOT last."""
    entropy: float
    """Bits."""
    evenness: float | None
    """Entropy over its maximum; None for fewer than two subsystems."""


def balance(files: Sequence[SourceFile]) -> Balance:
    """Shannon's entropy of the files per subsystem and, over its maximum, Pielou's evenness."""
    sizes = Counter(file.subsystem for file in files)
    outside = sizes.pop(ROOT, 0)
    total = sizes.total()
    shares = [size / total for size in sizes.values()]
    # fsum, since a sum in another order must not differ in its last bit.
    entropy = -math.fsum(share * math.log2(share) for share in shares) + 0.0
    found = [Subsystem(name, size) for name, size in sizes.items()]
    found.sort(key=lambda each: (-each.files, each.name))
    if outside:
        found.append(Subsystem(ROOT, outside))
    evenness = entropy / math.log2(len(sizes)) if len(sizes) > 1 else None
    return Balance(found, entropy, None if evenness is None else min(1.0, evenness))


def symmetry(evenness: float | None, cyclic: float) -> float:
    """0.7 · evenness + 0.3 · (1 − share in cycles); without an evenness the second term alone."""
    return 1 - cyclic if evenness is None else 0.7 * evenness + 0.3 * (1 - cyclic)


# -- the graph -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """What the import graph shows."""

    edges: list[set[int]]
    """Seen imports alone."""
    knot: list[int]
    """For each file the number of its strongly connected component, assumed imports included."""
    cyclic: int
    """Files inside a cycle, assumed imports included."""
    knots: list[list[int]]
    """The components of the seen graph with more than one file."""
    visible: int
    """Pairs (a, b) where a change to a can reach b; each file reaches itself."""
    reaches: list[int]
    """For each file, how many others a change to it can reach."""
    depends: list[int]
    """For each file, how many others can reach it so."""


def shape(count: int, statements: Sequence[Statement], unparsed: Sequence[int]) -> Shape:
    """The graph of *count* files; the files *unparsed* may import everything."""
    seen: list[set[int]] = [set() for _ in range(count)]
    for each in statements:
        seen[each.source].update(each.targets)
        seen[each.source].discard(each.source)
    found = components(seen)
    knots = sorted(sorted(each) for each in found if len(each) > 1)
    assumed = seen
    if unparsed:
        # One node more, which leads everywhere, instead of an edge to everything from each.
        anything = count
        assumed = [*(set(each) for each in seen), set(range(count))]
        for index in unparsed:
            assumed[index].add(anything)
        found = components(assumed)
    knot = [0] * len(assumed)
    cyclic = 0
    for number, members in enumerate(found):
        for index in members:
            knot[index] = number
        real = sum(1 for index in members if index < count)
        cyclic += real if real > 1 else 0
    mask = (1 << count) - 1
    turned = reversed_edges(assumed)
    depends = [(each & mask).bit_count() - 1 for each in reach(assumed, found)[:count]]
    reaches = [(each & mask).bit_count() - 1 for each in reach(turned, reversed(found))[:count]]
    return Shape(seen, knot[:count], cyclic, knots, sum(reaches) + count, reaches, depends)


def cycles(found: Shape, sources: Sources) -> list[Cycle]:
    """One shortest cycle of each knot, the largest knots first."""
    listed: list[Cycle] = []
    if not found.knots:
        return listed
    lines = {
        (each.source, target): each.line
        for each in reversed(sources.links.statements)
        for target in each.targets
    }
    for members in sorted(found.knots, key=lambda each: (-len(each), each)):
        inside = set(members)
        none: set[int] = set()
        edges = [
            each & inside if index in inside else none for index, each in enumerate(found.edges)
        ]
        path = min(
            (shortest_path(edges, [index], {index}) for index in members[:50]),
            key=lambda each: (len(each), each),
        )
        names = [sources.links.names[index] for index in path]
        file, line = sources.files[path[0]].path, lines[path[0], path[1]]
        listed.append(Cycle(names, len(members), file, line))
    return listed


def wide_modules(found: Shape, sources: Sources) -> list[Wide]:
    """The modules that anything imports, those whose change reaches most others first."""
    wide = [
        Wide(sources.links.names[index], file.path, found.reaches[index], found.depends[index])
        for index, file in enumerate(sources.files)
        if found.reaches[index]
    ]
    return sorted(wide, key=lambda each: (-each.reaches, each.file))


def hub(wide: Sequence[Wide]) -> Wide | None:
    """The module in the middle: the most pairs of modules see each other through it."""
    return max(
        wide, key=lambda each: (each.reaches * (each.depends + 1), each.reaches), default=None
    )


# -- integrity -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imports:
    """Internal import statements."""

    resolved: int
    """Outside cycles."""
    cyclic: int
    """Resolved, but part of a cycle; under symmetry alone."""
    unresolved: int
    """Those in files that cannot be parsed included."""
    offenders: list[Offender]

    @property
    def share(self) -> float:
        """Of those outside cycles that resolve; 1.0 where there are none."""
        total = self.resolved + self.unresolved
        return self.resolved / total if total else 1.0


def imports(found: Shape, sources: Sources) -> Imports:
    """Count the internal imports of a tree."""
    resolved = cyclic = 0
    offenders: list[Offender] = []
    for each in sources.links.statements:
        if each.missing is not None:
            file = sources.files[each.source].path
            offenders.append(Offender(file, each.line, f"cannot find {each.missing}"))
        elif any(found.knot[each.source] == found.knot[target] for target in each.targets):
            cyclic += 1
        else:
            resolved += 1
    hidden = sum(known.hidden_imports for known in sources.facts)
    return Imports(resolved, cyclic, len(offenders) + hidden, sorted(offenders, key=_place))


# -- consistency -----------------------------------------------------------------------------------


def rules(sources: Sources) -> dict[str, tuple[int, int, list[Offender]]]:
    """For each rule how many pass, of how many, and the offenders."""
    checked: dict[str, list[Offender]] = {"docstring": [], "naming": [], "length": []}
    for file, known in zip(sources.files, sources.facts, strict=True):
        offences = _offences(file, known)
        for rule, offence in offences:
            checked[rule].append(Offender(file.path, *offence))
    count = len(sources.files)
    found = {
        rule: (count - len(offenders), count, sorted(offenders, key=_place))
        for rule, offenders in checked.items()
    }
    judged = [each for each in sources.contracts if each.kept is not None]
    if judged:
        broken = [
            Offender(
                "" if each.file is None else sources.files[each.file].path,
                each.line,
                f"{each.name}: {each.evidence}",
            )
            for each in judged
            if not each.kept
        ]
        found["contracts"] = (len(judged) - len(broken), len(judged), broken)
    return found


def _offences(file: SourceFile, known: Facts) -> list[tuple[str, tuple[int, str]]]:
    """The rules that a file breaks, each once, with line and words."""
    found: list[tuple[str, tuple[int, str]]] = []
    if known.error is not None:
        found.append(("docstring", (0, "cannot be parsed")))
        found.append(("naming", (0, "cannot be parsed")))
    else:
        if not known.documented:
            found.append(("docstring", (1, "does not say what it is")))
        misnamed = _misnamed(file, known)
        if misnamed:
            found.append(("naming", misnamed))
    if known.lines > MAX_LINES:
        found.append(("length", (0, f"{known.lines} lines, more than {MAX_LINES}")))
    return found


def _misnamed(file: SourceFile, known: Facts) -> tuple[int, str] | None:
    stem = file.path.rpartition("/")[2].rpartition(".")[0]
    if not _MODULE_NAME.match(stem):
        return 0, f"{stem} is no module name in snake_case"
    if not known.misnamed:
        return None
    line, name = known.misnamed[0]
    more = len(known.misnamed) - 1
    return line, f"{name} is not named as usual" + (f", and {more} more" if more else "")


def _place(offender: Offender) -> tuple[str, int, str]:
    return offender.file, offender.line, offender.message
