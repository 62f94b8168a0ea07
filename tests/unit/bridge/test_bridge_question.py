"""geoosd.bridge.core.question: what Prompt asks, and what servers say of themselves."""

import json
from pathlib import Path

import pytest

from geoosd.bridge.core.question import (
    MAX_MODELS,
    About,
    Question,
    choices_of,
    compose,
    read_models,
    read_props,
    read_version,
    refused,
    wanted,
)

ALL = frozenset({"logprobs", "usage", "prompt_progress", "token_ids"})
USUAL = frozenset({"logprobs", "usage"})

PROPS = Path(__file__).parents[2] / "data" / "sse" / "props_without_template.json"


def test_chat():
    request = compose(Question("hi", "m", "be brief"), chat=True, asks=USUAL)
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
    asks = USUAL | {"prompt_progress"}
    request = compose(Question("hi", None, "be brief"), chat=False, asks=asks)
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
    assert compose(Question("hi"), chat=False, asks=USUAL).body["prompt"] == "hi"


def test_without_logprobs_and_the_users_own_parameters():
    ask = Question("hi", parameters={"temperature": 0, "top_logprobs": 2, "stream": False})
    body = compose(ask, chat=True, asks={"usage"}).body
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


def test_models_without_a_name_or_end_are_not_listed():
    odd = [{"id": ""}, {"id": "x" * 1025}, {"id": None}]
    many = [{"id": f"m{number}"} for number in range(MAX_MODELS + 1)]
    listing = read_models(json.dumps({"data": odd + many}).encode())
    assert listing.ids == [f"m{number}" for number in range(MAX_MODELS)]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"data":{}}', b"\xff", b"[" * 5000]
)
def test_not_a_model_server(body):
    assert read_models(body) is None


def test_nothing_is_asked_for_that_is_not_wanted():
    body = compose(Question("hi"), chat=True, asks=frozenset()).body
    assert body == {"stream": True, "messages": [{"role": "user", "content": "hi"}]}
    assert compose(Question("hi"), chat=True, asks=ALL).body["return_token_ids"] is True


@pytest.mark.parametrize(
    ("kind", "parameters", "asks"),
    [
        ("auto", {}, {"logprobs", "usage"}),
        ("llama.cpp", {}, {"logprobs", "usage", "prompt_progress"}),
        ("vllm", {}, {"logprobs", "usage", "token_ids"}),
        ("auto", {"logprobs": 3}, {"usage"}),
        ("auto", {"stream_options": {}}, {"logprobs"}),
    ],
)
def test_what_there_is_to_ask_for(kind, parameters, asks):
    assert wanted(kind, parameters) == asks


@pytest.mark.parametrize(
    ("body", "asks", "expected"),
    [
        (b"no", ALL, {"logprobs"}),
        (b"no", {"usage"}, set()),
        (b"top_logprobs is too large", ALL, {"logprobs"}),
        (b"unknown field: stream_options", ALL, {"usage"}),
        (b"logprobs and stream_options", USUAL, USUAL),
        (b"\xff return_token_ids", ALL, {"token_ids"}),
        (b"chat: logprobs", {"chat"}, set()),
    ],
)
def test_what_a_400_is_about(body, asks, expected):
    assert refused(body, asks) == expected


def test_props():
    assert read_props(PROPS.read_bytes()) == About("b0-unknown g.gguf", False, False)
    assert read_props(b'{"chat_template":""}').chat is False
    about = read_props(b'{"chat_template":"{{ m }}","chat_template_caps":{"supports_tools":true}}')
    assert about == About(None, True, True)
    assert read_props(b"{}") == About()
    assert read_props(b"nonsense") == About()


def test_version():
    assert read_version(b'{"version":"0.9.1"}') == About("0.9.1")
    assert read_version(b"{}") == About()
