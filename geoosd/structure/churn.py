"""Where a tree changes most, and how large it is there: churn times size, from git's history.

Shown beside the score, never part of it: a file that is both large and often changed is where
a tree's faults gather (Tornhill, "Your Code as a Crime Scene"). The caller runs git;
:data:`COMMAND` is what it should run in the tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

COMMAND: Final = (
    "git", "-c", "log.showSignature=false", "log", "--since=1 year ago", "--no-merges",
    "--no-renames", "--relative", "--name-only", "--format=format:", "-z",
)  # fmt: skip
SHOWN: Final = 10


@dataclass(frozen=True)
class Hot:
    """A file, in how many commits it was changed, and its lines now."""

    file: str
    commits: int
    lines: int

    @property
    def heat(self) -> int:
        """Commits times lines."""
        return self.commits * self.lines


def hottest(log: bytes, lines: Mapping[str, int]) -> list[Hot]:
    """The files with the most commits times lines.

    *log* is the output of :data:`COMMAND`, *lines* the length of each source file.
    """
    names = (part.strip(b"\n") for part in log.split(b"\0"))
    commits = Counter(name.decode(errors="surrogateescape") for name in names if name)
    found = [Hot(file, commits[file], size) for file, size in lines.items() if commits[file]]
    return sorted(found, key=lambda each: (-each.heat, each.file))[:SHOWN]
