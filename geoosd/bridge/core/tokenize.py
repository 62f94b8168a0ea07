"""The server's own ``/tokenize``: which ids a text has, asked once and remembered.

llama.cpp's ``POST /tokenize`` (https://github.com/ggml-org/llama.cpp/tree/master/tools/server)
takes several texts at once and gives one list of tokens with their pieces, a piece being a string,
or bytes where it is a part of a character. Each text is cut on its own, so the list is shared out
by its bytes. vLLM's is :mod:`.tokenize_vllm`. :mod:`.identify` puts the ids into the messages,
:mod:`..adapters.tokenize` asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from geoosd.bridge.core.pieces import read

Kind: TypeAlias = Literal["llama.cpp", "vllm"]
"""Whose ``/tokenize`` it is."""

Parts: TypeAlias = tuple[tuple[str, int], ...]
"""A text cut along its tokens, each with its id; empty where that cannot be told."""

MAX_REMEMBERED: Final = 12_288
"""Texts and tokens that a vocabulary remembers together, about 2 MB."""


class Token(Struct, gc=False):
    """An id, and the text or the bytes that it stands for."""

    id: int
    piece: str | list[int]


class _Answer(Struct, gc=False):
    tokens: list[Token]


_decoder = msgspec.json.Decoder(_Answer)


def request_of(texts: Sequence[str], model: str | None) -> bytes:
    """The body of the request for *texts*."""
    body: dict[str, Any] = {
        "content": list(texts),
        "add_special": False,
        "parse_special": False,
        "with_pieces": True,
    }
    return msgspec.json.encode(body | ({"model": model} if model is not None else {}))


def read_answer(texts: Sequence[str], body: bytes) -> list[Parts] | None:
    """The parts of each text; None where the tokens do not make up the texts.

    Some vocabularies put a space before every text: then they do not. A character that is made of
    several tokens is one part, with the id of the last. Raises :class:`MessageError` where *body*
    is no answer of ``/tokenize``.
    """
    tokens = iter(read(_decoder, body).tokens)
    found: list[Parts] = []
    for text in texts:
        parts = parts_of(text.encode(), tokens)
        if parts is None:
            return None
        found.append(parts)
    return found if next(tokens, None) is None else None


def parts_of(whole: bytes, tokens: Iterator[Token]) -> Parts | None:
    """As many tokens as *whole* takes; None where they are of something else."""
    parts: list[tuple[str, int]] = []
    taken = 0
    held = b""
    while taken < len(whole):
        token = next(tokens, None)
        piece = _bytes(token) if token is not None else b""
        if token is None or token.id < 0 or not piece or not whole.startswith(piece, taken):
            return None
        taken += len(piece)
        held += piece
        try:
            parts.append((held.decode(), token.id))
        except UnicodeDecodeError:
            continue  # part of a character: the next token completes it
        held = b""
    return tuple(parts)


def _bytes(token: Token) -> bytes:
    if isinstance(token.piece, str):
        return token.piece.encode()
    try:
        return bytes(token.piece)
    except ValueError:
        return b""


class Vocabulary:
    """What is known of one model's tokens: the texts asked for last, within a bound."""

    __slots__ = ("_known", "_room", "_size")

    def __init__(self, room: int = MAX_REMEMBERED) -> None:
        self._known: OrderedDict[str, Parts] = OrderedDict()
        self._size = 0
        self._room = room

    def __len__(self) -> int:
        return self._size

    def get(self, text: str) -> Parts | None:
        """The parts of *text*; None where it was not asked for, or was forgotten."""
        parts = self._known.get(text)
        if parts is not None:
            self._known.move_to_end(text)
        return parts

    def learn(self, text: str, parts: Parts) -> None:
        """Remember *text*, and forget what was not asked for longest."""
        self._size += 1 + len(parts) - self._forget(text)
        self._known[text] = parts
        while self._size > self._room and len(self._known) > 1:
            oldest = next(iter(self._known))
            self._size -= self._forget(oldest)

    def _forget(self, text: str) -> int:
        parts = self._known.pop(text, None)
        return 0 if parts is None else 1 + len(parts)
