"""vLLM's ``/tokenize``: one text a request, and its ids with the strings of the vocabulary.

https://docs.vllm.ai, "Tokenizer API". The strings are as the vocabulary keeps them, which is in one
of two ways; they are taken only where they make up the text in one of them. A vocabulary that puts
a space before every text does not. llama.cpp's is :mod:`.tokenize`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from geoosd.bridge.core.pieces import read
from geoosd.bridge.core.tokenize import Parts, Token, parts_of


class _Answer(Struct, gc=False):
    tokens: list[int]
    token_strs: list[str] | None = None


_decoder = msgspec.json.Decoder(_Answer)

_PRINTED: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_BYTES: Final = {chr(each): each for each in _PRINTED} | {
    chr(256 + at): each for at, each in enumerate(sorted({*range(256)} - {*_PRINTED}))
}
"""How byte-level vocabularies write bytes: ``bytes_to_unicode`` of GPT-2's encoder.py."""

_SPACE: Final = "\u2581"
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>\Z")
"""How SentencePiece's write a space, and a byte that is no piece."""


def request_of(text: str, model: str | None) -> bytes:
    """The body of the request for *text*."""
    body: dict[str, Any] = {
        "prompt": text,
        "add_special_tokens": False,
        "return_token_strs": True,
    }
    return msgspec.json.encode(body | ({"model": model} if model is not None else {}))


def read_answer(text: str, body: bytes) -> Parts:
    """The parts of *text*; empty where the tokens do not make it up, or come without strings.

    Raises :class:`MessageError` where *body* is no answer of ``/tokenize``.
    """
    answer = read(_decoder, body)
    strings = answer.token_strs or []
    if len(strings) != len(answer.tokens):
        return ()
    whole = text.encode()
    for written in (_byte_level, _sentence_piece):
        pieces = written(strings)
        if b"".join(pieces) == whole:
            return parts_of(whole, _tokens(answer.tokens, pieces)) or ()
    return ()


def _tokens(ids: list[int], pieces: list[bytes]) -> Iterator[Token]:
    return (Token(number, list(piece)) for number, piece in zip(ids, pieces, strict=True))


def _byte_level(strings: list[str]) -> list[bytes]:
    """Empty where they are not written in bytes."""
    try:
        return [bytes(_BYTES[each] for each in string) for string in strings]
    except KeyError:
        return []


def _sentence_piece(strings: list[str]) -> list[bytes]:
    return [
        bytes.fromhex(byte[1]) if (byte := _BYTE.match(string)) else _spaced(string)
        for string in strings
    ]


def _spaced(string: str) -> bytes:
    return string.replace(_SPACE, " ").encode("utf-8", "replace")
