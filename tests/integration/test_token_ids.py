"""Ids by /tokenize on the real engine: a stream without logprobs lights the same places."""

import httpx
import pytest

from .stack import payloads, text_of

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(180)]


def tokens_of(stack, body):
    """What a viewer sees of one proxied request, and the bytes that its client got."""
    with stack.viewer() as viewer:
        answer = httpx.post(f"{stack.openai}/completions", json=body, timeout=60)
        messages = viewer.read("SessionEnded")
    session = answer.headers["x-geoos-session"]
    tokens = payloads(messages, "TokenVisualizationUpdate")
    assert text_of(messages, session) == "".join(token["current_token"] for token in tokens)
    return tokens


def places(tokens):
    return [(each["current_token"], each["token_id"], each["hilbert_position"]) for each in tokens]


def test_a_plain_stream_has_the_ids_and_places_of_one_with_logprobs(shared_stack):
    body = {"prompt": "The sea is", "max_tokens": 24, "temperature": 0, "stream": True}
    measured = tokens_of(shared_stack, body | {"logprobs": 2})
    found = tokens_of(shared_stack, body)
    again = tokens_of(shared_stack, body)
    assert len(measured) == 24
    assert {each["provenance"]["token_id"] for each in measured} == {"measured"}
    assert {each["provenance"]["token_id"] for each in found} == {"derived"}
    assert {each["provenance"]["activation"] for each in found} == {"absent"}
    assert places(found) == places(again) == places(measured)
    assert [each["sequence_position"] for each in found] == list(range(24))
    assert {each["district"] for each in found} == {each["district"] for each in measured}


def test_an_answer_that_is_not_streamed_is_cut_into_its_tokens(shared_stack):
    body = {"prompt": "The sea is", "max_tokens": 24, "temperature": 0}
    streamed = tokens_of(shared_stack, body | {"stream": True, "logprobs": 2})
    whole = tokens_of(shared_stack, body)
    assert "".join(each["current_token"] for each in whole) == "".join(
        each["current_token"] for each in streamed
    )
    assert places(whole) == places(streamed)
    assert [each["sequence_position"] for each in whole] == list(range(len(whole)))
