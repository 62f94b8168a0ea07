"""Python: what each import means in its tree, without running anything.

Follows the import system's rules for names (Python reference, chapter 5) as far as they are static:
absolute and relative imports, packages, namespace packages, and for a script in a folder
that is no package its neighbours. ``from package import name`` depends on the submodule where there
is one, else on the package; a name that the module does not have is a failure, unless the module
may make names while it runs. An import of a file that cannot be parsed fails, as it would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from geoosd.structure.facts import GUARDED, TYPING, Facts, Import
from geoosd.structure.layout import Layout, SourceFile
from geoosd.structure.links import Links, Statement


def resolve(layout: Layout, files: Sequence[SourceFile], facts: Sequence[Facts]) -> Links:
    """The links between *files*, Python sources with their *facts*; others give none."""
    resolver = _Resolver(layout, files, facts)
    for index, (file, known) in enumerate(zip(files, facts, strict=True)):
        if file.language == "python":
            for each in known.imports:
                resolver.take(index, each)
    return resolver.links


def module_name(path: str, base: str, package: str) -> str:
    """The dotted name of the module in the file at *path*, imported from *base*.

    *package* is the tree's own name where *base* lies above it.
    """
    if base == "..":
        path = f"{package.replace('.', '/')}/{path}"
    elif base:
        path = path.removeprefix(f"{base}/")
    stem = path.partition(".")[0] if path.count("/") == 0 else _without_suffix(path)
    return stem.replace("/", ".").removesuffix(".__init__")


def _without_suffix(path: str) -> str:
    """``a/b.cpython-311.so`` without what follows the module's name."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


class _Resolver:
    """The names that a tree has, and what was found so far."""

    def __init__(self, layout: Layout, files: Sequence[SourceFile], facts: Sequence[Facts]) -> None:
        self._package = layout.package
        self._facts = facts
        self._modules: dict[str, int] = {}
        self._packages: set[str] = set()
        self._known: set[str] = set()
        """Modules that are no source: tests, compiled modules."""
        self._folders: dict[int, str] = {}
        """The dotted folder of each file: what one leading dot means."""
        self._is_package: set[str] = set()
        names: dict[int, str] = {}
        for index, file in enumerate(files):
            if file.language == "python":
                name = module_name(file.path, file.base, layout.package)
                names[index] = name
                is_package = file.path.endswith("__init__.py")
                self._folders[index] = name if is_package else name.rpartition(".")[0]
                # m.py comes before m/__init__.py, which wins when Python looks for m.
                self._modules[name] = index
                if is_package:
                    self._is_package.add(name)
                self._add_packages(name)
        others = [(file.base, file.path) for file in layout.files if file.is_test]
        for base, path in (*others, *layout.extensions):
            name = module_name(path, base, layout.package)
            self._known.add(name)
            self._add_packages(name)
        self._tops = {name.partition(".")[0] for name in (*self._modules, *self._known)}
        self.links = Links(names)

    def _add_packages(self, name: str) -> None:
        while "." in name:
            name = name.rpartition(".")[0]
            self._packages.add(name)

    def take(self, source: int, statement: Import) -> None:
        """Resolve one import statement of the file *source*."""
        if self._is_plainly_outside(source, statement):
            self._external(source, statement, statement.module or "")
            return
        targets: list[int] = []
        missing: str | None = None
        internal = False
        for name, wanted in self._modules_of(source, statement):
            if not name:
                missing, internal = "a package above the top", True
                continue
            if self._is_outside(name):
                self._external(source, statement, name)
                continue
            internal = True
            found, lacking = self._find(name, wanted)
            targets += [] if found is None else [found]
            missing = missing or lacking
        if not internal:
            return
        if statement.kind == GUARDED and missing:
            self.links.guarded += 1
            return
        found_all = Statement(source, statement.line, sorted(set(targets)), missing)
        kept = self.links.typing if statement.kind == TYPING else self.links.statements
        kept.append(found_all)

    def _is_plainly_outside(self, source: int, statement: Import) -> bool:
        """The quick answer for most statements: ``from`` something else, in a package."""
        module = statement.module
        if not module or statement.level or self._folders[source] not in self._is_package:
            return False
        return module.partition(".")[0] not in self._tops

    def _is_outside(self, name: str) -> bool:
        if self._package:
            return not f"{name}.".startswith(f"{self._package}.")
        return name.partition(".")[0] not in self._tops

    def _external(self, source: int, statement: Import, name: str) -> None:
        links = self.links
        kept = links.external_typing if statement.kind == TYPING else links.external
        kept.append((source, statement.line, name))

    def _modules_of(self, source: int, statement: Import) -> Iterator[tuple[str, str | None]]:
        """Each absolute module name of a statement with the name wanted from it, or None."""
        if statement.module is None:
            for name in statement.names:
                yield self._beside(source, name), None
            return
        base = statement.module
        if statement.level:
            base = self._relative(source, statement.level, base)
        else:
            base = self._beside(source, base)
        for name in statement.names:
            yield base, name

    def _relative(self, source: int, level: int, module: str) -> str:
        """The absolute name of a relative one; "" where it leaves the tree."""
        folder = self._folders[source]
        parts = folder.split(".") if folder else []
        if level > len(parts):
            return ""
        kept = parts[: len(parts) - level + 1]
        return ".".join([*kept, module] if module else kept)

    def _beside(self, source: int, name: str) -> str:
        """The name as seen from a script's own folder, which Python puts first on its path."""
        folder = self._folders[source]
        if not folder or folder in self._is_package or name.partition(".")[0] in self._tops:
            return name
        neighbour = f"{folder}.{name}"
        return neighbour if neighbour in self._modules else name

    def _find(self, name: str, wanted: str | None) -> tuple[int | None, str | None]:
        """The file behind a module name, and what is missing there."""
        name = name.removesuffix(".__init__")
        if wanted is not None and wanted != "*":
            submodule = f"{name}.{wanted}"
            if submodule in self._modules:
                return self._parsed(submodule)
            if submodule in self._packages or submodule in self._known:
                return self._modules.get(name), None
        if name not in self._modules:
            if name in self._known or (name in self._packages and wanted in (None, "*")):
                return None, None
            return self._made(name, wanted)
        found, lacking = self._parsed(name)
        facts = self._facts[self._modules[name]]
        if lacking or wanted is None or facts.dynamic or wanted in (*_ALWAYS, *facts.defined):
            return found, lacking
        return found, f"{name}.{wanted}"

    def _made(self, name: str, wanted: str | None) -> tuple[int | None, str | None]:
        """A module without a file, which another may make as it runs: ``os`` makes ``os.path``."""
        maker = self._modules.get(name.rpartition(".")[0])
        if maker is not None and self._facts[maker].dynamic:
            return maker, None
        return None, f"{name}.{wanted}" if name in self._packages else name

    def _parsed(self, name: str) -> tuple[int, str | None]:
        index = self._modules[name]
        broken = self._facts[index].error is not None
        return index, f"{name}, which cannot be parsed" if broken else None


_ALWAYS = ("*", "__name__", "__file__", "__doc__", "__path__", "__spec__", "__dict__")
"""What every module has."""
