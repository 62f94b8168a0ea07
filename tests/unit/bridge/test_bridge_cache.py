"""geoosd.bridge.core.cache: whose answer may be given to whom, and what is kept."""

import pytest

from geoosd.bridge.core import cache
from geoosd.bridge.core.cache import Answer, Cache, is_deterministic, key_of, may_keep, wish_of

BASE = {
    "upstream": "desk",
    "url": "http://127.0.0.1:1234",
    "model": "m",
    "authorization": None,
    "method": b"POST",
    "target": b"/v1/chat/completions",
    "headers": [(b"content-type", b"application/json"), (b"authorization", b"Bearer a")],
    "body": b'{"model":"m","temperature":0}',
}


def answer(size=10, session="s1"):
    return Answer(session, "desk", b"OK", [], [(0.0, bytes(size))])


@pytest.mark.parametrize(
    ("said", "wish"),
    [(b"use", "use"), (b" Bypass", "bypass"), (b"", "auto"), (b"nonsense", "auto")],
)
def test_wishes(said, wish):
    assert wish_of([(cache.HEADER, said)]) == wish
    assert wish_of([]) == "auto"


@pytest.mark.parametrize(
    ("body", "yes"),
    [
        (b'{"temperature":0}', True),
        (b'{"temperature":0.0,"messages":[]}', True),
        (b'{"seed":7,"temperature":1}', True),
        (b'{"temperature":0.1}', False),
        (b'{"temperature":false}', False),
        (b'{"seed":null}', False),
        (b'{"seed":true}', False),
        (b'{"seed":-1}', False),
        (b'{"seed":4294967295}', False),
        (b"[]", False),
        (b"{}", False),
        (b"no json", False),
        (b'"\xff"', False),
    ],
)
def test_what_is_deterministic(body, yes):
    assert is_deterministic(body) is yes


@pytest.mark.parametrize(
    "change",
    [
        {"upstream": "other"},
        {"url": "http://127.0.0.1:1235"},
        {"model": None},
        {"authorization": "Bearer x"},
        {"method": b"PUT"},
        {"target": b"/v1/chat/completions?x=1"},
        {"headers": [*BASE["headers"], (b"anthropic-beta", b"x")]},
        {"headers": [BASE["headers"][0], (b"authorization", b"Bearer b")]},
        {"body": b'{"model":"m","temperature":0,"max_tokens":1}'},
        {"body": b'{"model":"m","temperature":0,"tools":[{"a":1,"b":2}]}'},
    ],
)
def test_whatever_shapes_the_answer_is_in_the_key(change):
    assert key_of(**BASE | change) != key_of(**BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"headers": BASE["headers"][::-1]},
        {"headers": [*BASE["headers"], (b"host", b"h"), (b"x-stainless-retry-count", b"1")]},
        {"headers": [*BASE["headers"], (cache.HEADER, b"use"), (b"user-agent", b"curl")]},
        {"body": b' {"temperature": 0,\n"model": "m"}'},
    ],
)
def test_what_does_not_is_not(change):
    assert key_of(**BASE | change) == key_of(**BASE)


def test_order_counts_inside_members():
    one, other = (
        key_of(**BASE | {"body": body}) for body in (b'{"t":{"a":1,"b":2}}', b'{"t":{"b":2,"a":1}}')
    )
    assert one != other


def test_what_is_no_json_has_no_key():
    assert key_of(**BASE | {"body": b"[]"}) is None
    assert key_of(**BASE | {"body": b"{"}) is None
    assert key_of(**BASE | {"body": b'{"a":"\xff"}'}) is None


@pytest.mark.parametrize(
    ("status", "headers", "yes"),
    [
        (200, [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")], True),
        (201, [], False),
        (200, [(b"set-cookie", b"a=b")], False),
        (200, [(b"cache-control", b"No-Store")], False),
        (200, [(b"cache-control", b"private, max-age=5")], False),
    ],
)
def test_which_answers_may_be_kept(status, headers, yes):
    assert may_keep(status, headers) is yes


def test_hits_and_misses_are_counted_and_time_runs_out():
    kept = Cache(10_000, 60.0)
    assert kept.look_up(b"k", 0.0) is None
    kept.keep(b"k", answer(), 0.0)
    assert kept.look_up(b"k", 60.0) == answer()
    assert kept.look_up(b"k", 60.1) is None
    assert kept.statistics() == cache.Statistics(0, 0, 10_000, 1, 2, 0)


def test_the_least_used_goes_first_and_nothing_drives_out_all():
    kept = Cache(4 * answer(1000).size, 60.0)
    for name in (b"a", b"b", b"c", b"d"):
        kept.keep(name, answer(1000), 0.0)
    assert kept.look_up(b"a", 1.0)
    kept.keep(b"e", answer(1000), 1.0)
    assert kept.look_up(b"b", 1.0) is None
    assert kept.look_up(b"a", 1.0)
    kept.keep(b"f", answer(2000), 1.0)
    assert kept.look_up(b"f", 1.0) is None
    assert kept.statistics().evicted == 1
    assert kept.statistics().used == 4 * answer(1000).size


def test_a_newer_answer_takes_the_place_of_the_older():
    kept = Cache(10_000, 60.0)
    kept.keep(b"k", answer(session="old"), 0.0)
    kept.keep(b"k", answer(session="new"), 1.0)
    assert kept.look_up(b"k", 1.0).session == "new"
    assert kept.statistics().entries == 1


def test_the_key_knows_where_its_parts_end():
    moved = {"method": b"POST/v1", "target": b"/chat/completions"}
    assert key_of(**BASE | moved) != key_of(**BASE)
    headers = [(b"content-typ", b"eapplication/json"), BASE["headers"][1]]
    assert key_of(**BASE | {"headers": headers}) != key_of(**BASE)


def test_the_size_counts_the_head_and_what_a_piece_takes_itself():
    many = Answer("s", "desk", b"OK", [], [(0.0, b"x")] * 100)
    assert many.size > 100 * 100, "Python's own objects of each piece"
    bare, long = answer(), Answer("s", "desk", b"OK", [(b"a", b"b" * 1000)], [(0.0, bytes(10))])
    assert long.size > bare.size + 1000
