"""What resolving a tree's imports gives, whatever the language: links between files, and failures.

Filled by :mod:`.python_imports` and :mod:`.rust_imports`, read by :mod:`.measure` and
:mod:`.contracts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Statement:
    """One import statement that is internal, at least in part."""

    source: int
    """Index of the importing file."""
    line: int
    targets: list[int]
    """Indexes of the files that it depends on, also that of the file itself."""
    missing: str | None = None
    """What it names that is not there, in words; the statement is then unresolved."""


@dataclass
class Links:
    """All of a tree. Files are indexes into the list of source files."""

    names: dict[int, str]
    """What a file is called in an import: ``geoosd.wire.messages``, ``crate::a``."""
    statements: list[Statement] = field(default_factory=list[Statement])
    typing: list[Statement] = field(default_factory=list[Statement])
    """Those under ``if TYPE_CHECKING``; kept apart."""
    guarded: int = 0
    """Statements that did not resolve where the program expects that they may not."""
    external: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    """Importing file, line, and the dotted name of something outside the tree."""
    external_typing: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    """The same under ``if TYPE_CHECKING``."""
