"""Whatever a server sends in any dialect, decoders raise MessageError alone, exchanges nothing."""

import contextlib
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core import dialects
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.ndjson import NDJSONParser
from geoosd.errors import MessageError
from geoosd.wire.messages import SessionEnded, decode, encode

WORDS = {
    "responses": (
        "type delta logprobs item response timings error message code object model status usage "
        "output name arguments content summary text input_tokens output_tokens "
        "response.output_text.delta response.completed response.output_item.added"
    ),
    "messages": (
        "type message delta content_block error content model stop_reason usage text thinking "
        "partial_json name input input_tokens output_tokens message_start message_delta "
        "content_block_start content_block_delta message_stop"
    ),
    "completion": (
        "index content tokens completion_probabilities stop stop_type model tokens_predicted "
        "tokens_evaluated prompt_progress processed total timings error id token logprob"
    ),
    "ollama": (
        "model message response thinking logprobs done done_reason prompt_eval_count eval_count "
        "eval_duration error content tool_calls function name arguments token logprob"
    ),
    "lmstudio": (
        "type content tool arguments model_instance_id progress result output stats error message "
        "input_tokens total_output_tokens tokens_per_second message.delta chat.end "
        "model_load.progress prompt_processing.progress tool_call.arguments"
    ),
    "chat": (
        "choices index delta message text content reasoning logprobs token bytes id top_logprobs "
        "usage timings error finish_reason tool_calls function token_ids predicted_n"
    ),
}


def values(dialect: str):
    words = st.sampled_from(WORDS[dialect].split())
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from([2**63, 2**64 - 1, -(2**63)])
        | st.floats()
        | st.text(max_size=6)
        | words
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
        max_leaves=14,
    )


@pytest.mark.parametrize("dialect", WORDS)
@pytest.mark.parametrize("framing", ["text/event-stream", "application/x-ndjson", "x/json"])
@given(data=st.data())
def test_nothing_is_raised(dialect, framing, data):
    sent = data.draw(st.lists(values(dialect), max_size=5))
    noise = data.draw(st.binary(max_size=12))
    kind = data.draw(st.sampled_from(["message", "error", "x"]))
    before = b"event: " + kind.encode() + b"\ndata: " if framing == "text/event-stream" else b""
    lines = [before + json.dumps(each).encode() + b"\n\n" for each in sent]
    body = noise + b"".join(lines)
    exchange = Exchange("s", model=None, upstream="u", dialect=dialect)
    payloads = exchange.answered(200, framing, 0.0)
    cuts = data.draw(st.lists(st.integers(0, 10_000), max_size=5))
    edges = [0, *sorted(place % (len(body) + 1) for place in cuts), len(body)]
    for start, end in pairwise(edges):
        payloads += exchange.receive(body[start:end], 1.0)
    payloads += exchange.finish(2.0)
    assert isinstance(payloads[-1], SessionEnded)
    for payload in payloads:
        decode(encode(payload, 1.0), 1.0)


@pytest.mark.parametrize("dialect", WORDS)
@given(noise=st.binary(max_size=40), kind=st.sampled_from(["message", "error"]))
def test_garbage_raises_only_message_errors(dialect, noise, kind):
    reading = dialects.reading_of(dialect, "application/json")
    with contextlib.suppress(MessageError):
        reading.decode(noise, kind)


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"bb", b"\r\n", b" "]), max_size=20).map(b"".join),
    st.lists(st.integers(0, 100), max_size=8),
)
def test_lines_at_any_cut(stream, cuts):
    parser = NDJSONParser()
    edges = [0, *sorted(place % (len(stream) + 1) for place in cuts), len(stream)]
    lines = [line for a, b in pairwise(edges) for line in parser.receive(stream[a:b])]
    lines.append(parser.finish())
    assert [line.strip() for line in lines if line] == [
        line.strip() for line in stream.split(b"\n") if line.strip()
    ]
