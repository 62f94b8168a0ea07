"""llama.cpp's own ``/completion``: its events, and whole answers of one prompt or of several.

Specification: https://github.com/ggml-org/llama.cpp/tree/master/tools/server#post-completion. Text
is ``content``; ``tokens`` and ``completion_probabilities`` come where they were asked for. Where a
token is a part of a character, only the last one's are shown, but ``tokens_predicted`` counts all.
The last event has ``stop`` and an empty ``content``; no ``[DONE]`` follows.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from geoosd.bridge.core.pieces import (
    NO_PART,
    Chunk,
    Progress,
    Timings,
    add_text,
    count,
    described,
    entries_decoder,
    is_empty,
    optional,
    progress_of,
    read,
    timings_decoder,
)
from geoosd.wire.messages import Usage


class _Wire(Struct):
    index: int = 0
    content: str = ""
    tokens: Raw = NO_PART
    completion_probabilities: Raw = NO_PART
    stop: bool = False
    stop_type: str | None = None
    model: str | None = None
    tokens_predicted: int | None = None
    tokens_evaluated: int | None = None
    prompt_progress: Raw = NO_PART
    timings: Raw = NO_PART
    error: Any = None


_decoder = msgspec.json.Decoder(_Wire)
_list_decoder = msgspec.json.Decoder(list[_Wire])
_ids_decoder = msgspec.json.Decoder(list[int] | None)
_progress_decoder = msgspec.json.Decoder(Progress | None)


def decode(data: bytes, kind: str = "message") -> Chunk | None:
    """Read one event's data, or a whole answer; None for keep-alives.

    Raises :class:`MessageError` where it is nothing that this server sends.
    """
    chunk = Chunk()
    if data[:1] == b"{":
        _read(read(_decoder, data), chunk)
    elif data.strip() == b"[DONE]":
        chunk.done = True
    elif is_empty(data):
        return None
    else:
        for answer in read(_list_decoder, data):
            _read(answer, chunk)
    return chunk


def _read(wire: _Wire, chunk: Chunk) -> None:
    index = max(0, wire.index)
    entries = optional(entries_decoder, wire.completion_probabilities, chunk)
    ids = optional(_ids_decoder, wire.tokens, chunk)
    add_text(chunk, index, "answer", wire.content, entries, ids)
    chunk.choice = index
    chunk.model = wire.model or chunk.model
    chunk.error = chunk.error or described(wire.error)
    progress = optional(_progress_decoder, wire.prompt_progress, chunk)
    if progress is not None:
        chunk.progress = progress_of(progress)
    predicted = wire.tokens_predicted if not wire.stop else None
    timings = optional(timings_decoder, wire.timings, chunk)
    if timings is not None or predicted is not None:
        chunk.timings = Timings(predicted, timings.speed if timings is not None else None)
    if wire.stop:
        chunk.finish(index, wire.stop_type or "stop")
        chunk.usage = Usage(count(wire.tokens_evaluated), count(wire.tokens_predicted))
