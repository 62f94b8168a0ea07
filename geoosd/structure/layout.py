"""Which files a tree has, which of them are tests, and which subsystem each belongs to.

Source roots are what the project declares: packages of ``pyproject.toml`` (hatch, setuptools,
poetry, flit), crates of ``Cargo.toml`` (workspaces too), a ``src`` folder with packages. A tree
that declares nothing is its own source root, or its only package is.

A subsystem is a folder of ``systems/`` where there is one, else of a source root; a source root
among several that has fewer than two folders is one subsystem itself. A file that lies in none
belongs to ``(root)``, which is shown and not scored. Links are not followed; hidden folders,
virtual environments, caches (``CACHEDIR.TAG``) and what was built are left out.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from geoosd.structure.untyped import table, tables, value_at, words

Language = Literal["python", "rust"]

ROOT: Final = "(root)"
_EXTENSIONS: Final = (".so", ".pyd", ".pyx", ".pyi")
"""What else Python can import by the name of the file."""
_NEVER: Final = {"__pycache__", "node_modules", "venv", "site-packages", "dist-packages"}
_BUILT: Final = {"build", "dist", "target"}
_TEST_FOLDER: Final = re.compile(r"tests?\Z|.*_tests?\Z|test_|benches\Z|examples\Z")
_TEST_FILE: Final = re.compile(r"(?:test_.*|(?:.*_)?tests?|conftest)\.py\Z|(?:.*_)?tests?\.rs\Z")
_ENTRIES: Final = ("lib.rs", "main.rs")
_NO_PRODUCT: Final = {"docs", "doc", "examples", "benchmarks", "scripts", "tools"}


@dataclass(frozen=True)
class SourceFile:
    """A file as the folder shows it, unread."""

    path: str
    """Posix, relative to the tree."""
    language: Language
    size: int
    """Bytes."""
    mtime_ns: int
    is_test: bool
    base: str
    """The folder where imports of it begin: above the package, or the crate's ``src``."""
    subsystem: str
    """Name, or ROOT."""


@dataclass(frozen=True)
class Layout:
    """A tree's files, in the order of their paths."""

    tree: Path
    files: list[SourceFile]
    extensions: list[tuple[str, str]]
    """Base and path of compiled and stub modules."""
    crates: Mapping[str, str]
    """The base of each crate and its name in ``use``."""
    crate_entries: Set[str]
    """Paths of files that a manifest names as the top of a crate."""
    project: Mapping[str, Any]
    """``pyproject.toml``; empty where there is none that can be read."""
    package: str = ""
    """Where the tree is itself a package: its dotted name, with the packages around it."""
    unprintable: int = 0
    """Files and folders left out since their names hold control characters or no UTF-8."""
    tests: int = 0
    """Test files, wherever they are."""
    outside: int = 0
    """Other source files that no source root has."""


@dataclass(frozen=True)
class _Root:
    """A source root: *folder* holds the subsystems, imports begin at *base*; relative paths."""

    folder: str
    base: str
    language: Language | None = None
    """None: every language."""


@dataclass
class _Listing:
    """What a walk found: path, size, mtime in ns."""

    files: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    extensions: list[str] = field(default_factory=list[str])
    unprintable: int = 0


def scan(tree: Path) -> Layout:
    """Look at *tree*, a folder. Raises OSError where it cannot be listed."""
    listing = _Listing()
    _walk(tree, "", listing)
    listing.files.sort()
    project = _toml(tree / "pyproject.toml")
    cargo = _crates(tree)
    sources = [path for path, _, _ in listing.files if not is_test(path)]
    roots = [_Root(base, base, "rust") for base in cargo.bases]
    roots += _python_roots(project, sources, alone=not roots)
    subsystems = _Subsystems(roots, sources)
    files: list[SourceFile] = []
    for path, size, mtime in listing.files:
        language = _language(path)
        root = _root_of(path, language, roots)
        if root is not None:
            subsystem = subsystems.of(path, root)
            test = is_test(path)
            files.append(SourceFile(path, language, size, mtime, test, root.base, subsystem))
    extensions = [
        (root.base, path)
        for path in sorted(listing.extensions)
        if (root := _root_of(path, "python", roots)) is not None
    ]
    inside = sum(1 for file in files if not file.is_test)
    return Layout(
        tree=tree,
        files=files,
        extensions=extensions,
        crates=cargo.bases,
        crate_entries=cargo.entries,
        project=project,
        package=_package(tree),
        unprintable=listing.unprintable,
        tests=len(listing.files) - len(sources),
        outside=len(sources) - inside,
    )


def _language(path: str) -> Language:
    return "rust" if path.endswith(".rs") else "python"


def _package(tree: Path) -> str:
    names: list[str] = []
    while (tree / "__init__.py").is_file():
        names.insert(0, tree.name)
        tree = tree.parent
    return ".".join(names)


def is_test(path: str) -> bool:
    """Whether a file is a test, a benchmark or an example by its name or a folder's."""
    *folders, name = path.split("/")
    return bool(_TEST_FILE.match(name)) or any(_TEST_FOLDER.match(each) for each in folders)


def _walk(folder: Path | str, prefix: str, listing: _Listing) -> None:
    """Add what lies below *folder*, named from *prefix*, unless it marks itself as no source."""
    with os.scandir(folder) as entries:
        found = list(entries)
    names = {entry.name for entry in found}
    if prefix and not names.isdisjoint({"pyvenv.cfg", "CACHEDIR.TAG"}):
        return
    for entry in found:
        name = entry.name
        if name.startswith("."):
            continue
        if not name.isprintable():
            # No import can name it, and a terminal might obey it.
            listing.unprintable += 1
            continue
        if entry.is_dir(follow_symlinks=False):
            if name not in _NEVER and not (name in _BUILT and not prefix):
                _walk(entry.path, f"{prefix}{name}/", listing)
        elif name.endswith((".py", ".rs")):
            if entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                listing.files.append((prefix + name, stat.st_size, stat.st_mtime_ns))
        elif name.endswith(_EXTENSIONS):
            listing.extensions.append(prefix + name)


def _toml(path: Path) -> dict[str, Any]:
    """A TOML file's content; nothing where it is missing or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


# -- source roots ----------------------------------------------------------------------------------


def _crates(tree: Path) -> _Crates:
    """The crates of a workspace, of ``systems/``, and those one or two folders down."""
    top = _toml(tree / "Cargo.toml")
    patterns = [f"{each.strip('/')}/" for each in words(value_at(top, "workspace", "members"))]
    manifests = [tree / "Cargo.toml"]
    for pattern in (*patterns, "*/", "crates/*/", "systems/*/"):
        manifests += sorted(tree.glob(f"{pattern}Cargo.toml"))
    crates = _Crates()
    for manifest in dict.fromkeys(manifests):
        content = _toml(manifest)
        name = value_at(content, "lib", "name") or value_at(content, "package", "name")
        if isinstance(name, str):
            folder = manifest.parent.relative_to(tree).as_posix()
            crates.add(tree, "" if folder == "." else f"{folder}/", name, content)
    if not crates.bases and any((tree / "src" / name).is_file() for name in _ENTRIES):
        crates.bases["src"] = tree.name
    return crates


@dataclass
class _Crates:
    bases: dict[str, str] = field(default_factory=dict[str, str])
    entries: set[str] = field(default_factory=set[str])

    def add(self, tree: Path, folder: str, name: str, manifest: Mapping[str, Any]) -> None:
        """Add the crate in *folder* ("" or "…/"), and its targets that lie elsewhere than usual."""
        targets = [table(value_at(manifest, "lib")), *tables(manifest.get("bin"))]
        paths = [each["path"] for each in targets if isinstance(each.get("path"), str)]
        self.entries.update(_normal(folder + path) for path in paths)
        bases = {_normal(folder + path).rpartition("/")[0] for path in paths}
        for base in {f"{folder}src", *bases}:
            if base and not base.endswith("/bin") and (tree / base).is_dir():
                self.bases[base] = name.replace("-", "_")


def _python_roots(project: Mapping[str, Any], sources: list[str], *, alone: bool) -> list[_Root]:
    """The packages that are declared and there, else those that the layout shows.

    Else the whole tree, where Python is *alone* in it.
    """
    python = [path for path in sources if path.endswith(".py")]
    declared = dict.fromkeys(_normal(each) for each in _declared(project, python))
    roots = [
        _Root(package, package.rpartition("/")[0])
        for package in declared
        if package and any(path.startswith(f"{package}/") for path in python)
    ]
    if roots:
        return roots
    if "__init__.py" in python:
        return [_Root("", "..")]
    for where in ("src/", ""):
        packages = _packages_in(where, python)
        loose = {path for path in python if "/" not in path} - {"setup.py"}
        if packages and (where or (len(packages) == 1 and not loose)):
            return [_Root(package, where.rstrip("/")) for package in packages]
    return [_Root("", "")] if alone else []


def _declared(project: Mapping[str, Any], python: list[str]) -> Iterator[str]:
    """Folders of the packages that ``pyproject.toml`` names."""
    yield from words(value_at(project, "tool", "hatch", "build", "targets", "wheel", "packages"))
    for where in words(value_at(project, "tool", "setuptools", "packages", "find", "where")):
        yield from _packages_in(f"{_normal(where)}/" if _normal(where) else "", python)
    source = value_at(project, "tool", "setuptools", "package-dir", "")
    for name in words(value_at(project, "tool", "setuptools", "packages")):
        if "." not in name:
            yield f"{source}/{name}" if isinstance(source, str) else name
    for package in tables(value_at(project, "tool", "poetry", "packages")):
        if isinstance(package.get("include"), str):
            yield f"{package.get('from') or ''}/{package['include']}"
    name = value_at(project, "tool", "flit", "module", "name")
    if isinstance(name, str):
        yield from (name, f"src/{name}")


def _normal(path: str) -> str:
    """A declared folder as the walk names it."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _packages_in(where: str, python: Iterable[str]) -> list[str]:
    """Folders directly in *where* ("" or "…/") that are packages of the product."""
    inits = (path.removesuffix("/__init__.py") for path in python if path.endswith("__init__.py"))
    return [
        folder
        for folder in inits
        if folder.startswith(where)
        and "/" not in folder.removeprefix(where)
        and folder.removeprefix(where) not in _NO_PRODUCT
    ]


def _root_of(path: str, language: Language, roots: Iterable[_Root]) -> _Root | None:
    """The innermost source root of a file."""
    found = [
        root
        for root in roots
        if root.language in (None, language)
        and (not root.folder or path.startswith(f"{root.folder}/"))
    ]
    return max(found, key=lambda root: len(root.folder), default=None)


# -- subsystems ------------------------------------------------------------------------------------


class _Subsystems:
    """Names the subsystem of each file."""

    def __init__(self, roots: list[_Root], sources: list[str]) -> None:
        self._systems = any(path.startswith("systems/") for path in sources)
        folders: dict[_Root, set[str]] = {root: set() for root in roots}
        for path in sources:
            root = _root_of(path, _language(path), roots)
            if root is not None:
                inner = path.removeprefix(f"{root.folder}/" if root.folder else "")
                if "/" in inner:
                    folders[root].add(inner.split("/")[0])
        used = [root for root, inside in folders.items() if inside or root.folder]
        self._whole = {root for root in used if len(used) > 1 and len(folders[root]) < 2}

    def of(self, path: str, root: _Root) -> str:
        """The subsystem of the file at *path*."""
        if self._systems:
            parts = path.split("/")
            return "/".join(parts[:2]) if parts[0] == "systems" and len(parts) > 2 else ROOT
        if root in self._whole:
            return root.folder
        prefix = f"{root.folder}/" if root.folder else ""
        head, slash, _ = path.removeprefix(prefix).partition("/")
        return f"{prefix}{head}" if slash else ROOT
