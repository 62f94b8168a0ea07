"""Any JSON object, cut anywhere, gives the members that json.loads gives; no bytes do any harm."""

import itertools
import json
import time

from hypothesis import example, given
from hypothesis import strategies as st

from geoosd.bridge.core import members
from geoosd.bridge.core.members import MemberSearch, text_of

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ['"', "\\", '\\"', "}", '{"model":"inner"}', "\\\\", "é"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(_TEXT | st.just("model"), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def search(body, cuts=()):
    found = MemberSearch(("model", "n"))
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        found.feed(body[start:end])
    return found


@given(
    st.dictionaries(st.sampled_from(["model", "n", "x", "messages"]) | _TEXT, _JSON, max_size=6),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_members_are_found_however_the_text_is_cut(fields, escaped, indent, cuts):
    body = json.dumps(fields, ensure_ascii=escaped, indent=indent).encode()
    one = search(body, cuts)
    assert one.over
    assert {name: json.loads(found.raw) for name, found in one.found.items()} == {
        name: value
        for name, value in fields.items()
        if name in ("model", "n") and not isinstance(value, dict | list)
    }
    for found in one.found.values():
        assert body[found.start : found.start + len(found.raw)] == found.raw


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
@example(b'{"model":', [])
@example(b'{"model"::::', [])
@example(b'{"model":]', [])
@example(b'{"a\xff":1,"model":"\xff"}', [])
def test_no_bytes_do_harm_and_cuts_change_nothing(body, cuts):
    body = b'{"a":"' + body + b'","model":"m"}'
    whole, cut = search(body), search(body, cuts)
    assert (whole.found, whole.over) == (cut.found, cut.over)
    for found in whole.found.values():
        assert text_of(found.raw) is None or isinstance(text_of(found.raw), str)


def test_names_may_be_escaped_and_the_last_of_two_counts():
    assert search(b'{"mod\\u0065l":"a","model":"b"}').found["model"].raw == b'"b"'
    assert text_of(search(b'{"mod\\u0065l":"\\u00e4"}').found["model"].raw) == "ä"


def test_long_values_and_names_are_not_kept():
    long = b"x" * (members.MAX_VALUE + 1)
    assert not search(b'{"model":"%s","%s":1,"n":%s}' % (long, long, b"1" * 5000)).found
    after = search(b'{"%s":1,"model":"m"}' % long)
    assert after.found["model"].raw == b'"m"'


def test_what_nobody_asked_for_is_not_kept():
    found = search(b'{"long":%s,"model":"m"}' % (b"1" * 9000))
    assert found.found["model"].raw == b'"m"'
    assert text_of(b"7") is None
    assert search(b'{"n":12}', [6]).found["n"].raw == b"12"
    assert search(b'{"x":12}', [6]).over


def test_what_is_no_object_is_over_at_once():
    for body in (b"[1]", b"--boundary", b"\xff\xfe{", b'"model"'):
        assert search(body).over
    assert not search(b"  ").over
    assert not search(b"").over


def test_hostile_nesting_is_given_up():
    search_ = MemberSearch(("model",))
    search_.feed(b'{"x":' + b"[" * (members.MAX_STEPS + 9))
    assert search_.over


def test_a_large_picture_is_stepped_over_fast():
    """In pieces of 64 KiB, as the proxy gets it: linear, so far from a second."""
    picture = b"A" * (16 << 20)
    body = b'{"messages":[{"content":[{"url":"' + picture + b'"}]}],"model":"m"}'
    began = time.process_time()
    found = search(body, range(0, len(body), 1 << 16))
    assert found.found["model"].raw == b'"m"'
    assert time.process_time() - began < 2.0
