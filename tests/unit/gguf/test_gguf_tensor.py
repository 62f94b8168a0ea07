"""Matrices of GGUF files, held against the package of llama.cpp's own authors."""

import gguf
import numpy as np
import pytest
from gguf_files import gguf as gguf_file
from gguf_files import tensor

from geoosd.gguf.tensor import find_matrix

ROWS, COLUMNS = 37, 512
NAME = "token_embd.weight"
KINDS = {
    gguf.GGMLQuantizationType[name].value: name
    for name in ("F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q6_K")
}
HALVES = {"Q4_K": (0, 2), "Q6_K": (208,)}
"""Where a block of random bytes has its float16 scales."""


def raw(kind):
    """The bytes of a random matrix of this type."""
    random = np.random.default_rng(kind)
    name = KINDS[kind]
    if name in HALVES:
        per_block, block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        data = random.integers(0, 256, (ROWS * COLUMNS // per_block, block), np.uint8)
        for at in HALVES[name]:
            scales = random.normal(size=len(data)).astype("<f2")
            data[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
        return data.reshape(ROWS, -1)
    values = random.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    found = gguf.quants.quantize(values, gguf.GGMLQuantizationType(kind))
    return np.ascontiguousarray(found).view(np.uint8).reshape(ROWS, -1)


def written(path, kind, data, *, shape=(COLUMNS, ROWS), name=NAME):
    first = tensor("another", (4, 4))
    head = gguf_file([], [first, tensor(name, shape, kind, 64)])
    path.write_bytes(head + bytes(64) + data.tobytes())
    return path


@pytest.mark.parametrize("kind", KINDS, ids=KINDS.get)
def test_values_are_those_of_the_authors_own_package(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("geoosd.gguf.tensor._CHUNK", 10)
    data = raw(kind)
    matrix = find_matrix(written(tmp_path / "m.gguf", kind, data), NAME)
    chunks = list(matrix.chunks())
    assert [len(each) for each in chunks] == [10, 10, 10, 7]
    found = np.concatenate(chunks)
    assert found.dtype == np.float32
    expected = gguf.quants.dequantize(
        data if KINDS[kind] in (*HALVES, "Q4_0", "Q8_0", "BF16") else data.view(
            {"F32": "<f4", "F16": "<f2"}[KINDS[kind]]
        ),
        gguf.GGMLQuantizationType(kind),
    )  # fmt: skip
    np.testing.assert_allclose(found, expected.reshape(ROWS, COLUMNS), rtol=1e-6)
    assert b"".join(matrix.raw()) == data.tobytes()


@pytest.mark.parametrize(
    ("kind", "shape", "name", "said"),
    [
        (0, (COLUMNS, ROWS), "other", "it has no tensor token_embd.weight"),
        (0, (COLUMNS,), NAME, "is no matrix"),
        (0, (COLUMNS, 0), NAME, "is no matrix"),
        (20, (COLUMNS, ROWS), NAME, "is of ggml type 20; read are 0, 1, 2, 8, 12, 14, 30"),
        (8, (33, 3), NAME, "33 columns of token_embd.weight are no whole blocks"),
        (0, (COLUMNS, ROWS + 1), NAME, "truncated before the end"),
    ],
)
def test_what_is_no_matrix_to_read(tmp_path, kind, shape, name, said):
    path = written(tmp_path / "m.gguf", kind, raw(0), shape=shape, name=name)
    with pytest.raises(ValueError, match=f"^cannot read .*m.gguf: .*{said}"):
        find_matrix(path, NAME)
