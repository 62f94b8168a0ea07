"""What the proxy looks for in a request's body: ``model`` and ``n``, and nothing else.

The body is read as JSON but only its top level; text, messages and tools are skipped over. A body
that is no JSON object (a file upload, a compressed one, a mistake) names no model: the default
upstream gets it as it is and says itself what is wrong with it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Asked(NamedTuple):
    """What a body asks for; ``model`` is None where it names none."""

    model: str | None = None
    choices: int = 1


class _Body(msgspec.Struct):
    model: Any = None
    n: Any = None


_decoder = msgspec.json.Decoder(_Body)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

_MAX_CHOICES = 128


def look_up(body: bytes) -> Asked:
    """The model and the number of choices that *body* asks for."""
    if not body:
        return Asked()
    try:
        found = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Asked()
    model = found.model if isinstance(found.model, str) and found.model else None
    counts = isinstance(found.n, int) and 1 <= found.n <= _MAX_CHOICES
    return Asked(model, int(found.n) if counts else 1)


def with_model(body: bytes, model: str) -> bytes:
    """*body*, which :func:`look_up` could read, with another ``model``.

    The other values keep their bytes and their order; only white space between them is lost. A body
    that turns out not to be JSON in UTF-8 stays as it is.
    """
    try:
        fields: dict[str, Any] = dict(_object.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body
    fields["model"] = model
    return msgspec.json.encode(fields)
