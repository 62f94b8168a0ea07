"""Reads the header of a GGUF file: metadata and tensor directory, never the tensors themselves.

Implements the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, little-endian. A file may
be hostile: every count and length is checked against a bound and against what is left of the file
before anything is allocated, and long arrays (a vocabulary has 262,144 strings) are stepped over.
Whatever the bytes, the only errors are :class:`OSError` and :class:`ValueError`; the latter reads
"cannot read FILE: reason". :mod:`geoosd.gguf.model` says what the metadata means.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
MAX_ENTRIES: Final = 4096
MAX_TENSORS: Final = 65_536
MAX_DIMENSIONS: Final = 4
MAX_KEY: Final = 65_535
MAX_STRING: Final = 1 << 20
MAX_TEXT: Final = 8 << 20
"""Bytes of all strings of one header that are kept."""
MAX_ELEMENTS: Final = 1 << 24
MAX_ALIGNMENT: Final = 1 << 20
KEPT_ELEMENTS: Final = 64
"""Arrays of numbers up to this length are kept; of longer ones and of strings, only the length."""

_WINDOW: Final = 1 << 18
_DEFAULT_ALIGNMENT: Final = 32
_STRING, _ARRAY = 8, 9
_SCALARS: Final[Mapping[int, struct.Struct]] = {
    number: struct.Struct("<" + code)
    for number, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")

_BLOCKS: Final[Mapping[int, tuple[int, int]]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""ggml tensor type: elements in a block, bytes of a block (ggml-common.h)."""


@dataclass(frozen=True)
class LongArray:
    """An array that was stepped over: its GGUF value type and its number of elements."""

    element_type: int
    length: int


Scalar: TypeAlias = int | float | bool | str
Value: TypeAlias = Scalar | tuple[int | float | bool, ...] | LongArray


@dataclass(frozen=True)
class Tensor:
    """An entry of the tensor directory: ``shape`` has the fastest dimension first, ``kind`` is
    ggml's type number, ``offset`` counts from the begin of the tensor data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def byte_count(self) -> int:
        """How long it is; 0 where the type is not known."""
        per_block, block_bytes = _BLOCKS.get(self.kind, (1, 0))
        return -(-math.prod(self.shape) // per_block) * block_bytes


@dataclass(frozen=True)
class Header:
    """What stands before the tensors.

    ``needed_bytes`` is the least size of a file that holds all its tensors; ``file_bytes`` is what
    there is. ``data_start`` is where the tensor data begins, ``tensor`` the one that was asked for.
    """

    version: int
    metadata: Mapping[str, Value]
    tensor_count: int
    needed_bytes: int
    file_bytes: int
    data_start: int = 0
    tensor: Tensor | None = None

    @property
    def truncated(self) -> bool:
        """Whether the end of the file is missing, as after a broken download."""
        return self.file_bytes < self.needed_bytes


def read_header(path: Path, tensor: str | None = None) -> Header:
    """The header of the GGUF file at *path*, with the directory's entry of *tensor*.

    Raises :class:`OSError`, or :class:`ValueError` where the file is not a GGUF file that this
    reader knows. A missing tail is no error: see :attr:`Header.truncated`.
    """
    with path.open("rb") as file:
        try:
            return _header(_Cursor(file), tensor)
        except ValueError as error:
            raise ValueError(f"cannot read {path}: {error}") from None


class _Cursor:
    """Little-endian values, one after the other, out of a window that moves over the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self._window = b""
        self._start = 0
        self._at = 0
        self.text_bytes = 0

    @property
    def position(self) -> int:
        """Offset in the file of what is read next."""
        return self._start + self._at

    def _need(self, count: int) -> None:
        """Have *count* bytes in the window from ``_at`` on."""
        if self._at + count <= len(self._window):
            return
        position = self.position
        if count > self.size - position:
            raise ValueError(f"truncated: the header ends early, at byte {self.size}")
        self._file.seek(position)
        self._window = self._file.read(max(count, _WINDOW))
        self._start, self._at = position, 0
        if len(self._window) < count:
            raise ValueError("truncated while it was read")

    def bytes(self, count: int) -> bytes:
        """The next *count* bytes."""
        self._need(count)
        taken = self._window[self._at : self._at + count]
        self._at += count
        return taken

    def skip(self, count: int) -> None:
        """Step over *count* bytes without reading them."""
        if count > self.size - self.position:
            raise ValueError(f"truncated: the header ends early, at byte {self.size}")
        self._at += count

    def scalar(self, kind: struct.Struct) -> int | float | bool:
        """The next value of a fixed-width type."""
        self._need(kind.size)
        value: int | float | bool = kind.unpack_from(self._window, self._at)[0]
        self._at += kind.size
        return value

    def count(self, kind: struct.Struct, limit: int, what: str) -> int:
        """The next unsigned number, at most *limit*."""
        value = int(self.scalar(kind))
        if value > limit:
            raise ValueError(f"{what}: {value} is more than {limit}")
        return value

    def text(self, limit: int, what: str) -> str:
        """The next string, at most *limit* bytes of UTF-8 (bad bytes are replaced)."""
        length = self.count(_U64, limit, f"length of {what}")
        self.text_bytes += length
        if self.text_bytes > MAX_TEXT:
            raise ValueError(f"more than {MAX_TEXT} bytes of text in the header")
        return self.bytes(length).decode(errors="replace")

    def skip_texts(self, count: int) -> None:
        """Step over *count* strings."""
        for _ in range(count):
            self.skip(int(self.scalar(_U64)))


def _header(cursor: _Cursor, wanted: str | None) -> Header:
    if cursor.size < len(MAGIC) or cursor.bytes(len(MAGIC)) != MAGIC:
        raise ValueError("not a GGUF file: it does not begin with 'GGUF'")
    version = int(cursor.scalar(_U32))
    if version not in VERSIONS:
        raise ValueError(f"GGUF version {version} is not known (2 and 3 are)")
    tensors = cursor.count(_U64, MAX_TENSORS, "tensors")
    entries = cursor.count(_U64, MAX_ENTRIES, "metadata entries")
    metadata: dict[str, Value] = {}
    for _ in range(entries):
        key = cursor.text(MAX_KEY, "a key")
        metadata[key] = _value(cursor, repr(key))
    data_bytes, found = 0, None
    for _ in range(tensors):
        tensor = _tensor(cursor)
        data_bytes = max(data_bytes, tensor.offset + tensor.byte_count)
        found = tensor if tensor.name == wanted else found
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= MAX_ALIGNMENT:
        raise ValueError("general.alignment is out of range")
    data_start = -(-cursor.position // alignment) * alignment
    needed = data_start + data_bytes if tensors else cursor.position
    return Header(version, metadata, tensors, needed, cursor.size, data_start, found)


def _value(cursor: _Cursor, key: str) -> Value:
    kind = int(cursor.scalar(_U32))
    if kind == _STRING:
        return cursor.text(MAX_STRING, key)
    if kind == _ARRAY:
        return _array(cursor, key)
    return cursor.scalar(_scalar_type(kind, key))


def _array(cursor: _Cursor, key: str) -> Value:
    kind = int(cursor.scalar(_U32))
    length = cursor.count(_U64, MAX_ELEMENTS, f"elements of {key}")
    if kind == _STRING:
        cursor.skip_texts(length)
        return LongArray(kind, length)
    element = _scalar_type(kind, key)
    if length > KEPT_ELEMENTS:
        cursor.skip(length * element.size)
        return LongArray(kind, length)
    return tuple(cursor.scalar(element) for _ in range(length))


def _scalar_type(kind: int, key: str) -> struct.Struct:
    try:
        return _SCALARS[kind]
    except KeyError:  # an array in an array too: llama.cpp refuses it like this reader
        raise ValueError(f"{key}: value type {kind} is not known here") from None


def _tensor(cursor: _Cursor) -> Tensor:
    """The next entry of the tensor directory."""
    name = cursor.text(MAX_KEY, "a tensor's name")
    dimensions = cursor.count(_U32, MAX_DIMENSIONS, f"dimensions of tensor {name!r}")
    shape = tuple(int(cursor.scalar(_U64)) for _ in range(dimensions))
    return Tensor(name, shape, int(cursor.scalar(_U32)), int(cursor.scalar(_U64)))
