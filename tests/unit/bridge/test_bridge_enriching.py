"""geoosd.bridge.core.enriching: what is added to whose request, and that nothing else changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.enriching import insert, look_into

ALL = frozenset(("logprobs", "usage", "prompt_progress", "token_ids"))


def added(body, known=ALL, dialect="chat", headers=()):
    """The fields that are added to *body*; None where none may be."""
    may = look_into(
        dialect, headers, body if isinstance(body, bytes) else json.dumps(body).encode()
    )
    return json.loads(b"{%s}" % may.fields(known)) if may is not None else None


def test_all_that_is_known_is_asked_for():
    assert added({"stream": True}) == {
        "logprobs": True,
        "top_logprobs": 5,
        "return_progress": True,
        "timings_per_token": True,
        "return_token_ids": True,
        "stream_options": {"include_usage": True},
    }
    assert added({"stream": True}, {"logprobs"}, "completions") == {"logprobs": 5}
    assert added({"stream": True}, frozenset()) == {}


def test_what_only_a_stream_tells_is_asked_of_no_other():
    for body in ({}, {"stream": False}, {"stream": None}):
        assert set(added(body)) == {"logprobs", "top_logprobs", "return_token_ids"}


@pytest.mark.parametrize(
    ("own", "left_alone"),
    [
        ({"logprobs": False}, {"logprobs", "top_logprobs"}),
        ({"top_logprobs": 1}, {"logprobs", "top_logprobs"}),
        ({"stream_options": {}}, {"stream_options"}),
        ({"timings_per_token": False}, {"return_progress", "timings_per_token"}),
        ({"return_token_ids": None}, {"return_token_ids"}),
        ({"tools": []}, {"logprobs", "top_logprobs"}),
        ({"functions": []}, {"logprobs", "top_logprobs"}),
        ({"echo": True}, {"logprobs", "top_logprobs"}),
        ({"best_of": 2}, {"logprobs", "top_logprobs"}),
    ],
)
def test_what_the_client_names_is_its_own(own, left_alone):
    assert set(added({"stream": True})) - set(added({"stream": True, **own})) == left_alone


@pytest.mark.parametrize(
    ("dialect", "headers", "body"),
    [
        ("messages", (), b"{}"),
        ("responses", (), b"{}"),
        ("ollama", (), b"{}"),
        ("other", (), b"{}"),
        ("chat", (), b""),
        ("chat", (), b"[]"),
        ("chat", (), b"not json"),
        ("chat", (), b"[" * 100_000),
        ("chat", (), b"\x1f\x8b\x08 compressed"),
        ("chat", [(b"content-digest", b"sha-256=:x:")], b"{}"),
        ("chat", [(b"signature", b"x")], b"{}"),
    ],
)
def test_to_whom_nothing_may_be_added(dialect, headers, body):
    assert added(body, dialect=dialect, headers=headers) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
names = st.text(max_size=6) | st.sampled_from(["stream", "logprobs", "tools", "{", "messages"])


@given(
    st.dictionaries(names, values, max_size=6),
    st.sets(st.sampled_from(sorted(ALL))),
    st.sampled_from(["chat", "completions"]),
    st.sampled_from([None, 2]),
    st.sampled_from([b"", b" ", b"\n\t\r "]),
)
def test_every_byte_of_the_client_stays(asked, known, dialect, indent, before):
    body = before + json.dumps(asked, indent=indent).encode()
    may = look_into(dialect, (), body)
    fields = may.fields(known)
    changed = insert(body, fields)
    assert json.loads(changed) == {**json.loads(b"{%s}" % fields), **asked}
    start = len(before) + 1
    assert changed.startswith(body[:start] + fields)
    assert changed.endswith(body[start:])
