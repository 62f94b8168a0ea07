"""geoosd.bridge.core.question: what Prompt asks, and what servers say of themselves."""

from pathlib import Path

import pytest

from geoosd.bridge.core.question import (
    Question,
    choices_of,
    compose,
    has_chat_template,
    read_models,
)

PROPS = Path(__file__).parents[2] / "data" / "sse" / "props_without_template.json"


def test_chat():
    request = compose(Question("hi", "m", "be brief"), chat=True, kind="openai")
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_plain_text_for_a_model_without_template():
    request = compose(Question("hi", None, "be brief"), chat=False, kind="llama.cpp")
    assert request.path == "/v1/completions"
    assert request.body == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "prompt": "be brief\n\nhi",
        "max_tokens": 256,
        "logprobs": 5,
        "return_progress": True,
        "timings_per_token": True,
    }
    assert compose(Question("hi"), chat=False, kind="auto").body["prompt"] == "hi"


def test_without_logprobs_and_the_users_own_parameters():
    ask = Question("hi", parameters={"temperature": 0, "top_logprobs": 2, "stream": False})
    body = compose(ask, chat=True, kind="auto", logprobs=False).body
    assert "logprobs" not in body
    assert body["top_logprobs"] == 2
    assert body["temperature"] == 0
    assert "stream_options" not in body
    assert body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("n", "choices"), [(None, 1), (3, 3), (0, 1), ("2", 1)])
def test_choices(n, choices):
    assert choices_of({"n": n}) == choices


def test_read_models():
    listing = read_models(b'{"data":[{"id":"a","owned_by":"llamacpp"},{"x":1},{"id":3}]}')
    assert listing.ids == ["a"]
    assert listing.kind == "llama.cpp"
    assert read_models(b'{"data":[{"id":"a","owned_by":"vllm"}]}').kind == "vllm"
    assert read_models(b'{"data":[]}').kind is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"data":{}}', b"\xff", b"[" * 5000]
)
def test_not_a_model_server(body):
    assert read_models(body) is None


def test_chat_template():
    assert has_chat_template(PROPS.read_bytes()) is False
    assert has_chat_template(b'{"chat_template":""}') is False
    assert has_chat_template(b'{"chat_template":"{{ messages }}"}') is True
    assert has_chat_template(b"{}") is None
    assert has_chat_template(b"nonsense") is None
