"""What one event of an OpenAI-compatible stream says: chunk bytes in, :class:`Chunk` out.

Reads ``chat.completion.chunk`` and ``text_completion`` of the OpenAI API and what llama.cpp, vLLM
and LM Studio make of them: role-only first chunks, ``null`` and keep-alive data,
usage after empty ``choices``, ``prompt_progress``, ``timings``, chat-style ``logprobs`` in
completions, the legacy lists of the completions API, ``prob``/``top_probs`` after sampling,
``reasoning_content`` or ``reasoning``, tool calls, an error object in the middle, and whole
answers that were not streamed.

vLLM adds ``token_ids`` to a choice and ``prompt_token_ids`` to the first chunk (not read: they are
the client's words).

A chunk is not a token: one chunk may hold several tokens, and a token may hold a part of a
character. A chunk is cut into :class:`.pieces.Piece` s along the server's own token list where that
makes up exactly the text, and says so (``exact``) where it does not.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from geoosd.bridge.core.pieces import (
    Candidate,
    Chunk,
    Piece,
    Progress,
    Timings,
    TokenLogprob,
    add_text,
    described,
    is_empty,
    progress_of,
)
from geoosd.errors import MessageError
from geoosd.wire.messages import Role, Usage

_DONE: Final = b"[DONE]"


# -- as on the wire --------------------------------------------------------------------------------


class _Logprobs(Struct):
    content: list[TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct):
    function: _Function | None = None


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None


class _Wire(Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Usage | None = None
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    error: Any = None
    object: Any = None
    message: Any = None


class _BareChoice(Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _BareWire(Struct):
    """The least that must be understood: what a server puts oddly into the rest loses no text."""

    choices: list[_BareChoice] | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Wire)
_bare_decoder = msgspec.json.Decoder(_BareWire)


def decode(data: bytes, kind: str = "message") -> Chunk | None:
    """Read the data of one event, or a whole JSON answer; None for what says nothing (keep-alives).

    *kind* is the event's type, which says nothing in this dialect.

    Raises :class:`MessageError` where not even the text can be read.
    """
    if data[:1] != b"{":
        if data.strip() == _DONE:
            return Chunk(done=True)
        if is_empty(data):
            return None
    try:
        wire = _decoder.decode(data)
    except msgspec.ValidationError:
        return _decode_bare(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("malformed", f"cannot read a chunk: {error}") from None
    chunk = Chunk(model=wire.model or None, usage=wire.usage, error=_error_text(wire))
    if wire.prompt_progress is not None:
        chunk.progress = progress_of(wire.prompt_progress)
    if wire.timings is not None:
        chunk.predicted = wire.timings.predicted_n
        chunk.speed = wire.timings.predicted_per_second
        chunk.choice = max(0, wire.choices[0].index) if wire.choices else 0
    for choice in wire.choices or ():
        _read_choice(choice, choice.logprobs, choice.token_ids, chunk)
    return chunk


def _decode_bare(data: bytes) -> Chunk:
    try:
        wire = _bare_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise MessageError("invalid", f"cannot read a chunk: {error}") from None
    chunk = Chunk(error=described(wire.error), partial=True)
    for choice in wire.choices or ():
        _read_choice(choice, None, None, chunk)
    return chunk


def _error_text(wire: _Wire) -> str | None:
    if wire.error is not None:
        return described(wire.error)
    if wire.object == "error":
        return described({"message": wire.message})
    return None


def error_of(body: bytes) -> str | None:
    """The message in the body of an error answer, or None where it holds none."""
    try:
        wire = _bare_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return described(wire.error)


# -- choices ---------------------------------------------------------------------------------------


def _read_choice(
    choice: _Choice | _BareChoice,
    logprobs: _Logprobs | None,
    token_ids: list[int] | None,
    chunk: Chunk,
) -> None:
    index = max(0, choice.index)
    if choice.finish_reason:
        chunk.finished[index] = choice.finish_reason
    texts = _texts(choice)
    if not texts:
        return
    if len(texts) == 1:
        role, text = texts[0]
        entries = _entries(logprobs) if logprobs is not None else None
        add_text(chunk, index, role, text, entries, token_ids)
        return
    # Reasoning, answer and tools in one chunk: which token belongs to which is not told.
    for role, text in texts:
        chunk.pieces.append(Piece(index, role, text))


def _texts(choice: _Choice | _BareChoice) -> list[tuple[Role, str]]:
    """The non-empty texts of a choice in the order in which a model makes them."""
    if choice.text:
        return [("answer", choice.text)]
    delta = choice.delta if choice.delta is not None else choice.message
    if delta is None:
        return []
    texts: list[tuple[Role, str]] = []
    if reasoning := delta.reasoning_content or delta.reasoning:
        texts.append(("reasoning", reasoning))
    if delta.content:
        texts.append(("answer", delta.content))
    if delta.tool_calls:
        tool = "".join(
            (call.function.name or "") + (call.function.arguments or "")
            for call in delta.tool_calls
            if call.function is not None
        )
        if tool:
            texts.append(("tool", tool))
    return texts


def _entries(logprobs: _Logprobs) -> list[TokenLogprob]:
    """One entry a token, from the chat form or from the legacy lists of the completions API."""
    if logprobs.content is not None:
        return logprobs.content
    tokens = logprobs.tokens or []
    chosen = logprobs.token_logprobs or []
    tops = logprobs.top_logprobs or []
    entries: list[TokenLogprob] = []
    for position, token in enumerate(tokens):
        top = tops[position] if position < len(tops) else None
        entries.append(
            TokenLogprob(
                token=token,
                logprob=chosen[position] if position < len(chosen) else None,
                top_logprobs=[
                    Candidate(token=name, logprob=value) for name, value in (top or {}).items()
                ],
            )
        )
    return entries
