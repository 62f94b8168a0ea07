"""What the servers' dialects have in common: the :class:`Chunk` that all of them are read into.

The dialects are in :mod:`.chunks` (OpenAI's chat and completions), :mod:`.responses`,
:mod:`.anthropic`, :mod:`.completion` (llama.cpp), :mod:`.ollama` and :mod:`.lmstudio`;
:mod:`.dialects` chooses. Here too: cutting a text along the tokens that a server lists, and reading
the parts of an answer that may be odd without losing the text beside them.
"""

from __future__ import annotations

from math import exp
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from geoosd.errors import MessageError
from geoosd.wire.messages import Role, Usage

NO_PART: Final = Raw()
"""The default of a part that is read by :func:`optional`."""

_MAX_COUNT: Final = 1 << 53
_TOKEN_ID: Final = "token_id:"
_T = TypeVar("_T")


def named_id(token: str) -> int | None:
    """The id in a token's text of the form ``token_id:42``; None in any other."""
    if not token.startswith(_TOKEN_ID):
        return None
    number = token[len(_TOKEN_ID) :]
    return int(number) if number.isdecimal() and len(number) < 10 else None


class Candidate(Struct, gc=False):
    """A token that the model might have chosen, as servers tell of it.

    ``logprob`` is the natural logarithm of its probability; ``prob`` the probability itself, which
    some tell instead. Neither need be in its range.
    """

    id: int | None = None
    token: str = ""
    logprob: float | None = None
    prob: float | None = None

    @property
    def probability(self) -> float | None:
        """Within 0..1; None where it was not told."""
        logprob = self.logprob
        if logprob is not None:
            return exp(logprob) if logprob < 0.0 else 1.0
        return None if self.prob is None else min(max(self.prob, 0.0), 1.0)

    @property
    def token_id(self) -> int | None:
        """Its id; None where it was not told. vLLM may put it into the text: ``token_id:42``."""
        if self.id is not None:
            return self.id if self.id >= 0 else None
        return named_id(self.token)


class TokenLogprob(Candidate, gc=False):
    """The chosen token; ``bytes`` is JSON, read only where ``token`` does not say it all."""

    bytes: Raw = NO_PART
    top_logprobs: list[Candidate] | None = None
    top_probs: list[Candidate] | None = None


class Piece(Struct, gc=False):
    """A token's text, or as much of the text as cannot be cut any finer.

    ``exact``: id and probability belong to exactly this text; else they are those of its last
    token. ``alternatives`` are as the server told them, the chosen token among them or not.
    """

    choice: int
    role: Role
    text: str
    token_id: int | None = None
    probability: float | None = None
    alternatives: list[Candidate] | None = None
    exact: bool = True


class Timings(Struct, gc=False):
    """How many tokens the server has made so far, and its speed in tokens per second."""

    predicted: int | None = msgspec.field(default=None, name="predicted_n")
    speed: float | None = msgspec.field(default=None, name="predicted_per_second")


class Chunk(Struct, gc=False):
    """One event's content, whatever server and dialect it came in.

    ``model`` is None or empty where it was not told. ``timings`` are those of ``choice``.
    ``progress`` is (processed, total) tokens of the prompt, and ``loading`` the like of a model
    that is being loaded; a server that tells only a share gives it in hundredths.
    """

    pieces: list[Piece] = []
    model: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    choice: int = 0
    finished: dict[int, str] | None = None
    progress: tuple[int, int] | None = None
    loading: tuple[int, int] | None = None
    error: str | None = None
    done: bool = False
    partial: bool = False
    """Parts that were not understood were left out; the text was."""

    def finish(self, choice: int, reason: str) -> None:
        """Note that *choice* is at its end."""
        if self.finished is None:
            self.finished = {}
        self.finished[choice] = reason


# -- as on the wire --------------------------------------------------------------------------------


class Progress(Struct, gc=False):
    processed: int
    total: int


_bytes_decoder = msgspec.json.Decoder(list[int] | None)
entries_decoder = msgspec.json.Decoder(list[TokenLogprob] | None)
timings_decoder = msgspec.json.Decoder(Timings | None)


def read(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    """*data* by *decoder*; :class:`MessageError` where it is something else."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise MessageError("invalid", f"cannot read a chunk: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("malformed", f"cannot read a chunk: {error}") from None


def optional(decoder: msgspec.json.Decoder[_T], raw: Raw, chunk: Chunk) -> _T | None:
    """A part of a chunk; None where there is none, or it is odd, which ``chunk`` then says."""
    data = bytes(raw)
    if not data:
        return None
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        chunk.partial = True
        return None


def is_empty(data: bytes) -> bool:
    """Whether an event's data says nothing: keep-alives."""
    bare = data.strip()
    return not bare or bare == b"null" or bare[:1] == b":"


def count(*values: int | None) -> int | None:
    """The sum of the counts that were told; None where none was, or one cannot be a count."""
    told = [value for value in values if value is not None]
    if not told or not all(0 <= value <= _MAX_COUNT for value in told):
        return None
    return sum(told)


def share(value: float | None) -> tuple[int, int] | None:
    """A share 0..1 as (hundredths, 100)."""
    return None if value is None else (round(100 * min(max(value, 0.0), 1.0)), 100)


def described(error: Any) -> str | None:
    """The text of an error object of any server, or None where there is no error."""
    if error is None:
        return None
    if isinstance(error, dict):
        fields: dict[str, Any] = error  # pyright: ignore[reportUnknownVariableType]
        error = fields.get("message") or fields.get("type") or fields.get("code")
    return str(error)[:1024] if error else "the server reported an error without a message"


def progress_of(progress: Progress) -> tuple[int, int]:
    """(processed, total), the latter never the smaller."""
    processed = max(0, progress.processed)
    return processed, max(processed, progress.total)


# -- tokens ----------------------------------------------------------------------------------------


def add_text(
    chunk: Chunk,
    index: int,
    role: Role,
    text: str,
    entries: list[TokenLogprob] | None,
    ids: list[int] | None = None,
) -> None:
    """Add *text* to *chunk*, cut along what the server lists of its tokens.

    *entries* are its tokens with their probabilities and *ids* its token ids, where it tells them.
    """
    if not text:
        return
    if entries:
        if ids is not None and len(ids) == len(entries):
            for entry, token_id in zip(entries, ids, strict=True):
                entry.id = token_id if entry.id is None else entry.id
        if len(entries) > 1:
            _cut(chunk.pieces, index, role, text, entries)
            return
        entry = entries[0]
        exact = entry.token == text or _says(entry, text)
        chunk.pieces.append(_piece(index, role, text, entry, exact))
        return
    last = ids[-1] if ids and ids[-1] >= 0 else None
    exact = last is None or len(ids or ()) == 1
    chunk.pieces.append(Piece(index, role, text, last, exact=exact))


def _cut(
    pieces: list[Piece], index: int, role: Role, text: str, entries: list[TokenLogprob]
) -> None:
    """Cut *text* along *entries*, or keep it whole where they do not make it up."""
    parts = [_bytes(entry) for entry in entries]
    whole = text.encode("utf-8", "replace")
    # A server that strips white space or a marker leaves tokens before the text that are not in it.
    surplus = sum(map(len, parts)) - len(whole)
    skip = 0
    while skip < len(parts) and surplus > 0:
        surplus -= len(parts[skip])
        skip += 1
    if surplus != 0 or b"".join(parts[skip:]) != whole:
        pieces.append(_piece(index, role, text, entries[-1], False))
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
        pieces.append(_piece(index, role, piece_text, entry, exact))
        held = b""


def _says(entry: TokenLogprob, text: str) -> bool:
    """Whether *entry*, whose text is another one, is of exactly this *text*; one that is named by
    its id alone is."""
    if entry.id is None and entry.token_id is not None:
        return True
    return bool(bytes(entry.bytes)) and _bytes(entry) == text.encode("utf-8", "replace")


def _bytes(entry: TokenLogprob) -> bytes:
    raw = bytes(entry.bytes)
    if raw:
        try:
            listed = _bytes_decoder.decode(raw)
            if listed is not None:
                return bytes(listed)
        except (msgspec.DecodeError, ValueError):
            return b""  # not bytes at all: then the entries do not make up the text
    return entry.token.encode("utf-8", "replace")


def _piece(index: int, role: Role, text: str, entry: TokenLogprob, exact: bool) -> Piece:
    alternatives = entry.top_logprobs or entry.top_probs or None
    # The properties, without a call for each token.
    token_id, logprob = entry.id, entry.logprob
    if token_id is None or token_id < 0:
        token_id = entry.token_id
    probability = entry.probability if logprob is None or logprob >= 0.0 else exp(logprob)
    return Piece(index, role, text, token_id, probability, alternatives, exact)
