"""Rust: what each ``use`` and ``mod`` means in its tree.

A module's place in its crate is read off the file's path, as Cargo lays crates out:
``src/lib.rs`` or ``src/main.rs`` is the crate, ``src/a.rs`` or ``src/a/mod.rs`` its module ``a``,
and each file of ``src/bin`` a crate of its own. ``use`` is a dependency, ``mod`` only says that a
file is there. Names of another crate are internal where the tree has that crate.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from geoosd.structure.facts import MOD, Facts, Import
from geoosd.structure.layout import Layout, SourceFile
from geoosd.structure.links import Links, Statement

Path = tuple[str, ...]
"""A module: its crate, then the names down to it."""


def resolve(layout: Layout, files: Sequence[SourceFile], facts: Sequence[Facts]) -> Links:
    """The links between *files*, Rust sources with their *facts*; others give none."""
    resolver = _Resolver(layout, files, facts)
    for index, (file, known) in enumerate(zip(files, facts, strict=True)):
        if file.language == "rust":
            for each in known.imports:
                resolver.take(index, each)
    return resolver.links


def module_path(path: str, base: str, crate: str, entries: Set[str] = frozenset()) -> Path:
    """The module in the file at *path* of the crate whose sources lie in *base*.

    *entries* are the files that a manifest names as the top of a crate.
    """
    if path in entries:
        return (crate,)
    parts = path.removeprefix(f"{base}/").removesuffix(".rs").split("/")
    if parts[0] == "bin" and len(parts) > 1:
        crate, parts = f"{crate}/bin/{parts[1]}", parts[2:]
    if parts and parts[-1] in {"mod", "lib", "main"}:
        parts.pop()
    return crate, *parts


class _Resolver:
    def __init__(self, layout: Layout, files: Sequence[SourceFile], facts: Sequence[Facts]) -> None:
        self._files = files
        self._facts = facts
        self._modules: dict[Path, list[int]] = {}
        """More than one file where a crate has both lib.rs and main.rs."""
        self._places: dict[int, Path] = {}
        self._paths = {file.path: index for index, file in enumerate(files)}
        self._all = {file.path for file in layout.files}
        self._crates = set(layout.crates.values())
        for index, file in enumerate(files):
            if file.language == "rust":
                crate = layout.crates.get(file.base, layout.tree.name)
                place = module_path(file.path, file.base, crate, layout.crate_entries)
                self._places[index] = place
                self._modules.setdefault(place, []).append(index)
        self.links = Links({index: "::".join(path) for index, path in self._places.items()})

    def take(self, source: int, statement: Import) -> None:
        """Resolve one ``use`` or ``mod`` of the file *source*."""
        if statement.kind == MOD:
            self._take_mod(source, statement)
            return
        targets: set[int] = set()
        missing: str | None = None
        internal = False
        for name in statement.names:
            segments = self._absolute(source, name.split("::"))
            if segments is None:
                continue
            internal = True
            found, lacking = self._find(source, segments)
            targets.update(found)
            missing = missing or (name if lacking else None)
        if internal:
            self.links.statements.append(
                Statement(source, statement.line, sorted(targets), missing)
            )

    def _take_mod(self, source: int, statement: Import) -> None:
        """``mod`` names a file: it must be there, and is no dependency."""
        (name,) = statement.names
        if not self._has_file(source, name, statement.module):
            self.links.statements.append(Statement(source, statement.line, [], f"mod {name}"))

    def _has_file(self, source: int, name: str, explicit: str | None) -> bool:
        path = self._files[source].path
        folder = path.rpartition("/")[0]
        if explicit is not None:
            return f"{folder}/{explicit}" in self._all
        stem = path.rpartition("/")[2].removesuffix(".rs")
        inner = name.replace("::", "/")
        beside = stem in {"mod", "lib", "main"} or folder.endswith("/bin")
        where = folder if beside else f"{folder}/{stem}"
        return not self._all.isdisjoint({f"{where}/{inner}.rs", f"{where}/{inner}/mod.rs"})

    def _absolute(self, source: int, segments: list[str]) -> Path | None:
        """A path from its crate on; None where it leads out of the tree."""
        place = self._places[source]
        first = segments[0]
        if first == "crate":
            return place[0], *segments[1:]
        if first == "self":
            return (*place, *segments[1:])
        if first == "super":
            ups = next((at for at, each in enumerate(segments) if each != "super"), len(segments))
            kept = place[: len(place) - ups]
            return (*(kept or place[:1]), *segments[ups:])
        if first in self._crates:
            return tuple(segments)
        # Since 2018 a path may begin with a module of this very file.
        return (*place, *segments) if (*place, first) in self._modules else None

    def _find(self, source: int, segments: Path) -> tuple[list[int], bool]:
        """The files behind the longest module of a path, and whether the rest is missing."""
        length = len(segments)
        while length and segments[:length] not in self._modules:
            length -= 1
        found = self._modules.get(segments[:length], [])
        rest = segments[length:]
        if not found:
            return [], True
        facts = [self._facts[index] for index in found]
        if any(each.error is not None for each in facts):
            return found, source not in found
        lacking = bool(rest) and not any(each.dynamic or rest[0] in each.defined for each in facts)
        return found, lacking
