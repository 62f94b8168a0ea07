"""Which dialect a request speaks, and how an answer in it is to be read.

The path says the dialect, the answer's content type how it is framed: a client may ask for a stream
or not, and some servers answer in OpenAI's chunks where another would answer in its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

from geoosd.bridge.core import anthropic, chunks, completion, lmstudio, ollama, responses
from geoosd.bridge.core.pieces import Chunk

Dialect: TypeAlias = Literal[
    "chat", "completions", "responses", "messages", "completion", "ollama", "lmstudio", "other"
]
"""Of ``other`` requests only start and end are told."""

Decode: TypeAlias = Callable[[bytes, str], Chunk | None]
"""An event's data and its type, or a whole answer, to what it says; raises MessageError."""

Framing: TypeAlias = Literal["events", "lines", "whole"]


class Reading(NamedTuple):
    """How the body of an answer is cut, and what reads the parts."""

    framing: Framing
    decode: Decode


NATIVE: Final = ("/completion", "/completions", "/infill")
"""llama.cpp's own paths, which are neither under ``/v1`` nor under ``/api``."""

_DIALECTS: Final[dict[str, Dialect]] = {
    "/v1/chat/completions": "chat",
    "/api/v0/chat/completions": "chat",
    "/v1/completions": "completions",
    "/api/v0/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/api/chat": "ollama",
    "/api/generate": "ollama",
    "/api/v1/chat": "lmstudio",
    **dict.fromkeys(NATIVE, "completion"),
}

PATHS: Final = tuple(_DIALECTS)
"""What a POST to is understood."""

_DECODERS: Final[dict[Dialect, Decode]] = {
    "chat": chunks.decode,
    "completions": chunks.decode_any,
    "responses": responses.decode,
    "messages": anthropic.decode,
    "completion": completion.decode,
    "ollama": ollama.decode,
    "lmstudio": lmstudio.decode,
}
_LINES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")


def dialect_of(path: str) -> Dialect:
    """The dialect of a request path such as ``/v1/chat/completions?x=y``."""
    return _DIALECTS.get(path.partition("?")[0].rstrip("/"), "other")


def reading_of(dialect: Dialect, content_type: str) -> Reading | None:
    """How an answer of this content type is read; None where it cannot be."""
    decode = _DECODERS.get(dialect)
    kind = content_type.partition(";")[0].strip().lower()
    if decode is None:
        return None
    if kind == "text/event-stream":
        return Reading("events", chunks.decode if dialect == "ollama" else decode)
    if kind in _LINES:
        return Reading("lines", decode)
    if kind.endswith("json"):
        return Reading("whole", decode)
    return None
