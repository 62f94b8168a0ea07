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

from math import exp
from typing import Annotated, Any, Final

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
    named_id,
    progress_of,
    read,
)
from geoosd.wire.messages import Role, Usage

_DONE: Final = b"[DONE]"


# -- as on the wire --------------------------------------------------------------------------------


# No garbage collector for them (gc=False): what is decoded from JSON has no cycles, and a stream
# makes many.


class _Logprobs(Struct, gc=False):
    content: list[TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct, gc=False):
    function: _Function | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _BareChoice(Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Choice(_BareChoice, gc=False):
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None


class _Wire(Struct, gc=False):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Usage | None = None
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    error: Any = None


class _BareWire(Struct, gc=False):
    """The least that must be understood: what a server puts oddly into the rest loses no text."""

    choices: list[_BareChoice] | None = None
    error: Any = None


class _OldError(Struct, gc=False):
    """An error object of old vLLM, which is not inside an ``error``."""

    object: Any = None
    message: Any = None


# -- as it nearly always is ------------------------------------------------------------------------

# One choice with a text, alone or with what is known of its one token, or none. These have the
# fields of the types above, but no more than that may be in them: msgspec refuses everything else
# while it reads, so that Python need not look for it. A refusal costs more than a chunk: so a
# stream's first and last chunks are in here too. The order is llama.cpp's, which is found quickest.

_Natural = Annotated[int, msgspec.Meta(ge=0)]
_Logarithm = Annotated[float, msgspec.Meta(le=0)]


class _UsualEntry(Struct, gc=False, kw_only=True):
    id: _Natural | None = None
    token: str
    logprob: _Logarithm
    top_logprobs: list[Candidate] | None = None
    top_probs: None = None


class _UsualLogprobs(Struct, gc=False):
    content: tuple[_UsualEntry]


class _UsualDelta(Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: None = None
    tool_calls: None = None


class _UsualChoice(Struct, gc=False, kw_only=True):
    finish_reason: str | None = None
    index: _Natural = 0
    delta: _UsualDelta
    logprobs: _UsualLogprobs | None = None
    message: None = None
    text: None = None
    token_ids: None = None


class _Usual(Struct, gc=False):
    choices: Annotated[list[_UsualChoice], msgspec.Meta(max_length=1)]
    model: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    prompt_progress: Progress | None = None
    error: None = None


_NO_CHOICE: Final = (_UsualChoice(delta=_UsualDelta()),)
_decode_usual = msgspec.json.Decoder(_Usual).decode
_decode_wire = msgspec.json.Decoder(_Wire).decode
_bare_decoder = msgspec.json.Decoder(_BareWire)
_old_error_decoder = msgspec.json.Decoder(_OldError)


def decode(data: bytes, kind: str = "message") -> Chunk | None:
    """Read the data of one event, or a whole JSON answer; None for what says nothing (keep-alives).

    The same as :func:`decode_any`, quicker for a chat's chunks. *kind* is the event's type, which
    says nothing in this dialect.

    Raises :class:`MessageError` where not even the text can be read.
    """
    if data == _DONE:
        return Chunk(done=True)
    try:
        wire = _decode_usual(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_any(data)
    (choice,) = wire.choices or _NO_CHOICE
    thought = choice.delta.reasoning_content
    if text := choice.delta.content:
        if thought:
            return decode_any(data)
        role: Role = "answer"
    else:
        role, text = "reasoning", thought
    if not text:
        pieces = []
    elif (logprobs := choice.logprobs) is None:
        pieces = [Piece(choice.index, role, text)]
    else:
        (entry,) = logprobs.content
        if entry.token != text:
            return decode_any(data)
        token_id = entry.id if entry.id is not None else named_id(text)
        others = entry.top_logprobs or None
        pieces = [Piece(choice.index, role, text, token_id, exp(entry.logprob), others)]
    chunk = Chunk(pieces, wire.model, wire.usage, wire.timings, choice.index)
    if choice.finish_reason:
        chunk.finish(choice.index, choice.finish_reason)
    if wire.prompt_progress is not None:
        chunk.progress = progress_of(wire.prompt_progress)
    return chunk


def decode_any(data: bytes, kind: str = "message") -> Chunk | None:
    """:func:`decode` for a stream whose chunks are mostly not those of a chat."""
    if data == _DONE:
        return Chunk(done=True)
    try:
        wire = _decode_wire(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_odd(data)
    choices = wire.choices or ()
    chunk = Chunk([], wire.model, wire.usage, wire.timings)
    for choice in choices:
        _read_choice(choice, choice.logprobs, choice.token_ids, chunk)
    if choices and choices[0].index > 0:
        chunk.choice = choices[0].index
    if not choices or wire.prompt_progress is not None:
        _read_rest(wire, data, chunk)
    return chunk


def _read_rest(wire: _Wire, data: bytes, chunk: Chunk) -> None:
    """What comes without a text, or before any."""
    if wire.choices is None or (wire.error is not None and not wire.choices):
        chunk.error = _error_text(wire.error, data)
    if wire.prompt_progress is not None:
        chunk.progress = progress_of(wire.prompt_progress)


def _decode_odd(data: bytes) -> Chunk | None:
    """What is no chunk, or holds something that could not be understood."""
    if data.strip() == _DONE:
        return Chunk(done=True)
    if is_empty(data):
        return None
    wire = read(_bare_decoder, data)
    chunk = Chunk(error=described(wire.error), partial=True)
    for choice in wire.choices or ():
        _read_choice(choice, None, None, chunk)
    return chunk


def _error_text(error: Any, data: bytes) -> str | None:
    if error is not None:
        return described(error)
    old = read(_old_error_decoder, data)
    return described({"message": old.message}) if old.object == "error" else None


def error_of(body: bytes) -> str | None:
    """The message in the body of an error answer, or None where it holds none."""
    try:
        wire = _bare_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return described(wire.error)


# -- choices ---------------------------------------------------------------------------------------


def _read_choice(
    choice: _BareChoice,
    logprobs: _Logprobs | None,
    token_ids: list[int] | None,
    chunk: Chunk,
) -> None:
    index = choice.index if choice.index > 0 else 0
    if choice.finish_reason:
        chunk.finish(index, choice.finish_reason)
    delta = choice.delta if choice.delta is not None else choice.message
    role: Role = "answer"
    if choice.text:
        text = choice.text
    elif delta is None:
        return
    elif delta.tool_calls is None and not (delta.content and _thought(delta)):
        text = delta.content or ""
        if not text and (text := _thought(delta)):
            role = "reasoning"
    else:
        texts = _texts(delta)
        if len(texts) != 1:
            # Reasoning, answer and tools in one chunk: which token belongs to which is not told.
            chunk.pieces += [Piece(index, role, text) for role, text in texts]
            return
        ((role, text),) = texts
    if not text:
        return
    if logprobs is None and token_ids is None:
        chunk.pieces.append(Piece(index, role, text))
        return
    entries = _entries(logprobs) if logprobs is not None else None
    add_text(chunk, index, role, text, entries, token_ids)


def _thought(delta: _Delta) -> str:
    return delta.reasoning_content or delta.reasoning or ""


def _texts(delta: _Delta) -> list[tuple[Role, str]]:
    """The non-empty texts of a choice in the order in which a model makes them."""
    tool = "".join(
        (call.function.name or "") + (call.function.arguments or "")
        for call in delta.tool_calls or ()
        if call.function is not None
    )
    texts: tuple[tuple[Role, str | None], ...] = (
        ("reasoning", _thought(delta)),
        ("answer", delta.content),
        ("tool", tool),
    )
    return [(role, text) for role, text in texts if text]


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
