"""What the metadata of a GGUF file says of the model in it (GGUF specification, "Standardized
key-value pairs"). Metadata is what the file's author claims: a missing or odd value is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from geoosd.gguf.reader import Header, LongArray, Value, read_header

_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""``general.file_type``: llama.cpp's enum llama_ftype (llama.h)."""


@dataclass(frozen=True)
class Model:
    """A model as its file describes it; lengths and sizes are in tokens or elements."""

    path: Path
    name: str
    architecture: str
    context_length: int | None
    embedding_length: int | None
    vocabulary_size: int | None
    has_chat_template: bool
    quantisation: str | None
    file_bytes: int


def read_model(path: Path) -> Model:
    """Describe the complete, usable model file at *path*.

    Raises :class:`OSError`, or :class:`ValueError` ("cannot read FILE: reason") where it is not a
    GGUF file, is truncated, or holds no model.
    """
    header = read_header(path)
    if header.truncated:
        raise ValueError(
            f"cannot read {path}: truncated: it has {header.file_bytes} bytes and needs "
            f"{header.needed_bytes}; fetch it again"
        )
    if not header.tensor_count or not _text(header, "general.architecture"):
        raise ValueError(f"cannot read {path}: a GGUF file without a model in it")
    return describe(header, path)


def describe(header: Header, path: Path) -> Model:
    """The model that *header*, read from *path*, describes."""
    architecture = _text(header, "general.architecture")
    file_type = _natural(header.metadata.get("general.file_type"))
    return Model(
        path=path,
        name=_text(header, "general.name") or path.stem,
        architecture=architecture,
        context_length=_natural(header.metadata.get(f"{architecture}.context_length")),
        embedding_length=_natural(header.metadata.get(f"{architecture}.embedding_length")),
        vocabulary_size=_vocabulary_size(header, architecture),
        has_chat_template=bool(_text(header, "tokenizer.chat_template")),
        quantisation=_FILE_TYPES.get(file_type) if file_type is not None else None,
        file_bytes=header.file_bytes,
    )


def _vocabulary_size(header: Header, architecture: str) -> int | None:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, LongArray):
        return tokens.length
    return _natural(header.metadata.get(f"{architecture}.vocab_size"))


def _text(header: Header, key: str) -> str:
    value = header.metadata.get(key)
    return value if isinstance(value, str) else ""


def _natural(value: Value | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
