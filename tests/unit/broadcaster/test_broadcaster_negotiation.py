"""Codings and ranges, case by case of RFC 9110 §12.5.3 and §14."""

import pytest

from geoosd.broadcaster.core.negotiation import coding_of, range_of

OFFERED = ("br", "gzip")


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("GZIP;Q=0.5", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0.8, gzip;q=0.8", "br"),
        ("br ; q=0.001", "br"),
        ("*", "br"),
        ("*, br;q=0", "gzip"),
        ("deflate, *;q=0.1", "br"),
        ("", None),
        ("identity", None),
        ("zstd", None),
        ("br;q=0, gzip;q=0.000", None),
        ("gzip;q=0, *;q=0", None),
        ("gzip;q=2", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, br", "br"),
        ("gzip;level=9", None),
    ],
)
def test_the_coding_that_a_client_likes_best(header, coding):
    assert coding_of(header, OFFERED) == coding


def test_what_is_not_offered_is_not_chosen():
    assert coding_of("br, gzip", ("gzip",)) == "gzip"
    assert coding_of("br", ("gzip",)) is None
    assert coding_of("*", ()) is None


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", None),
        ("bytes=0-0", range(1)),
        ("bytes=0-499", range(500)),
        ("bytes= 500-999 ", range(500, 1000)),
        ("Bytes=500-", range(500, 1000)),
        ("bytes=-300", range(700, 1000)),
        ("bytes=-5000", range(1000)),
        ("bytes=999-99999", range(999, 1000)),
        ("bytes=1000-", range(0)),
        ("bytes=1000-2000", range(0)),
        ("bytes=-0", range(0)),
        ("bytes=2-1", None),
        ("bytes=0-1,3-4", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0x1-2", None),
        ("bytes=１-2", None),
        ("bytes=" + "9" * 30 + "-", None),
        ("lines=0-1", None),
        ("bytes=--1", None),
    ],
)
def test_the_bytes_that_a_range_names(header, wanted):
    found = range_of(header, 1000)
    assert (found is None) == (wanted is None)
    assert list(found or ()) == list(wanted or ())


def test_nothing_can_be_had_of_an_empty_file():
    assert [list(range_of(header, 0)) for header in ("bytes=0-", "bytes=-1")] == [[], []]
