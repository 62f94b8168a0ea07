"""Two requests have the same key only if they are the same question; the bounds always hold."""

import json

from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.cache import Answer, Cache, key_of

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
bodies = st.dictionaries(st.text(max_size=6), values, max_size=6)


def key(body, **change):
    asked = {
        "upstream": "u", "url": "http://u", "model": "m", "authorization": None, "method": b"POST",
        "target": b"/v1/completions", "headers": [], "body": json.dumps(body).encode(),
    }  # fmt: skip
    return key_of(**asked | change)


@given(bodies, bodies)
def test_the_same_key_for_the_same_question_alone(one, other):
    same = json.dumps(sorted(one.items())) == json.dumps(sorted(other.items()))
    assert (key(one) == key(other)) is same
    backwards = dict(reversed(one.items()))
    assert key(one) == key(backwards)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.binary(max_size=3)), max_size=4))
def test_fields_cannot_run_into_one_another(fields):
    moved = [(name + value[:1], value[1:]) for name, value in fields]
    if sorted(moved) != sorted(fields):
        assert key({}, headers=fields) != key({}, headers=moved)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3000), st.floats(0, 9))))
def test_never_more_than_its_bytes(steps):
    cache = Cache(8000, 5.0)
    now = 0.0
    for name, size, later in steps:
        now += later
        cache.keep(name.encode(), Answer("s", "u", b"OK", [], [(0.0, bytes(size))]), now)
        found = cache.look_up(name.encode(), now)
        statistics = cache.statistics()
        assert statistics.used <= 8000
        assert found is None or found.size <= cache.largest
    statistics = cache.statistics()
    assert statistics.hits + statistics.misses == len(steps)
