"""Rust: what one file says, from its concrete syntax tree (tree-sitter, the extra ``structure``).

Where its two packages are missing, :func:`available` says so and :func:`read` may not be called: a
tree with Rust in it is then reported as unknown. ``#[cfg(test)]`` and ``#[test]`` items are tests
and left out, so a test module inside its file is no cycle. The Rust reference, "Use declarations"
and "Modules", says what the paths mean. Neighbour: :mod:`.python_source`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from geoosd.structure.facts import MOD, PLAIN, Facts, Import, line_count, unreadable

if TYPE_CHECKING:
    from tree_sitter import Language, Node


_DEPENDS: Final = re.compile(rb"\b(?:use|mod)\b")
_TEST: Final = re.compile(rb"#\[\s*(?:cfg\s*\((?!.*\bnot\b).*\btest\b|(?:\w+::)*test\b)", re.DOTALL)
_PATH: Final = re.compile(rb'#\[\s*path\s*=\s*"([^"]*)"')
_CAMEL: Final = re.compile(r"_*[A-Z][A-Za-z0-9]*\Z")
_SNAKE: Final = re.compile(r"_*[a-z0-9]*(?:_+[a-z0-9]+)*_*\Z")
_TYPES: Final = {"struct_item", "enum_item", "trait_item", "type_item", "union_item"}
_NAMED: Final = {
    *_TYPES, "function_item", "const_item", "static_item", "mod_item", "macro_definition",
}  # fmt: skip
_COMMENTS: Final = {"line_comment", "block_comment"}
_INVISIBLE: Final = {"attribute_item", *_COMMENTS}


@cache
def _language() -> Language:
    # Loaded when the first Rust file comes: most trees have none.
    import tree_sitter
    import tree_sitter_rust

    return tree_sitter.Language(tree_sitter_rust.language())


def _parse(source: bytes) -> Node:
    from tree_sitter import Parser

    return Parser(_language()).parse(source).root_node


def _captures(root: Node) -> dict[str, list[Node]]:
    from tree_sitter import Query, QueryCursor

    query = Query(
        _language(), "(use_declaration) @use (extern_crate_declaration) @extern (mod_item) @mod"
    )
    return QueryCursor(query).captures(root)


def available() -> bool:
    """Whether tree-sitter and its grammar of Rust are installed."""
    from importlib.util import find_spec

    return all(find_spec(name) for name in ("tree_sitter", "tree_sitter_rust"))


def read(source: bytes) -> Facts:
    """The facts of one file; ``error`` is set where it has a syntax error."""
    root = _parse(source)
    if root.has_error:
        where = _first_error(root)
        hidden = len(_DEPENDS.findall(source))
        return unreadable(source, where.start_point[0] + 1, "syntax error", hidden)
    defined: set[str] = set()
    misnamed: list[tuple[int, str]] = []
    dynamic = False
    for node in root.named_children:
        name = _name(node)
        if node.type in _NAMED:
            defined.add(name)
            if not _fits(node.type, name):
                misnamed.append((node.start_point[0] + 1, name))
        elif node.type == "use_declaration":
            used = [each for part in node.named_children for each in _flat(part, [])]
            defined.update(name for _, name in used)
            dynamic = dynamic or any(name == "*" for _, name in used)
        elif node.type == "extern_crate_declaration":
            alias = node.child_by_field_name("alias")
            defined.add(_name(node) if alias is None else _text(alias).decode())
        elif node.type in {"macro_invocation", "expression_statement"}:
            dynamic = True
    return Facts(
        line_count(source),
        documented=_documented(root),
        imports=_imports(root),
        defined=sorted(defined),
        dynamic=dynamic,
        misnamed=misnamed,
    )


def _text(node: Node | None) -> bytes:
    return b"" if node is None else node.text or b""


def _name(node: Node) -> str:
    return _text(node.child_by_field_name("name")).decode()


def _first_error(node: Node) -> Node:
    """The innermost first node that is or holds an error."""
    for child in node.children:
        if child.is_missing or child.is_error or child.has_error:
            return child if child.is_missing else _first_error(child)
    return node


def _fits(kind: str, name: str) -> bool:
    """RFC 430: ``CamelCase`` types, ``snake_case`` functions and modules."""
    if kind in _TYPES:
        return _CAMEL.match(name) is not None
    return kind not in {"function_item", "mod_item"} or _SNAKE.match(name) is not None


def _documented(root: Node) -> bool:
    """Whether an inner doc comment (``//!`` or ``#![doc``) opens the file, or there is nothing."""
    for node in root.named_children:
        if node.type in _COMMENTS and _text(node).startswith((b"//!", b"/*!")):
            return True
        if node.type == "inner_attribute_item":
            if _text(node).startswith(b"#![doc"):
                return True
        elif node.type not in _COMMENTS:
            return False
    return True


def _imports(root: Node) -> list[Import]:
    found = _captures(root)
    imports: list[Import] = []
    for node in sorted(found.get("use", []), key=lambda node: node.start_byte):
        inline = _inline_modules(node)
        if inline is not None:
            names = [
                "::".join(_from_file(path, inline))
                for part in node.named_children
                for path, _ in _flat(part, [])
            ]
            imports.append(Import(node.start_point[0] + 1, None, 0, names, PLAIN))
    for node in found.get("extern", []):
        if _inline_modules(node) is not None:
            imports.append(Import(node.start_point[0] + 1, None, 0, [_name(node)], PLAIN))
    for node in found.get("mod", []):
        inline = _inline_modules(node)
        if inline is not None and node.child_by_field_name("body") is None:
            attributes = b"".join(_text(each) for each in _attributes(node))
            path = _PATH.search(attributes)
            names = ["::".join((*inline, _name(node)))]
            explicit = path[1].decode(errors="replace") if path else None
            imports.append(Import(node.start_point[0] + 1, explicit, 0, names, MOD))
    return sorted(imports, key=lambda each: each.line)


def _inline_modules(node: Node) -> list[str] | None:
    """The ``mod name { … }`` around *node*, outermost first; None inside what is for tests."""
    inline: list[str] = []
    at: Node | None = node
    while at is not None:
        if any(_TEST.match(_text(attribute)) for attribute in _attributes(at)):
            return None
        if at.type == "mod_item" and at.id != node.id:
            inline.append(_name(at))
        at = at.parent
    return inline[::-1]


def _attributes(node: Node) -> Iterator[Node]:
    """The outer attributes of an item; they are its elder siblings."""
    before = node.prev_named_sibling
    while before is not None and before.type in _INVISIBLE:
        if before.type == "attribute_item":
            yield before
        before = before.prev_named_sibling


def _from_file(path: list[str], inline: list[str]) -> list[str]:
    """*path* as it reads from the file's own module, where it stands in *inline* modules."""
    rest = path[1:] if path[0] == "self" else path
    ups = 0
    while ups < len(rest) and rest[ups] == "super":
        ups += 1
    if ups > len(inline):
        return rest[len(inline) :]
    if ups or path[0] == "self":
        return ["self", *inline[: len(inline) - ups], *rest[ups:]]
    return path


def _flat(node: Node, prefix: list[str]) -> Iterator[tuple[list[str], str]]:
    """Each path of a ``use`` tree with the name it has here; ``*`` for all."""
    if node.type == "use_list":
        for part in node.named_children:
            yield from _flat(part, prefix)
    elif node.type == "scoped_use_list":
        path, inner = node.child_by_field_name("path"), node.child_by_field_name("list")
        yield from _flat(inner or node, [*prefix, *_segments(path)])
    elif node.type == "use_as_clause":
        path, alias = node.child_by_field_name("path"), node.child_by_field_name("alias")
        yield [*prefix, *_segments(path)], _text(alias).decode()
    elif node.type == "use_wildcard":
        yield [*prefix, *(each for part in node.named_children for each in _segments(part))], "*"
    elif node.type not in {"visibility_modifier", *_COMMENTS}:
        segments = [*prefix, *_segments(node)]
        if len(segments) > 1 and segments[-1] == "self":
            segments.pop()
        yield segments, segments[-1]


def _segments(node: Node | None) -> list[str]:
    """``a::b`` as a list; a leading ``::`` (another crate's path) stays as an empty first one."""
    if node is None:
        return []
    return [part.strip() for part in _text(node).decode(errors="replace").split("::")]
