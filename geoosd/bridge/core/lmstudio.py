"""LM Studio's own ``/api/v1/chat``: its named events, and whole answers.

Specification: https://lmstudio.ai/docs/developer/rest/streaming-events. Loading the model and
reading the prompt are told as shares 0..1. ``chat.end`` repeats every text, so of it only the
statistics are read. What a tool answered (``tool_call.result``) is not the model's. The server
gives no reason for the end of an answer, and no probabilities.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from geoosd.bridge.core.pieces import (
    NO_PART,
    Chunk,
    Timings,
    add_text,
    count,
    described,
    is_empty,
    optional,
    read,
    share,
)
from geoosd.wire.messages import Role, Usage

_ROLES: Final[dict[str, Role]] = {
    "message": "answer",
    "message.delta": "answer",
    "reasoning": "reasoning",
    "reasoning.delta": "reasoning",
}


class _Stats(Struct):
    input_tokens: int | None = None
    total_output_tokens: int | None = None
    tokens_per_second: float | None = None


class _Item(Struct):
    """An item of a whole answer's ``output``; the events of a stream have the same fields."""

    type: str = ""
    content: str | None = None
    tool: str | None = None
    arguments: Raw = NO_PART


class _Result(Struct):
    model_instance_id: str | None = None
    output: Raw = NO_PART
    stats: Raw = NO_PART


class _Event(_Item):
    model_instance_id: str | None = None
    progress: float | None = None
    result: Raw = NO_PART
    output: Raw = NO_PART
    stats: Raw = NO_PART
    error: Any = None
    message: Any = None


_event_decoder = msgspec.json.Decoder(_Event)
_result_decoder = msgspec.json.Decoder(_Result | None)
_output_decoder = msgspec.json.Decoder(list[_Item] | None)
_stats_decoder = msgspec.json.Decoder(_Stats | None)


def decode(data: bytes, kind: str = "message") -> Chunk | None:
    """Read one event's data, or a whole answer; None for keep-alives.

    Raises :class:`MessageError` where it is no object of this API.
    """
    if is_empty(data):
        return None
    event = read(_event_decoder, data)
    chunk = Chunk(model=event.model_instance_id)
    if event.type == "model_load.progress":
        chunk.loading = share(event.progress)
    elif event.type == "prompt_processing.progress":
        chunk.progress = share(event.progress)
    elif event.type == "chat.end":
        result = optional(_result_decoder, event.result, chunk)
        if result is not None:
            chunk.model = result.model_instance_id
            _read_stats(result.stats, chunk)
        chunk.done = True
    elif event.error is not None or event.type == "error" or kind == "error":
        chunk.error = described(event.error or {"message": event.message})
    elif event.type:
        _read_item(event, chunk)
    else:
        for item in optional(_output_decoder, event.output, chunk) or ():
            _read_item(item, chunk)
        _read_stats(event.stats, chunk)
    return chunk


def _read_item(item: _Item, chunk: Chunk) -> None:
    role = _ROLES.get(item.type)
    if role is not None:
        add_text(chunk, 0, role, item.content or "", None)
        return
    # In a stream the name comes first, then the arguments, which repeat it.
    name = item.tool if item.type in ("tool_call.start", "tool_call") else None
    text = name or ""
    if item.type in ("tool_call.arguments", "tool_call"):
        text += bytes(item.arguments).decode("utf-8", "replace")
    add_text(chunk, 0, "tool", text, None)


def _read_stats(raw: Raw, chunk: Chunk) -> None:
    stats = optional(_stats_decoder, raw, chunk)
    if stats is not None:
        chunk.usage = Usage(count(stats.input_tokens), count(stats.total_output_tokens))
        chunk.timings = Timings(speed=stats.tokens_per_second)
