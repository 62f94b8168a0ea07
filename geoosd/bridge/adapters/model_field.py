"""What the proxy looks for in a request's body: ``model`` and ``n``, and nothing else.

The body is searched as it comes, only as far as it must be to find the model: a JSON object
(:mod:`..core.members`), or a form with audio or pictures (:mod:`..core.form`). Any other one (a
compressed one, a mistake) names no model: the default upstream gets it as it is and says itself
what is wrong with it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from geoosd.bridge.core import form
from geoosd.bridge.core.enriching import Enrichable
from geoosd.bridge.core.form import FieldSearch
from geoosd.bridge.core.members import Member, MemberSearch, text_of

HOLD_BYTES: Final = 256 << 10
"""Bodies to this size are held whole; of a longer one, what comes before its model is known."""

_MAX_CHOICES: Final = 128
_WANTED: Final = ("model", "n")


class Asked(NamedTuple):
    """What a body asks for; ``model`` is None where it names none, ``at`` is where it stands.
    ``enrichable`` is there where fields may be added to it, ``is_form`` tells that it is no
    JSON."""

    model: str | None = None
    choices: int = 1
    at: Member | None = None
    enrichable: Enrichable | None = None
    is_form: bool = False


class ModelSearch:
    """Reads a body of *content_type* piece by piece until it is known where it is to go."""

    def __init__(self, content_type: bytes | None = None) -> None:
        boundary = form.boundary_of(content_type) if content_type is not None else None
        self._is_form = boundary is not None
        self._members = (
            FieldSearch(boundary, _WANTED) if boundary is not None else MemberSearch(_WANTED)
        )
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
        model = self._text(at.raw) if at is not None else None
        return Asked(model, choices, at, is_form=self._is_form) if model else Asked(None, choices)

    def _text(self, raw: bytes) -> str | None:
        return raw.decode("utf-8", "replace") if self._is_form else text_of(raw)


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
    said = model.encode() if asked.is_form else msgspec.json.encode(model)
    return begin[:start] + said + begin[start + len(raw) :]


def _choices(at: Member | None) -> int:
    try:
        count = msgspec.json.decode(at.raw, type=int) if at is not None else 1
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 1
    return count if 1 <= count <= _MAX_CHOICES else 1
