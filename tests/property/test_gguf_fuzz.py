"""Whatever the bytes, reading a GGUF file ends in a model, an OSError or a ValueError."""

import struct
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from geoosd.gguf.model import read_model


def text(value):
    return struct.pack("<Q", len(value)) + value


SEED = (
    b"GGUF"
    + struct.pack("<IQQ", 3, 1, 4)
    + text(b"general.architecture") + struct.pack("<I", 8) + text(b"toy")
    + text(b"toy.context_length") + struct.pack("<II", 4, 2048)
    + text(b"few") + struct.pack("<IIQ3I", 9, 4, 3, 1, 2, 3)
    + text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b")
    + text(b"t") + struct.pack("<IQQIQ", 2, 4, 4, 0, 0)
)  # fmt: skip
SEED += bytes(-len(SEED) % 32 + 64)


def attempt(content):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file.gguf"
        path.write_bytes(content)
        said = None
        try:
            return read_model(path)
        except ValueError as error:
            said = str(error)
        assert said.startswith(f"cannot read {path}: ")
        assert said.isprintable()
    return None


def test_the_seed_is_a_model():
    assert attempt(SEED).architecture == "toy"


@given(st.binary(max_size=200))
def test_any_bytes(content):
    attempt(content)
    attempt(b"GGUF\3\0\0\0" + content)


@given(st.integers(0, len(SEED) - 1))
def test_any_cut(length):
    assert attempt(SEED[:length]) is None


@given(
    st.lists(
        st.tuples(st.integers(0, len(SEED) - 1), st.binary(min_size=1, max_size=8)), max_size=6
    )
)
def test_any_damage(patches):
    content = bytearray(SEED)
    for at, patch in patches:
        content[at : at + len(patch)] = patch
    attempt(bytes(content))
