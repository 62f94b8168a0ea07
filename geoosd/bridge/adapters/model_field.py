"""What the proxy looks for in a request's body: ``model`` and ``n``, and nothing else.

The body is searched as it comes (:mod:`..core.members`), only as far as it must be to find the
model. One that is no JSON object (a file upload, a compressed one, a mistake) names no model: the
default upstream gets it as it is and says itself what is wrong with it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from geoosd.bridge.core.enriching import Enrichable
from geoosd.bridge.core.members import Member, MemberSearch, text_of

HOLD_BYTES: Final = 256 << 10
"""Bodies to this size are held whole; of a longer one, what comes before its model is known."""

_MAX_CHOICES: Final = 128


class Asked(NamedTuple):
    """What a body asks for; ``model`` is None where it names none, ``at`` is where it stands.
    ``enrichable`` is there where fields may be added to it."""

    model: str | None = None
    choices: int = 1
    at: Member | None = None
    enrichable: Enrichable | None = None


class ModelSearch:
    """Reads a body piece by piece until it is known where it is to go."""

    def __init__(self) -> None:
        self._members = MemberSearch(("model", "n"))
        self._size = 0

    def is_enough(self, piece: bytes) -> bool:
        """Take the next piece; whether nothing more need be held to know the model."""
        self._members.feed(piece)
        self._size += len(piece)
        known = self._members.over or "model" in self._members.found
        return known and self._size >= HOLD_BYTES

    def asked(self) -> Asked:
        """What was found."""
        found = self._members.found
        choices = _choices(found.get("n"))
        at = found.get("model")
        model = text_of(at.raw) if at is not None else None
        return Asked(model, choices, at) if model else Asked(None, choices)


def look_up(body: bytes) -> Asked:
    """The model and the number of choices that *body* asks for."""
    search = ModelSearch()
    search.is_enough(body)
    return search.asked()


def with_model(begin: bytes, asked: Asked, model: str) -> bytes:
    """The begin of a body, in which *asked* was found, with another ``model``; all other bytes
    stay."""
    if asked.at is None:
        return begin
    start, raw = asked.at
    return begin[:start] + msgspec.json.encode(model) + begin[start + len(raw) :]


def _choices(at: Member | None) -> int:
    try:
        count = msgspec.json.decode(at.raw, type=int) if at is not None else 1
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 1
    return count if 1 <= count <= _MAX_CHOICES else 1
