"""geoosd.bridge.core.inflate: what was compressed comes back, cut anywhere, in bounded pieces."""

import gzip
import random
import zlib

import brotli
import pytest

from geoosd.bridge.core.inflate import MAX_PIECE, CannotInflate, inflating

PACKS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
}


@pytest.mark.parametrize("coding", PACKS)
@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
def test_what_was_packed_comes_back(coding, cut):
    plain = random.Random(1).randbytes(3000) + b"the same again " * 2000
    packed = PACKS[coding](plain)
    inflate = inflating(coding)
    pieces = [
        piece for at in range(0, len(packed), cut) for piece in inflate(packed[at : at + cut])
    ]
    assert b"".join(pieces) == plain


@pytest.mark.parametrize("coding", PACKS)
def test_a_few_bytes_that_become_many_come_in_pieces(coding):
    packed = PACKS[coding](bytes(10 * MAX_PIECE))
    pieces = list(inflating(coding)(packed))
    assert sum(map(len, pieces)) == 10 * MAX_PIECE
    assert max(map(len, pieces)) < 2 * MAX_PIECE


def test_a_flushed_stream_is_read_as_it_comes():
    packer, inflate = brotli.Compressor(), inflating("br")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert b"".join(inflate(packer.process(event) + packer.flush())) == event


@pytest.mark.parametrize("coding", PACKS)
def test_what_is_not_in_that_coding(coding):
    with pytest.raises(CannotInflate):
        list(inflating(coding)(b"not compressed at all, and long enough to be sure of that"))


@pytest.mark.parametrize("coding", ["identity", "zstd", "gzip, br", ""])
def test_what_is_not_known(coding):
    assert inflating(coding) is None
