"""What one event of an OpenAI-compatible stream says: chunk bytes in, :class:`Chunk` out.

Reads ``chat.completion.chunk`` and ``text_completion`` of the OpenAI API and what llama.cpp, vLLM
and LM Studio make of them (see docs/api.md): role-only first chunks, ``null`` and keep-alive data,
usage after empty ``choices``, ``prompt_progress``, ``timings``, chat-style ``logprobs`` in
completions, the legacy lists of the completions API, ``prob``/``top_probs`` after sampling,
``reasoning_content`` or ``reasoning``, tool calls, an error object in the middle, and whole
answers that were not streamed.

A chunk is not a token: one chunk may hold several tokens, and a token may hold a part of a
character. :func:`decode` cuts a chunk into :class:`Piece` s along the server's own token list
where that list makes up exactly the text, and says so (``exact``) where it does not.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from msgspec import Struct

from geoosd.errors import MessageError
from geoosd.wire.messages import Role, Usage

MAX_ALTERNATIVES: Final = 20
_DONE: Final = b"[DONE]"


class Alternative(Struct, frozen=True, gc=False):
    """A token the model might have chosen, and its probability 0..1."""

    token: str
    probability: float
    id: int | None = None


class Piece(Struct, gc=False):
    """A token's text, or as much of the text as cannot be cut any finer.

    ``exact``: id and probability belong to exactly this text; else they are those of its last
    token.
    """

    choice: int
    role: Role
    text: str
    token_id: int | None = None
    probability: float | None = None
    alternatives: list[Alternative] | None = None
    exact: bool = True


class Chunk(Struct):
    """One event's content. ``progress`` is (processed, total) tokens of the prompt.

    ``predicted`` is how many tokens the server has made so far, ``speed`` its tokens per second.
    """

    pieces: list[Piece] = msgspec.field(default_factory=list[Piece])
    finished: dict[int, str] = msgspec.field(default_factory=dict[int, str])
    model: str | None = None
    usage: Usage | None = None
    progress: tuple[int, int] | None = None
    predicted: int | None = None
    speed: float | None = None
    error: str | None = None
    done: bool = False
    partial: bool = False
    """Parts that were not understood were left out; the text was."""


# -- as on the wire --------------------------------------------------------------------------------


class _Candidate(Struct, gc=False):
    token: str = ""
    id: int | None = None
    logprob: float | None = None
    prob: float | None = None
    bytes: list[int] | None = None


class _TokenLogprob(_Candidate, gc=False):
    top_logprobs: list[_Candidate] | None = None
    top_probs: list[_Candidate] | None = None


class _Logprobs(Struct):
    content: list[_TokenLogprob] | None = None
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


class _Progress(Struct):
    processed: int
    total: int


class _Timings(Struct):
    predicted_n: int | None = None
    predicted_per_second: float | None = None


class _Wire(Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Usage | None = None
    prompt_progress: _Progress | None = None
    timings: _Timings | None = None
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


def decode(data: bytes) -> Chunk | None:
    """Read the data of one event, or a whole JSON answer; None for what says nothing (keep-alives).

    Raises :class:`MessageError` where not even the text can be read.
    """
    if data[:1] != b"{":
        bare = data.strip()
        if bare == _DONE:
            return Chunk(done=True)
        if not bare or bare == b"null" or bare[:1] == b":":
            return None
    try:
        wire = _decoder.decode(data)
    except msgspec.ValidationError:
        return _decode_bare(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("malformed", f"cannot read a chunk: {error}") from None
    chunk = Chunk(model=wire.model or None, usage=wire.usage, error=_error_text(wire))
    if wire.prompt_progress is not None:
        chunk.progress = _progress(wire.prompt_progress)
    if wire.timings is not None:
        chunk.predicted = wire.timings.predicted_n
        chunk.speed = wire.timings.predicted_per_second
    for choice in wire.choices or ():
        _read_choice(choice, choice.logprobs, choice.token_ids, chunk)
    return chunk


def _decode_bare(data: bytes) -> Chunk:
    try:
        wire = _bare_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise MessageError("invalid", f"cannot read a chunk: {error}") from None
    chunk = Chunk(error=_described(wire.error), partial=True)
    for choice in wire.choices or ():
        _read_choice(choice, None, None, chunk)
    return chunk


def _error_text(wire: _Wire) -> str | None:
    if wire.error is not None:
        return _described(wire.error)
    if wire.object == "error":
        return _described({"message": wire.message})
    return None


def _described(error: Any) -> str | None:
    """The text of an error object of any server, or None where there is no error."""
    if error is None:
        return None
    if isinstance(error, dict):
        fields: dict[str, Any] = error  # pyright: ignore[reportUnknownVariableType]
        error = fields.get("message") or fields.get("type") or fields.get("code")
    return str(error)[:1024] if error else "the server reported an error without a message"


def error_of(body: bytes) -> str | None:
    """The message in the body of an error answer, or None where it holds none."""
    try:
        wire = _bare_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _described(wire.error)


def _progress(progress: _Progress) -> tuple[int, int]:
    processed = max(0, progress.processed)
    return processed, max(processed, progress.total)


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
    entries = _entries(logprobs) if logprobs is not None else []
    if len(texts) == 1:
        role, text = texts[0]
        if entries:
            _cut(chunk.pieces, index, role, text, entries)
            return
        token_id = token_ids[0] if token_ids and len(token_ids) == 1 else None
        chunk.pieces.append(Piece(index, role, text, _id(token_id)))
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


def _cut(
    pieces: list[Piece], index: int, role: Role, text: str, entries: list[_TokenLogprob]
) -> None:
    """Cut *text* along *entries*, or keep it whole where they do not make it up."""
    if len(entries) == 1:
        entry = entries[0]
        pieces.append(_piece(index, role, text, entry, exact=_says(entry, text)))
        return
    parts = [_bytes(entry) for entry in entries]
    whole = text.encode("utf-8", "replace")
    # A server that strips white space or a marker leaves tokens before the text that are not in it.
    surplus = sum(map(len, parts)) - len(whole)
    skip = 0
    while skip < len(parts) and surplus > 0:
        surplus -= len(parts[skip])
        skip += 1
    if surplus != 0 or b"".join(parts[skip:]) != whole:
        pieces.append(_piece(index, role, text, entries[-1], exact=False))
        return
    held = b""
    for part, entry in zip(parts[skip:], entries[skip:], strict=True):
        exact = not held
        held += part
        if not part:
            continue
        try:
            piece_text = held.decode()
        except UnicodeDecodeError:
            continue  # part of a character: the next token completes it
        pieces.append(_piece(index, role, piece_text, entry, exact=exact))
        held = b""


def _says(entry: _TokenLogprob, text: str) -> bool:
    return entry.token == text or (
        entry.bytes is not None and _bytes(entry) == text.encode("utf-8", "replace")
    )


def _bytes(entry: _Candidate) -> bytes:
    if entry.bytes is not None:
        try:
            return bytes(entry.bytes)
        except ValueError:
            return b""  # not bytes at all: then the entries do not make up the text
    return entry.token.encode("utf-8", "replace")


def _piece(index: int, role: Role, text: str, entry: _TokenLogprob, *, exact: bool) -> Piece:
    candidates = entry.top_logprobs or entry.top_probs
    alternatives = None
    if candidates:
        alternatives = [
            Alternative(candidate.token, probability, _id(candidate.id))
            for candidate in candidates[:MAX_ALTERNATIVES]
            if (probability := _probability(candidate)) is not None
        ]
    return Piece(index, role, text, _id(entry.id), _probability(entry), alternatives or None, exact)


def _probability(candidate: _Candidate) -> float | None:
    """exp(logprob), or the probability itself where the server sends that; within 0..1."""
    if candidate.logprob is not None:
        return math.exp(min(candidate.logprob, 0.0))
    if candidate.prob is not None:
        return min(max(candidate.prob, 0.0), 1.0)
    return None


def _id(value: int | None) -> int | None:
    return value if value is not None and value >= 0 else None


def _entries(logprobs: _Logprobs) -> list[_TokenLogprob]:
    """One entry a token, from the chat form or from the legacy lists of the completions API."""
    if logprobs.content is not None:
        return logprobs.content
    tokens = logprobs.tokens or []
    chosen = logprobs.token_logprobs or []
    tops = logprobs.top_logprobs or []
    entries: list[_TokenLogprob] = []
    for position, token in enumerate(tokens):
        top = tops[position] if position < len(tops) else None
        entries.append(
            _TokenLogprob(
                token=token,
                logprob=chosen[position] if position < len(chosen) else None,
                top_logprobs=[
                    _Candidate(token=name, logprob=value) for name, value in (top or {}).items()
                ],
            )
        )
    return entries
