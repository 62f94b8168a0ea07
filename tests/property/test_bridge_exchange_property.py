"""An exchange takes whatever comes, cut anywhere, and its tokens are exactly the text."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.exchange import Exchange
from geoosd.wire.messages import SessionEnded, TokenVisualizationUpdate, decode, encode

KEYS = st.sampled_from(
    [
        "choices",
        "index",
        "delta",
        "message",
        "text",
        "content",
        "logprobs",
        "token",
        "bytes",
        "id",
        "top_logprobs",
        "usage",
        "timings",
        "error",
        "finish_reason",
        "tool_calls",
        "function",
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def run(body: bytes, cuts: list[int], kind: str, status: int = 200, encoding: str | None = None):
    exchange = Exchange("s", model=None, upstream="u", dialect="chat")
    payloads = exchange.started(0.0) + exchange.answered(
        status, kind, 0.0, content_encoding=encoding
    )
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        payloads += exchange.receive(body[start:end], 1.0)
    return payloads + exchange.finish(2.0)


@given(
    st.lists(json_values, max_size=6),
    st.lists(st.integers(0, 9999), max_size=6),
    st.sampled_from(["text/event-stream", "application/json"]),
    st.sampled_from([200, 500]),
    st.sampled_from([None, "gzip", "br"]),
    st.binary(max_size=40),
)
def test_nothing_an_upstream_sends_is_raised(values, cuts, kind, status, encoding, noise):
    body = noise + b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
    payloads = run(body, cuts, kind, status, encoding)
    assert isinstance(payloads[-1], SessionEnded)
    for payload in payloads:
        decode(encode(payload, 1.0), 1.0)


deltas = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["content", "reasoning_content"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        st.booleans(),
    ),
    max_size=20,
)


@given(deltas, st.lists(st.integers(0, 99_999), max_size=10))
def test_tokens_are_the_text(parts, cuts):
    expected: dict[tuple[int, str], str] = {}
    body = b""
    for choice, field, text, logprobs in parts:
        role = "answer" if field == "content" else "reasoning"
        expected[choice, role] = expected.get((choice, role), "") + text
        chunk = {"index": choice, "delta": {field: text}}
        if logprobs:
            data = text.encode()
            halves = (data[: len(data) // 2], data[len(data) // 2 :])
            chunk["logprobs"] = {
                "content": [
                    {"token": "?", "bytes": list(half), "logprob": -1.0, "id": 3} for half in halves
                ]
            }
        body += b"data: " + json.dumps({"choices": [chunk]}).encode() + b"\r\n\r\n"
    found: dict[tuple[int, str], str] = {}
    for payload in run(body, cuts, "text/event-stream"):
        if isinstance(payload, TokenVisualizationUpdate):
            key = (payload.choice, payload.role)
            found[key] = found.get(key, "") + payload.current_token
    assert found == {key: text for key, text in expected.items() if text}
