"""Undoes the content coding of an answer (RFC 9110 §8.4.1), piece by piece and within bounds.

A client asks for gzip or brotli, and the proxy passes on what comes: only what is told to the map
is read here. ``zstd`` is not: Python has it from 3.14 on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, TypeAlias

MAX_PIECE: Final = 1 << 20
"""Bytes that are made at a time: a few may unfold to very many."""

Inflate: TypeAlias = Callable[[bytes], Iterator[bytes]]
"""The next coded bytes to plain ones in pieces; raises :class:`CannotInflate`."""


class CannotInflate(Exception):
    """The bytes are not in that coding."""


def inflating(coding: str) -> Inflate | None:
    """What undoes *coding*, in lowercase; None where that is not known here."""
    if coding in ("gzip", "x-gzip", "deflate"):
        return _zlib()
    return _brotli() if coding == "br" else None


def _zlib() -> Inflate:
    state = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def inflate(data: bytes) -> Iterator[bytes]:
        try:
            while data:
                plain = state.decompress(data, MAX_PIECE)
                data = state.unconsumed_tail
                yield plain
        except zlib.error:
            raise CannotInflate from None

    return inflate


def _brotli() -> Inflate:
    # Few answers need it: it is not loaded for the others. It tells nothing of its types.
    brotli: Any = import_module("brotli")
    state = brotli.Decompressor()

    def inflate(data: bytes) -> Iterator[bytes]:
        try:
            while plain := state.process(data, output_buffer_limit=MAX_PIECE):
                data = b""
                yield plain
        except brotli.error:
            raise CannotInflate from None

    return inflate
