"""Python: what one file says, from its syntax tree (:mod:`ast`); the file is not run.

Names follow PEP 8: ``snake_case`` functions and ``CapWords`` classes, looked at on the module's own
level, since a parent class or a protocol dictates many a method's name. The names of modules
are :mod:`.measure`'s. Neighbour: :mod:`.rust_source`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

from geoosd.structure.facts import GUARDED, PLAIN, TYPING, Facts, Import, line_count, unreadable

_IMPORT: Final = re.compile(rb"\bimport\b")
_DYNAMIC: Final = re.compile(
    rb"\bglobals\(|\bvars\(|\bexec\(|\bsetattr\(|\bsys\.modules\b|\b_convert_\(|\bglobal_enum\b|\b__getattr__\b"
)
"""What lets a module have names that stand nowhere in it (enum makes some)."""
_FORGIVING: Final = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_CLASS: Final = re.compile(r"_*[A-Z][A-Za-z0-9]*_*\Z")
_FUNCTION: Final = re.compile(r"_*[a-z0-9]*(?:_+[a-z0-9]+)*_*\Z")
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES: Final = (*_FUNCTIONS, ast.ClassDef)
_LOOP: Final = ("body", "orelse")
_TRY: Final = ("body", "handlers", "orelse", "finalbody")
_BLOCKS: Final[dict[type[ast.stmt], tuple[str, ...]]] = {
    ast.FunctionDef: ("body",), ast.AsyncFunctionDef: ("body",), ast.ClassDef: ("body",),
    ast.If: _LOOP, ast.For: _LOOP, ast.AsyncFor: _LOOP, ast.While: _LOOP,
    ast.With: ("body",), ast.AsyncWith: ("body",),
    ast.Try: _TRY, ast.TryStar: _TRY, ast.Match: ("cases",),
}  # fmt: skip
"""Where a compound statement has others inside it."""


def read(source: bytes) -> Facts:
    """The facts of one file; ``error`` is set where this Python cannot parse it."""
    try:
        with warnings.catch_warnings():
            # An invalid escape in somebody's file is neither an error nor our caller's business.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        return _unreadable(source, error.lineno or 1, error.msg)
    except (ValueError, RecursionError, MemoryError) as error:
        return _unreadable(source, 1, str(error) or "nested too deeply")
    reader = _Reader()
    reader.statements(tree.body, PLAIN, module_level=True)
    return Facts(
        line_count(source),
        documented=not tree.body or ast.get_docstring(tree, clean=False) is not None,
        imports=reader.imports,
        defined=sorted(reader.defined),
        dynamic="*" in reader.defined or _DYNAMIC.search(source) is not None,
        misnamed=reader.misnamed,
    )


def _unreadable(source: bytes, line: int, message: str) -> Facts:
    return unreadable(source, line, message, len(_IMPORT.findall(source)))


class _Reader:
    """Goes through the statements, never into expressions: that is where the time would go."""

    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.defined: set[str] = set()
        self.misnamed: list[tuple[int, str]] = []

    def statements(self, body: Sequence[ast.stmt], kind: str, *, module_level: bool) -> None:
        """Take note of *body*, whose imports are of *kind*."""
        for node in body:
            blocks = _BLOCKS.get(type(node))
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node, kind)
            elif isinstance(node, ast.Global):
                self.defined.update(node.names)
            if module_level:
                self.defined.update(_defines(node))
                self._name(node)
            if blocks is not None:
                inner = module_level and not isinstance(node, _SCOPES)
                self._inside(node, blocks, kind, inner)

    def _inside(
        self, node: ast.stmt, blocks: tuple[str, ...], kind: str, module_level: bool
    ) -> None:
        """Go through the blocks of a compound statement, each with the kind of its imports."""
        for name in blocks:
            parts = getattr(node, name)
            if name == "body":
                own = _kind_of_body(node) or kind
                self.statements(parts, own, module_level=module_level)
            elif name in ("handlers", "cases"):
                for part in parts:
                    self.statements(part.body, kind, module_level=module_level)
            else:
                self.statements(parts, kind, module_level=module_level)

    def _import(self, node: ast.Import | ast.ImportFrom, kind: str) -> None:
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.Import):
            self.imports.append(Import(node.lineno, None, 0, names, kind))
        else:
            self.imports.append(Import(node.lineno, node.module or "", node.level, names, kind))

    def _name(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef):
            fits = _CLASS.match(node.name)
        elif isinstance(node, _FUNCTIONS):
            fits = _FUNCTION.match(node.name)
        else:
            return
        if not fits:
            self.misnamed.append((node.lineno, node.name))


def _kind_of_body(node: ast.stmt) -> str | None:
    """TYPING or GUARDED for a body that makes its imports so."""
    if isinstance(node, ast.If):
        return TYPING if _last_name(node.test) == "TYPE_CHECKING" else None
    if isinstance(node, (ast.Try, ast.TryStar)):
        caught = [each for handler in node.handlers for each in _caught(handler)]
    elif isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items]
        caught = [
            _last_name(argument)
            for call in calls
            if isinstance(call, ast.Call) and _last_name(call.func) == "suppress"
            for argument in call.args
        ]
    else:
        return None
    return GUARDED if _FORGIVING.intersection(caught) else None


def _caught(handler: ast.ExceptHandler) -> list[str]:
    if handler.type is None:
        return ["BaseException"]
    several = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [_last_name(each) for each in several]


def _last_name(node: ast.expr) -> str:
    """``TYPE_CHECKING`` of ``typing.TYPE_CHECKING``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _defines(node: ast.stmt) -> Iterator[str]:
    """The names that a statement gives to the module it stands in."""
    if isinstance(node, _SCOPES):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        yield from _bound(*(item.optional_vars for item in node.items))
    elif isinstance(node, ast.Assign):
        yield from _bound(*node.targets)
    else:
        # for x in …, x: int = …, and (Python 3.12) type X = …
        yield from _bound(getattr(node, "target", None), getattr(node, "name", None))


def _bound(*targets: ast.expr | None) -> Iterator[str]:
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id
        elif isinstance(target, ast.Starred):
            yield from _bound(target.value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            yield from _bound(*target.elts)
