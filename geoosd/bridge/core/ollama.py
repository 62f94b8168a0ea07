"""Ollama's own ``/api/chat`` and ``/api/generate``: one line of their NDJSON, or a whole answer.

Specification: https://docs.ollama.com/api. A tool call comes whole; its arguments are an object.
The last line has ``done`` and the counts; durations are nanoseconds. The lines are cut by
:mod:`.ndjson`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from geoosd.bridge.core.pieces import (
    NO_PART,
    Chunk,
    Piece,
    Timings,
    add_text,
    count,
    described,
    entries_decoder,
    is_empty,
    optional,
    read,
)
from geoosd.wire.messages import Role, Usage


class _Function(Struct):
    name: str | None = None
    arguments: Raw = NO_PART


class _Call(Struct):
    function: _Function | None = None


class _Message(Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: Raw = NO_PART


class _Wire(Struct):
    model: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    logprobs: Raw = NO_PART
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Wire)
_calls_decoder = msgspec.json.Decoder(list[_Call] | None)


def decode(data: bytes, kind: str = "message") -> Chunk | None:
    """Read one line, or a whole answer; None for an empty line.

    Raises :class:`MessageError` where it is no object of this API.
    """
    if is_empty(data):
        return None
    wire = read(_decoder, data)
    chunk = Chunk(model=wire.model, error=described(wire.error), done=wire.done)
    texts: list[tuple[Role, str]] = [each for each in _texts(wire, chunk) if each[1]]
    if len(texts) == 1:
        role, text = texts[0]
        add_text(chunk, 0, role, text, optional(entries_decoder, wire.logprobs, chunk))
    else:  # which token belongs to which text is not told
        chunk.pieces += [Piece(0, role, text) for role, text in texts]
    if wire.done:
        _read_end(wire, chunk)
    return chunk


def _texts(wire: _Wire, chunk: Chunk) -> list[tuple[Role, str]]:
    """The texts of a line in the order in which a model makes them."""
    message = wire.message or _Message(wire.response, wire.thinking)
    calls = "".join(
        (call.function.name or "") + bytes(call.function.arguments).decode("utf-8", "replace")
        for call in optional(_calls_decoder, message.tool_calls, chunk) or ()
        if call.function is not None
    )
    return [
        ("reasoning", message.thinking or ""),
        ("answer", message.content or ""),
        ("tool", calls),
    ]


def _read_end(wire: _Wire, chunk: Chunk) -> None:
    if wire.done_reason:
        chunk.finish(0, wire.done_reason)
    made, took = count(wire.eval_count), count(wire.eval_duration)
    chunk.usage = Usage(count(wire.prompt_eval_count), made)
    if made and took:
        chunk.timings = Timings(speed=made / took * 1e9)
