"""What a look at a tree found: plain values, made by :mod:`.analysis`, shown by ``geoosctl``.

All of it is the same for the same tree, in whatever order its files come; no clock is in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

FORMULA: Final = 1
"""Version of the formula (docs/health.md); grows when a score may change without the tree."""
OVERALL_THRESHOLD: Final = 0.95
DIMENSION_THRESHOLD: Final = 0.90
CRITICAL_MARGIN: Final = 0.15
"""More than this below its threshold a value is critical."""

Status = Literal["healthy", "warning", "critical", "unknown"]
DIMENSIONS: Final = ("symmetry", "integrity", "stability", "consistency")


@dataclass(frozen=True)
class Offender:
    """Something that costs score: a file, a line (0: the whole file), what is wrong."""

    file: str
    line: int
    message: str


@dataclass(frozen=True)
class Subsystem:
    """A folder and how many source files it has."""

    name: str
    files: int


@dataclass(frozen=True)
class Cycle:
    """A shortest cycle of imports, ``a → b → a``, and how many modules hang in the same knot."""

    path: list[str]
    modules: int
    file: str
    line: int


@dataclass(frozen=True)
class Wide:
    """A module in the import graph, by what can reach it and what it can reach."""

    module: str
    file: str
    reaches: int
    """How many others a change to it can reach: those that import it, directly or not."""
    depends: int
    """How many others it imports, directly or not."""


@dataclass(frozen=True)
class Dimension:
    """A value in 0..1 and what it means."""

    value: float
    status: Status


@dataclass(frozen=True)
class Report:
    """The structural health of one tree."""

    tree: str
    status: Status
    reason: str | None
    """The dimension that decides the status, ``overall``, or why it is unknown."""
    score: float | None
    """PAS; None where it is unknown."""
    dimensions: dict[str, Dimension]
    terms: dict[str, float]
    """What the dimensions are made of, each in 0..1; a term that cannot be measured is missing."""
    counts: dict[str, int]
    subsystems: list[Subsystem]
    entropy: float
    """Bits, of the files per subsystem."""
    cycles: list[Cycle]
    widest: list[Wide]
    offenders: dict[str, list[Offender]]
    recommendations: list[str]
    notes: list[str]
    """What was left out, and what was assumed."""
    formula: int = FORMULA

    @property
    def label(self) -> str:
        """``healthy``, ``critical (symmetry)``, ``unknown (no source files)``."""
        return self.status if self.reason is None else f"{self.status} ({self.reason})"

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, for JSON; with ``label``."""
        return {**asdict(self), "label": self.label}


def unknown(tree: str, reason: str, counts: dict[str, int]) -> Report:
    """The report of a tree of which nothing can be said."""
    return Report(
        tree=tree,
        status="unknown",
        reason=reason,
        score=None,
        dimensions={},
        terms={},
        counts=counts,
        subsystems=[],
        entropy=0.0,
        cycles=[],
        widest=[],
        offenders={},
        recommendations=[],
        notes=[],
    )


_GRAVEST_FIRST: Final[tuple[Status, ...]] = ("critical", "warning", "healthy")


def judged(value: float, threshold: float = DIMENSION_THRESHOLD) -> Status:
    """What a value means beside its threshold."""
    # Rounded, since 0.9 - 0.75 is a little more than 0.15 in binary.
    below = round(threshold - value, 9)
    if below <= 0:
        return "healthy"
    return "critical" if below > CRITICAL_MARGIN else "warning"


def overall(score: float, dimensions: dict[str, Dimension]) -> tuple[Status, str | None]:
    """The worst status, and the dimension that has it: the lowest; ``overall`` only if none has."""
    total = judged(score, OVERALL_THRESHOLD)
    statuses = {total, *(each.status for each in dimensions.values())}
    worst: Status = next(each for each in _GRAVEST_FIRST if each in statuses)
    if worst == "healthy":
        return worst, None
    having = [name for name, each in dimensions.items() if each.status == worst]
    return worst, min(having, key=lambda name: dimensions[name].value, default="overall")
