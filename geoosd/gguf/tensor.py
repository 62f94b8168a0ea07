"""Reads a matrix of a GGUF file as float32, some rows at a time.

The block formats are ggml's (ggml-common.h, ``block_q8_0`` and its neighbours); the arithmetic is
that of ggml-quants.c, ``dequantize_row_*``. Tests hold it against the package ``gguf`` of
llama.cpp's authors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.gguf.reader import read_header

Floats: TypeAlias = npt.NDArray[np.float32]
_Bytes: TypeAlias = npt.NDArray[np.uint8]

_CHUNK: Final = 8192
"""Rows at a time: of 4,096 columns 128 MiB."""


class Matrix(NamedTuple):
    """A matrix in a file: where its first byte is, ggml's type number, rows and columns."""

    path: Path
    start: int
    kind: int
    rows: int
    columns: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        per_block, block_bytes, _ = _FORMATS[self.kind]
        return self.columns // per_block * block_bytes

    def chunks(self) -> Iterator[Floats]:
        """All rows in order, some at a time. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            for first in range(0, self.rows, _CHUNK):
                count = min(_CHUNK, self.rows - first)
                raw = np.frombuffer(file.read(count * self.row_bytes), np.uint8)
                per_block, block_bytes, decode = _FORMATS[self.kind]
                blocks = raw.reshape(-1, block_bytes)
                values = decode(blocks).reshape(-1, per_block)
                yield np.ascontiguousarray(values.reshape(count, self.columns))

    def raw(self) -> Iterator[bytes]:
        """Its bytes as they lie in the file. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            for first in range(0, self.rows, _CHUNK):
                yield file.read(min(_CHUNK, self.rows - first) * self.row_bytes)


def find_matrix(path: Path, name: str) -> Matrix:
    """The matrix *name* of the GGUF file *path*.

    Raises OSError, or ValueError ("cannot read FILE: reason") where it is not there, not whole, no
    matrix, or of a type that is not read here.
    """
    header = read_header(path, name)
    tensor = header.tensor
    if tensor is None:
        raise ValueError(f"cannot read {path}: it has no tensor {name}")
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        raise ValueError(f"cannot read {path}: {name} is no matrix")
    if tensor.kind not in _FORMATS:
        known = ", ".join(map(str, sorted(_FORMATS)))
        raise ValueError(
            f"cannot read {path}: {name} is of ggml type {tensor.kind}; read are {known}"
        )
    columns, rows = tensor.shape
    if columns % _FORMATS[tensor.kind][0]:
        raise ValueError(f"cannot read {path}: {columns} columns of {name} are no whole blocks")
    start = header.data_start + tensor.offset
    if start + tensor.byte_count > header.file_bytes:
        raise ValueError(f"cannot read {path}: truncated before the end of {name}")
    return Matrix(path, start, tensor.kind, rows, columns)


# -- formats ---------------------------------------------------------------------------------------


def _halves(data: _Bytes) -> Floats:
    """Bytes of float16 as a column of float32."""
    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def _f32(blocks: _Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4").astype(np.float32)


def _f16(blocks: _Bytes) -> Floats:
    return _halves(blocks)


def _bf16(blocks: _Bytes) -> Floats:
    wide = np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << np.uint32(16)
    return wide.view(np.float32)


def _q8_0(blocks: _Bytes) -> Floats:
    return _halves(blocks[:, :2]) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8)


def _q4_0(blocks: _Bytes) -> Floats:
    packed = blocks[:, 2:]
    nibbles = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.int8) - np.int8(8)
    return _halves(blocks[:, :2]) * nibbles


def _q4_k(blocks: _Bytes) -> Floats:
    """Eight runs of 32 with a scale and a minimum of six bits each, packed into twelve bytes."""
    scales = blocks[:, 4:16]
    low, high, mixed = scales[:, 0:4], scales[:, 4:8], scales[:, 8:12]
    factor = np.concatenate([low & 63, (mixed & 15) | (low >> 6) << 4], axis=1)
    least = np.concatenate([high & 63, (mixed >> 4) | (high >> 6) << 4], axis=1)
    values = _parts(blocks[:, 16:].reshape(-1, 4, 1, 32), [0, 4], 15)
    d, d_min = _halves(blocks[:, :2]), _halves(blocks[:, 2:4])
    found = (d * factor)[:, :, None] * values - (d_min * least)[:, :, None]
    return np.asarray(found, np.float32)


def _q6_k(blocks: _Bytes) -> Floats:
    """Four low bits and two high ones of each value, a scale for every 16."""
    low = _parts(blocks[:, :128].reshape(-1, 2, 1, 64), [0, 4], 15)
    high = _parts(blocks[:, 128:192].reshape(-1, 2, 1, 32), [0, 2, 4, 6], 3)
    values = (low | high << np.uint8(4)).astype(np.int8) - np.int8(32)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8)
    factor = _halves(blocks[:, 208:]) * scales
    found: Floats = factor[:, :, None] * values.reshape(-1, 16, 16)
    return found


def _parts(packed: _Bytes, shifts: list[int], mask: int) -> _Bytes:
    """The bits from each of *shifts* on, in runs of 32."""
    found: _Bytes = (packed >> np.array(shifts, np.uint8).reshape(1, 1, -1, 1)) & np.uint8(mask)
    return found.reshape(-1, 8, 32)


_FORMATS: Final[dict[int, tuple[int, int, Callable[[_Bytes], Floats]]]] = {
    0: (1, 4, _f32),
    1: (1, 2, _f16),
    2: (32, 18, _q4_0),
    8: (32, 34, _q8_0),
    12: (256, 144, _q4_k),
    14: (256, 210, _q6_k),
    30: (1, 2, _bf16),
}
"""ggml type number: elements in a block, bytes of a block, and its values."""
