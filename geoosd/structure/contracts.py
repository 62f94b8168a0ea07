"""The import contracts that a tree declares for itself, and whether it keeps them.

Read from where import-linter reads them (``pyproject.toml``, ``.importlinter``, ``setup.cfg``) and
judged with its meaning: ``layers``, ``forbidden`` and ``independence``, indirect imports included,
and ``protected``, which is about direct ones.
A contract of another type, or in a form not known here, is counted as not judged. What
cannot be parsed may import anything, so a contract that it could break is broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoosd.structure.graph import shortest_path
from geoosd.structure.layout import Layout, SourceFile
from geoosd.structure.links import Links, Statement
from geoosd.structure.untyped import tables, value_at, words

if TYPE_CHECKING:
    from configparser import ConfigParser

_LISTS: Final = {
    "layers", "containers", "modules", "source_modules", "forbidden_modules", "ignore_imports",
    "exhaustive_ignores", "protected_modules", "allowed_importers",
}  # fmt: skip
_TRUE: Final = {"true", "1", "yes", "on"}


@dataclass(frozen=True)
class Verdict:
    """What became of one contract."""

    name: str
    kept: bool | None
    """None: not judged."""
    evidence: str
    """Why it is broken, or why it is not judged; else empty."""
    file: int | None = None
    """The file that begins the chain."""
    line: int = 0


def declared(layout: Layout) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """import-linter's own table and its contracts; from an INI file as strings and lists."""
    contracts = tables(value_at(layout.project, "tool", "importlinter", "contracts"))
    if contracts:
        return value_at(layout.project, "tool", "importlinter"), contracts
    for name in (".importlinter", "setup.cfg"):
        parser = _ini(layout.tree / name)
        if parser is None:
            continue
        sections = [each for each in parser.sections() if each.startswith("importlinter:contract:")]
        if sections:
            own = dict(parser["importlinter"]) if parser.has_section("importlinter") else {}
            return own, [_from_ini(parser[each]) for each in sections]
    return {}, []


def _ini(path: Path) -> ConfigParser | None:
    """An INI file; None where there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    import configparser  # needed by few trees

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return parser


def _from_ini(section: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: [line.strip() for line in value.splitlines() if line.strip()]
        if key in _LISTS
        else value
        for key, value in section.items()
    }


def judge(
    layout: Layout, files: Sequence[SourceFile], links: Links, unparsed: Sequence[int]
) -> list[Verdict]:
    """A verdict on each contract; *unparsed* are those of *files* that cannot be parsed."""
    table, contracts = declared(layout)
    python = {
        index: links.names[index] for index, file in enumerate(files) if file.language == "python"
    }
    typing = not _is_true(table.get("exclude_type_checking_imports"))
    return [_Judge(contract, links, python, unparsed, typing).verdict() for contract in contracts]


def _is_true(value: Any) -> bool:
    return str(value).lower() in _TRUE


def _strings(value: Any) -> list[str] | None:
    """A list of strings and nothing else."""
    found = words(value)
    return found if isinstance(value, list) and found == value else None


class _Judge:
    """One contract on one tree."""

    def __init__(
        self,
        contract: Mapping[str, Any],
        links: Links,
        names: Mapping[int, str],
        unparsed: Sequence[int],
        typing: bool,
    ) -> None:
        self._contract = contract
        self._names = names
        self._unparsed = set(unparsed)
        self._lines: dict[tuple[int, int], int] = {}
        self._edges: list[set[int]] = [set() for _ in range(max(names, default=-1) + 1)]
        self._ignored = [_pair(each) for each in _strings(contract.get("ignore_imports")) or []]
        self._external = [*links.external, *(links.external_typing if typing else [])]
        for statement in (*links.statements, *(links.typing if typing else [])):
            self._add(statement)

    def _add(self, statement: Statement) -> None:
        source = statement.source
        for target in statement.targets:
            if source in self._names and not self._is_ignored(source, self._names[target]):
                self._edges[source].add(target)
                self._lines.setdefault((source, target), statement.line)

    def _is_ignored(self, source: int, target: str) -> bool:
        name = self._names[source]
        return any(pair[0].match(name) and pair[1].match(target) for pair in self._ignored)

    def verdict(self) -> Verdict:
        """Whether the contract is kept."""
        name = str(self._contract.get("name", "unnamed"))
        kind = self._contract.get("type")
        checks = {
            "layers": self._layers,
            "forbidden": self._forbidden,
            "independence": self._independence,
            "protected": self._protected,
        }
        check = checks.get(str(kind))
        broken = None if check is None else check()
        if broken is None:
            return Verdict(name, None, f"type {kind} as it is written here is not judged")
        first = next(broken, None)
        if first is None:
            return Verdict(name, True, "")
        chain, evidence = first
        line = self._lines.get((chain[0], chain[1]), 0) if len(chain) > 1 else 0
        return Verdict(name, False, evidence, chain[0] if chain else None, line)

    def _members(self, pattern: str) -> set[int]:
        """The modules of a package (or packages, with wildcards), itself included."""
        whole = re.compile(rf"{_expression(pattern)}(?:\..*)?\Z")
        return {index for index, name in self._names.items() if whole.match(name)}

    def _packages(self, pattern: str) -> list[set[int]]:
        """Each module that *pattern* names, with its descendants."""
        named = re.compile(rf"{_expression(pattern)}\Z")
        found = sorted(name for name in self._names.values() if named.match(name))
        return [self._members(name) for name in found]

    def _chain(self, sources: set[int], targets: set[int]) -> tuple[list[int], str] | None:
        """A chain of imports from one set to another, and in words; what is assumed says so."""
        path = shortest_path(self._edges, sources, targets) if sources and targets else []
        if path:
            return path, " → ".join(self._names[each] for each in path)
        return self._assumed(sources) if targets - sources else None

    def _assumed(self, sources: set[int]) -> tuple[list[int], str] | None:
        """A chain from *sources* to a file that cannot be parsed, which may import anything."""
        broken = self._unparsed & set(self._names)
        if not sources or not broken:
            return None
        start = sorted(sources & broken)[:1]
        path = start or shortest_path(self._edges, sources, broken)
        if not path:
            return None
        names = " → ".join(self._names[each] for each in path)
        return path, f"{names}, which cannot be parsed and may import anything"

    def _independence(self) -> Iterator[tuple[list[int], str]] | None:
        modules = _strings(self._contract.get("modules"))
        return None if modules is None else self._independent(modules)

    def _independent(self, modules: list[str]) -> Iterator[tuple[list[int], str]]:
        sets = [members for each in modules for members in self._packages(each)]
        for source in sets:
            for target in sets:
                if source is not target and (chain := self._chain(source, target - source)):
                    yield chain

    def _layers(self) -> Iterator[tuple[list[int], str]] | None:
        layers = _strings(self._contract.get("layers"))
        containers = _strings(self._contract.get("containers") or [""])
        if layers is None or containers is None:
            return None
        return self._layered(layers, containers)

    def _layered(self, layers: list[str], containers: list[str]) -> Iterator[tuple[list[int], str]]:
        for container in containers:
            prefix = f"{container}." if container else ""
            rows = [_row(layer, prefix) for layer in layers]
            if _is_true(self._contract.get("exhaustive")) and container:
                yield from self._strays(container, [each for names, _ in rows for each in names])
            above: set[int] = set()
            for names, independent in rows:
                members = [self._members(each) for each in names]
                own = set[int]().union(*members)
                if chain := self._chain(own, above - own):
                    yield chain
                if independent and len(names) > 1:
                    yield from self._independent(names)
                above |= own

    def _strays(self, container: str, layers: list[str]) -> Iterator[tuple[list[int], str]]:
        """Children of a container that no layer names."""
        ignored = _strings(self._contract.get("exhaustive_ignores")) or []
        known = {*layers, *(f"{container}.{each}" for each in ignored)}
        for index, name in sorted(self._names.items()):
            if name.startswith(f"{container}."):
                child = f"{container}.{name.removeprefix(f'{container}.').partition('.')[0]}"
                if child not in known:
                    yield [index], f"{child} is in no layer"

    def _forbidden(self) -> Iterator[tuple[list[int], str]] | None:
        sources = _strings(self._contract.get("source_modules"))
        targets = _strings(self._contract.get("forbidden_modules"))
        return None if sources is None or targets is None else self._reaching(sources, targets)

    def _protected(self) -> Iterator[tuple[list[int], str]] | None:
        guarded = _strings(self._contract.get("protected_modules"))
        allowed = _strings(self._contract.get("allowed_importers"))
        as_packages = _is_true(self._contract.get("as_packages", True))
        if guarded is None or allowed is None or not as_packages:
            return None
        return self._intruding(guarded, allowed)

    def _intruding(self, guarded: list[str], allowed: list[str]) -> Iterator[tuple[list[int], str]]:
        """Direct imports of what is guarded by what is not allowed to."""
        others = set(self._names).difference(*(self._members(each) for each in allowed))
        for package in (members for each in guarded for members in self._packages(each)):
            if chain := self._direct(others - package, package):
                yield chain

    def _reaching(self, sources: list[str], targets: list[str]) -> Iterator[tuple[list[int], str]]:
        own = set[int]().union(*(self._members(each) for each in sources))
        direct = _is_true(self._contract.get("allow_indirect_imports"))
        for target in targets:
            inside = self._members(target)
            if inside:
                chain = (
                    self._direct(own, inside - own) if direct else self._chain(own, inside - own)
                )
            else:
                chain = self._to_external(own, target, direct)
            if chain:
                yield chain

    def _direct(self, sources: set[int], targets: set[int]) -> tuple[list[int], str] | None:
        for source in sorted(sources):
            for target in sorted(self._edges[source] & targets):
                return [source, target], f"{self._names[source]} → {self._names[target]}"
        return self._assumed(sources & self._unparsed) if targets else None

    def _to_external(
        self, sources: set[int], target: str, direct: bool
    ) -> tuple[list[int], str] | None:
        whole = re.compile(rf"{_expression(target)}(?:\..*)?\Z")
        users = {
            index: line
            for index, line, name in self._external
            # import-linter knows an external package by its root alone.
            if whole.match(name) and not self._is_ignored(index, name.partition(".")[0])
        }
        at_once = sorted(sources & set(users))
        if at_once:
            self._lines[at_once[0], -1] = users[at_once[0]]
            return [at_once[0], -1], f"{self._names[at_once[0]]} → {target}"
        if direct:
            return self._assumed(sources & self._unparsed)
        path = shortest_path(self._edges, sources, set(users)) if sources and users else []
        if path:
            return path, " → ".join([*(self._names[each] for each in path), target])
        return self._assumed(sources)


def _pair(text: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The two sides of ``a.* -> b``."""
    source, _, target = text.partition("->")
    left, right = _expression(source.strip()), _expression(target.strip())
    return re.compile(rf"{left}\Z"), re.compile(rf"{right}\Z")


def _expression(pattern: str) -> str:
    """A module pattern as a regular expression: ``*`` is one name, ``**`` any number."""
    parts = {"**": r"[^.]+(?:\.[^.]+)*", "*": "[^.]+"}
    return r"\.".join(parts.get(part, re.escape(part)) for part in pattern.split("."))


def _row(layer: str, prefix: str) -> tuple[list[str], bool]:
    """The modules of one layer, and whether they must not import each other."""
    names = [part.strip().strip("()").strip() for part in re.split(r"[|:]", layer)]
    return [f"{prefix}{name}" for name in names if name], ":" not in layer
