"""The rules of alerts as they stand in ``[control] alerts``, and what is told of an alert.

A rule is ``QUANTITY < NUMBER`` or ``QUANTITY > NUMBER``; :data:`QUANTITIES` has the names.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import Struct

QUANTITIES: Final[dict[str, tuple[str, str]]] = {
    "pas": ("the structure score (PAS)", "geoosctl structure --debug"),
    "upstream_failures": ("upstream failures within 5 minutes", "geoosctl models"),
    "broadcast_p99_ms": ("milliseconds of the slowest flush to viewers in 100", "geoosctl viewers"),
    "pipeline_p99_ms": ("milliseconds of the slowest token to the map in 100", "geoosctl status"),
    "lost_messages": ("messages lost within 5 minutes", "geoosctl status"),
    "restarts": ("restarts of daemons within 10 minutes", "geoosctl logs --level error"),
    "daemons_down": ("daemons that do not answer", "geoosctl health"),
}
"""What a rule may watch: in words, and the command to begin with."""

DEFAULT: Final = ("pas < 0.85", "upstream_failures > 3", "broadcast_p99_ms > 50")

_RULE: Final = re.compile(r"\s*([a-z0-9_]+)\s*([<>])\s*([0-9]+(?:\.[0-9]+)?)\s*")


@dataclass(frozen=True)
class Rule:
    """``quantity`` beyond ``threshold`` is an alert."""

    quantity: str
    sign: Literal["<", ">"]
    threshold: float

    @property
    def name(self) -> str:
        """As it is written."""
        return f"{self.quantity} {self.sign} {self.threshold:g}"

    def is_beyond(self, value: float) -> bool:
        """Whether *value* is an alert."""
        return value < self.threshold if self.sign == "<" else value > self.threshold


def parse(text: str) -> Rule:
    """A rule. Raises ValueError that says what is wrong with it."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is not a rule such as "{DEFAULT[0]}"')
    quantity, sign, threshold = found.groups()
    if quantity not in QUANTITIES:
        close = difflib.get_close_matches(quantity, QUANTITIES, n=1)
        hint = f"do you mean {close[0]}?" if close else f"there are {', '.join(QUANTITIES)}"
        raise ValueError(f"{quantity!r} is not known; {hint}")
    return Rule(quantity, "<" if sign == "<" else ">", float(threshold))


class Alert(Struct, frozen=True):
    """An alert that fires or did; ``since`` is seconds since the epoch."""

    rule: str
    value: float
    threshold: float
    since: float
    summary: str
    remedy: str


def alert(rule: Rule, value: float, since: float) -> Alert:
    """The alert of a rule at *value*."""
    words, remedy = QUANTITIES[rule.quantity]
    summary = f"{words}: {value:.3g}, alert at {rule.sign} {rule.threshold:g}"
    return Alert(rule.name, value, rule.threshold, since, summary, remedy)
