"""A form as httpx writes it, cut anywhere, gives the fields that went into it."""

import itertools

import httpx
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.form import FieldSearch, boundary_of

_NAME = st.sampled_from(["model", "n", "prompt", "x"])
_VALUE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["\r\n", "\r\n--", "\r\n--bound", 'a\r\nContent-Disposition: form-data; name="model"\r\n\r\nm']
)
_FILE = st.binary(max_size=60) | st.just(b"\r\n--boundar")


@given(
    st.dictionaries(_NAME, _VALUE, max_size=4),
    st.lists(_FILE, max_size=2),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_fields_are_found_however_the_body_is_cut(fields, files, cuts):
    request = httpx.Request(
        "POST",
        "http://x/",
        headers={"content-type": "multipart/form-data; boundary=boundary"},
        data=fields,
        files=[("file", ("a.wav", data)) for data in files] or [("file", ("", b""))],
    )
    body = request.read()
    search = FieldSearch(boundary_of(request.headers["content-type"].encode()), ["model", "n"])
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        search.feed(body[start:end])
    assert search.over
    assert {name: member.raw.decode() for name, member in search.found.items()} == {
        name: value for name, value in fields.items() if name in ("model", "n")
    }
    for start, raw in search.found.values():
        assert body[start : start + len(raw)] == raw


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_no_bytes_do_harm_and_cuts_change_nothing(body, cuts):
    body = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + body + b"\r\n--x--"
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    whole, cut = FieldSearch(b"x", ["model"]), FieldSearch(b"x", ["model"])
    whole.feed(body)
    for start, end in itertools.pairwise(edges):
        cut.feed(body[start:end])
    assert (whole.found, whole.over) == (cut.found, cut.over)
