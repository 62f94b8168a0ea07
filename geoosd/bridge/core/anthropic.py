"""Anthropic's Messages API (``/v1/messages``): its named events, and whole answers.

Specification: https://docs.anthropic.com/en/api/messages-streaming. The blocks of a message are one
answer in several roles, not choices. ``input_tokens`` leaves out what came from a cache, so the
prompt's tokens are the sum of the three counts. llama.cpp's ``error`` event carries the error
object bare, without the ``error`` around it.
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
    is_empty,
    optional,
    read,
)
from geoosd.wire.messages import Role, Usage


class _Counts(Struct):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None


class _Block(Struct):
    """A block, or a delta of one."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    name: str | None = None
    input: Raw = NO_PART
    stop_reason: str | None = None


class _Message(Struct):
    content: Raw = NO_PART
    model: str | None = None
    stop_reason: str | None = None
    usage: Raw = NO_PART


class _Event(_Message):
    type: str = ""
    message: Raw = NO_PART
    delta: _Block | None = None
    content_block: _Block | None = None
    error: Any = None


_event_decoder = msgspec.json.Decoder(_Event)
_message_decoder = msgspec.json.Decoder(_Message | None)
_blocks_decoder = msgspec.json.Decoder(list[_Block] | None)
_usage_decoder = msgspec.json.Decoder(_Counts | None)
_any_decoder = msgspec.json.Decoder()

_NO_INPUT: Final = (b"", b"{}", b"null")


def decode(data: bytes, kind: str = "message") -> Chunk | None:
    """Read one event's data, or a whole answer; None for keep-alives.

    Raises :class:`MessageError` where it is no object of this API.
    """
    if is_empty(data):
        return None
    event = read(_event_decoder, data)
    chunk = Chunk()
    if event.type == "content_block_delta" or event.type == "message_delta":
        _read_block(event.delta, chunk)
        _read_usage(event.usage, chunk)
    elif event.type == "content_block_start":
        _read_block(event.content_block, chunk)
    elif event.type == "message_start":
        started = optional(_message_decoder, event.message, chunk)
        if started is not None:
            _read_message(started, chunk)
    elif event.type == "message":
        _read_message(event, chunk)
    elif event.error is not None:
        chunk.error = described(event.error)
    elif kind == "error" or event.type == "error":
        chunk.error = described({"message": optional(_any_decoder, event.message, chunk)})
    else:
        chunk.done = event.type == "message_stop"
    return chunk


def _read_message(message: _Message, chunk: Chunk) -> None:
    chunk.model = message.model
    _read_usage(message.usage, chunk)
    for block in optional(_blocks_decoder, message.content, chunk) or ():
        _read_block(block, chunk)
    if message.stop_reason:
        chunk.finish(0, message.stop_reason)


def _read_block(block: _Block | None, chunk: Chunk) -> None:
    if block is None:
        return
    given = bytes(block.input)
    called = "" if given in _NO_INPUT else given.decode("utf-8", "replace")
    texts: tuple[tuple[Role, str | None], ...] = (
        ("reasoning", block.thinking),
        ("answer", block.text),
        ("tool", block.partial_json or (block.name or "") + called),
    )
    for role, text in texts:
        add_text(chunk, 0, role, text or "", None)
    if block.stop_reason:
        chunk.finish(0, block.stop_reason)


def _read_usage(raw: Raw, chunk: Chunk) -> None:
    usage = optional(_usage_decoder, raw, chunk)
    if usage is not None:
        prompt = count(
            usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        )
        chunk.usage = Usage(prompt, count(usage.output_tokens))
