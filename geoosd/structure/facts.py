"""What one source file says of itself, whatever the rest of the tree holds; made once, then cached.

Made by :mod:`.python_source` and :mod:`.rust_source`, given meaning by :mod:`.python_imports` and
:mod:`.rust_imports`. Both types are tuples of plain values, so that JSON keeps them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

PLAIN: Final = ""
GUARDED: Final = "guarded"
"""In a ``try`` whose handler takes ImportError: may fail, on purpose."""
TYPING: Final = "typing"
"""Under ``if TYPE_CHECKING``: never runs."""
MOD: Final = "mod"
"""Rust's ``mod name;``: says where a file is, is no dependency."""


class Import(NamedTuple):
    """One import statement."""

    line: int
    """From 1."""
    module: str | None
    """Python: what stands after ``from``, "" for ``from . import x``; None for ``import x``.
    Rust: the ``#[path]`` of a ``mod``, else None."""
    level: int
    """Python: the leading dots. Rust: 0."""
    names: Sequence[str]
    """What is imported: dotted names; in Rust paths such as ``crate::a::X``."""
    kind: str
    """PLAIN, GUARDED, TYPING or MOD."""


class Facts(NamedTuple):
    """One file."""

    lines: int
    error: tuple[int, str] | None = None
    """Line and message, where it cannot be parsed; all below is then unknown and empty."""
    hidden_imports: int = 0
    """Where it cannot be parsed: how many import statements its text can hold at most."""
    documented: bool = False
    """Says what it is, or has nothing to say it of."""
    imports: Sequence[Import] = ()
    defined: Sequence[str] = ()
    """Names that the module has for others."""
    dynamic: bool = False
    """Whether it may have more names than can be read off."""
    misnamed: Sequence[tuple[int, str]] = ()
    """Line and name of each class or function against the language's convention."""


def unreadable(source: bytes, line: int, message: str, hidden_imports: int) -> Facts:
    """The facts of a file that cannot be parsed."""
    error = (max(1, line), message)
    return Facts(line_count(source), error=error, hidden_imports=hidden_imports)


def line_count(source: bytes) -> int:
    """Lines of a file, the last one with or without its newline."""
    return source.count(b"\n") + (not source.endswith(b"\n") and source != b"")
