"""geoosd.bridge.core.framing: plain chunks are read, all else is left where it stands."""

import pytest

from geoosd.bridge.core.framing import unchunk


@pytest.mark.parametrize(
    ("piece", "missing", "expected"),
    [
        (b"", 0, (b"", b"", 0)),
        (b"5\r\nhello\r\n", 0, (b"hello", b"", 0)),
        (b"005\r\nhello\r\n1\r\n!\r\n", 0, (b"hello!", b"", 0)),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n", 0, (b"0123456789" * 2, b"", 0)),
        (b"5\r\nhel", 0, (b"hel", b"", 4)),
        (b"5\r\n", 0, (b"", b"", 7)),
        (b"lo", 4, (b"lo", b"", 2)),
        (b"lo\r", 4, (b"lo", b"", 1)),
        (b"\n", 1, (b"", b"", 0)),
        (b"\n1\r\n!\r\n", 1, (b"!", b"", 0)),
        (b"", 4, (b"", b"", 4)),
        (b"2\r\n\r\n\r\n", 0, (b"\r\n", b"", 0)),
        (b"1\r\n!\r\n0\r\nEnd: yes\r\n\r\n", 0, (b"!", b"0\r\nEnd: yes\r\n\r\n", 0)),
        (b"1\r\n!\r\n1", 0, (b"!", b"1", 0)),
        (b"1\r\n!\r\n1\r", 0, (b"!", b"1\r", 0)),
        (b"1;a=b\r\n!\r\n", 0, (b"", b"1;a=b\r\n!\r\n", 0)),
        (b"0x1\r\n!\r\n", 0, (b"", b"0x1\r\n!\r\n", 0)),
        (b"1_0\r\n!\r\n", 0, (b"", b"1_0\r\n!\r\n", 0)),
        (b"+1\r\n!\r\n", 0, (b"", b"+1\r\n!\r\n", 0)),
        (b"1\n!\r\n", 0, (b"", b"1\n!\r\n", 0)),
        (b"123456789\r\n!", 0, (b"", b"123456789\r\n!", 0)),
    ],
)
def test_data_what_is_left_over_and_what_is_missing(piece, missing, expected):
    assert unchunk(piece, missing) == expected


@pytest.mark.parametrize(
    ("piece", "missing", "data"),
    [(b"5\r\nhelloX\r\n", 0, b"hello"), (b"1\r\n!\r\r", 0, b"!"), (b"X", 2, b""), (b"\r", 1, b"")],
)
def test_what_follows_a_chunk_that_is_longer_than_its_size_is_no_chunk(piece, missing, data):
    assert unchunk(piece, missing) == (data, b"?\r\n", 0)
