"""OpenAI's Responses API (``/v1/responses``): its named events, and whole answers.

Specification: https://platform.openai.com/docs/api-reference/responses-streaming. Each text comes
three times: in deltas, in a ``done`` event, and in the response that ends the stream; only the
deltas are read, and of the last the usage and how it ended. There is no ``[DONE]``. llama.cpp
reports an error in the middle as a bare ``{"error": ...}`` without an event name, and adds
``timings`` to ``response.completed``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from geoosd.bridge.core.pieces import (
    NO_PART,
    Chunk,
    add_text,
    count,
    described,
    entries_decoder,
    is_empty,
    optional,
    read,
    timings_decoder,
)
from geoosd.wire.messages import Role, Usage

_DELTAS: Final[dict[str, Role]] = {
    "response.output_text.delta": "answer",
    "response.refusal.delta": "answer",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.function_call_arguments.delta": "tool",
    "response.custom_tool_call_input.delta": "tool",
    "response.mcp_call_arguments.delta": "tool",
    "response.code_interpreter_call_code.delta": "tool",
}
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")


class _Event(Struct):
    type: str = ""
    delta: Any = None
    logprobs: Raw = NO_PART
    item: Raw = NO_PART
    response: Raw = NO_PART
    timings: Raw = NO_PART
    error: Any = None
    message: Any = None
    code: Any = None
    object: Any = None


class _Text(Struct):
    text: str | None = None
    refusal: str | None = None
    logprobs: Raw = NO_PART


class _Item(Struct):
    type: str = ""
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Text] | None = None
    summary: list[_Text] | None = None


class _Reason(Struct):
    reason: str | None = None


class _Counts(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


class _Response(Struct):
    model: str | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: Raw = NO_PART
    usage: Raw = NO_PART
    output: Raw = NO_PART


_event_decoder = msgspec.json.Decoder(_Event)
_response_decoder = msgspec.json.Decoder(_Response | None)
_item_decoder = msgspec.json.Decoder(_Item | None)
_output_decoder = msgspec.json.Decoder(list[_Item] | None)
_reason_decoder = msgspec.json.Decoder(_Reason | None)
_usage_decoder = msgspec.json.Decoder(_Counts | None)


def decode(data: bytes, kind: str = "message") -> Chunk | None:
    """Read one event's data, or a whole answer; None for keep-alives.

    Raises :class:`MessageError` where it is no object of this API.
    """
    if is_empty(data):
        return None
    if data.strip() == b"[DONE]":  # some proxies add it
        return Chunk(done=True)
    event = read(_event_decoder, data)
    chunk = Chunk()
    role = _DELTAS.get(event.type)
    if role is not None:
        entries = optional(entries_decoder, event.logprobs, chunk)
        add_text(chunk, 0, role, event.delta if isinstance(event.delta, str) else "", entries)
    elif event.type == "response.output_item.added":
        item = optional(_item_decoder, event.item, chunk)
        add_text(chunk, 0, "tool", (item.name if item is not None else None) or "", None)
    elif event.object == "response":
        _read_response(Raw(data), chunk, whole=True)
    elif "error" in (event.type, kind) or event.error is not None:
        chunk.error = described(event.error or {"message": event.message, "code": event.code})
    else:
        _read_end(event, chunk)
    return chunk


def _read_end(event: _Event, chunk: Chunk) -> None:
    """The response so far, or as it ended."""
    _read_response(event.response, chunk, whole=False)
    chunk.done = event.type in _ENDS
    chunk.timings = optional(timings_decoder, event.timings, chunk)


def _read_response(raw: Raw, chunk: Chunk, *, whole: bool) -> None:
    """What a response says of itself; its texts only where they have not come in deltas."""
    response = optional(_response_decoder, raw, chunk)
    if response is None:
        return
    chunk.model = response.model
    chunk.error = described(response.error)
    usage = optional(_usage_decoder, response.usage, chunk)
    if usage is not None:
        chunk.usage = Usage(
            count(usage.input_tokens), count(usage.output_tokens), count(usage.total_tokens)
        )
    if response.status not in (None, "queued", "in_progress"):
        why = optional(_reason_decoder, response.incomplete_details, chunk)
        chunk.finish(0, (why.reason if why is not None else None) or str(response.status))
    if whole:
        for item in optional(_output_decoder, response.output, chunk) or ():
            _read_item(item, chunk)


def _read_item(item: _Item, chunk: Chunk) -> None:
    role: Role = "reasoning" if item.type == "reasoning" else "answer"
    for text in item.content or item.summary or ():
        entries = optional(entries_decoder, text.logprobs, chunk)
        add_text(chunk, 0, role, text.text or text.refusal or "", entries)
    call = (item.name or "") + (item.arguments or item.input or "")
    add_text(chunk, 0, "tool", call, None)
