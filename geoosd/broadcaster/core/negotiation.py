"""What a request wants of a file: which coding (RFC 9110 §12.5.3), which bytes of it (§14.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_WEIGHT: Final = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*")
_ONE_RANGE: Final = re.compile(r"bytes=\s*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))\s*", re.I)


def coding_of(accept_encoding: str, offered: Sequence[str]) -> str | None:
    """The coding to answer with: of the *offered*, best first, the first that the client likes
    best; None when it takes none of them, or says that it likes ``identity`` better. A weight that
    cannot be read is 0.
    """
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        found = _WEIGHT.fullmatch(parameter or "q=1")
        weights[name.strip()] = float(found[1]) if found else 0.0
    others, plain = weights.get("*", 0.0), weights.get("identity", 0.0)
    liked = {coding: weights.get(coding, others) for coding in offered}
    best = max(liked, key=liked.__getitem__, default=None)
    return best if best is not None and liked[best] > 0 and liked[best] >= plain else None


def range_of(header: str, size: int) -> range | None:
    """The bytes that a header ``Range`` asks for of *size* in all.

    None: all of them. So it is without a header, and with one that is not understood; several
    ranges at once are not, and then a server may send everything. Empty: nothing of what is asked
    for is there, and the answer is 416.
    """
    found = _ONE_RANGE.fullmatch(header)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return range(max(0, size - int(suffix)), size)
    if last is None:
        return range(int(first), size)
    if int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size))
