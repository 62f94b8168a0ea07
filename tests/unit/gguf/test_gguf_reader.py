import struct

import pytest
from gguf_files import ARRAY, BOOL, F32, STRING, U32, U64, entry, gguf, small_model, tensor, text

from geoosd.gguf import reader
from geoosd.gguf.reader import LongArray, read_header


@pytest.fixture
def read(tmp_path):
    def of(content):
        path = tmp_path / "file.gguf"
        path.write_bytes(content)
        return read_header(path)

    return of


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_is_read(read, version):
    header = read(
        gguf(
            [
                entry("name", STRING, "émile"),
                entry("number", U32, 7),
                entry("large", U64, 1 << 40),
                entry("real", F32, 0.5),
                entry("yes", BOOL, True),
                entry("few", ARRAY, (U32, [1, 2, 3])),
                entry("many", ARRAY, (U32, range(1000))),
                entry("texts", ARRAY, (STRING, ["a", "bc"])),
                entry("last", STRING, "after the arrays"),
            ],
            version=version,
        )
    )
    assert header.version == version
    assert header.metadata == {
        "name": "émile",
        "number": 7,
        "large": 1 << 40,
        "real": 0.5,
        "yes": True,
        "few": (1, 2, 3),
        "many": LongArray(U32, 1000),
        "texts": LongArray(STRING, 2),
        "last": "after the arrays",
    }
    assert not header.truncated


def test_what_lies_beyond_one_window_is_read(read):
    long = ["x" * 1000] * 600
    header = read(gguf([entry("texts", ARRAY, (STRING, long)), entry("end", U32, 1)]))
    assert header.metadata["texts"] == LongArray(STRING, 600)
    assert header.metadata["end"] == 1


def test_the_bytes_that_the_tensors_need(read):
    whole = read(small_model())
    assert (whole.tensor_count, whole.needed_bytes) == (1, whole.file_bytes)
    assert not whole.truncated
    assert read(small_model(data=63)).truncated


def test_blocks_of_a_quantised_tensor_are_rounded_up(read):
    q4_0 = read(gguf([], [tensor("t", (33,), kind=2, offset=32)]))
    start = -(-(24 + 8 + 1 + 4 + 8 + 4 + 8) // 32) * 32
    assert q4_0.needed_bytes == start + 32 + 2 * 18


def test_of_an_unknown_tensor_type_only_the_begin_counts(read):
    assert not read(gguf([], [tensor("t", (1 << 40,), kind=999)])).truncated


def test_own_alignment(read):
    entries = [entry("general.alignment", U32, 1)]
    header = read(gguf(entries, [tensor("t", (1,))], data=64))
    assert header.needed_bytes % 32


COUNTS = struct.Struct("<4sIQQ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a GGUF file"),
        (b"PK\3\4" + bytes(100), "not a GGUF file"),
        (b"GGUF", "truncated"),
        (COUNTS.pack(b"GGUF", 1, 0, 0), "version 1 is not known"),
        (COUNTS.pack(b"GGUF", 3, 0, 1), "truncated"),
        (COUNTS.pack(b"GGUF", 3, 1 << 60, 0), "tensors: 1152921504606846976 is more than"),
        (COUNTS.pack(b"GGUF", 3, 0, 1 << 60), "metadata entries"),
        (COUNTS.pack(b"GGUF", 3, 0, 1) + struct.pack("<Q", 1 << 50), "length of a key"),
        (gguf([text("k") + struct.pack("<I", 99)]), "'k': value type 99 is not known"),
        (gguf([text("k") + struct.pack("<IQ", STRING, 1 << 30)]), "length of 'k'"),
        (gguf([text("k") + struct.pack("<IIQ", ARRAY, U32, 1 << 40)]), "elements of 'k'"),
        (gguf([text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1)]), "value type 9 is not known"),
        (gguf([text("k") + struct.pack("<IIQ", ARRAY, U32, 1 << 20)]), "truncated"),
        (gguf([text("k") + struct.pack("<IIQQ", ARRAY, STRING, 9, 1 << 62)]), "truncated"),
        (gguf([entry("general.alignment", U32, 0)]), "general.alignment"),
        (gguf([entry("general.alignment", STRING, "x")]), "general.alignment"),
        (gguf([], [tensor("t", (1, 1, 1, 1, 1))]), "dimensions of tensor 't'"),
    ],
)
def test_what_cannot_be_read(read, content, said):
    with pytest.raises(ValueError, match=r"^cannot read .*/file.gguf: ") as caught:
        read(content)
    assert said in str(caught.value)


def test_the_text_that_is_kept_is_bounded(read, monkeypatch):
    monkeypatch.setattr(reader, "MAX_TEXT", 10)
    with pytest.raises(ValueError, match="more than 10 bytes of text"):
        read(gguf([entry("a", STRING, "0123456789")]))


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "file.gguf"
    path.write_bytes(b"GGUF\3\0")
    real = reader.os.fstat

    class Larger:
        st_size = 1000

    monkeypatch.setattr(reader.os, "fstat", lambda fd: Larger() if real(fd) else None)
    with pytest.raises(ValueError, match="truncated while it was read"):
        read_header(path)


def test_a_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.gguf")
