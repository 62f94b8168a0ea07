"""Every answer in tests/data/sse, read at any cut, is what a plain reading with json says."""

import json
from pathlib import Path

import pytest

from geoosd.bridge.core.exchange import Exchange, dialect_of
from geoosd.wire.messages import (
    Payload,
    SessionEnded,
    SessionProgress,
    TokenVisualizationUpdate,
    Usage,
    decode,
    encode,
)

RECORDED = Path(__file__).parents[2] / "data" / "sse"
SSE, JSON, NDJSON = "text/event-stream", "application/json; charset=utf-8", "application/x-ndjson"
FULL = "Context size has been exceeded."

# name: path, content type, finish reason, usage, error
ANSWERS = {
    "01_chat_plain": ("/v1/chat/completions", SSE, "length", None, None),
    "02_chat_logprobs_usage_timings_progress": (
        "/v1/chat/completions",
        SSE,
        "length",
        Usage(32, 32, 64),
        None,
    ),
    "05_chat_unicode_emoji_logprobs": ("/v1/chat/completions", SSE, "length", None, None),
    "08_chat_tool_call_required": ("/v1/chat/completions", SSE, "length", ..., None),
    "12_chat_stop_string": ("/v1/chat/completions", SSE, "length", ..., None),
    "15_chat_reasoning_content": ("/v1/chat/completions", SSE, "stop", ..., None),
    "17_error_midstream_kv_full_a": ("/v1/chat/completions", SSE, None, None, FULL),
    "19_sse_ping_long_prompt": ("/v1/chat/completions", SSE, "length", None, None),
    "20_return_progress_long_prompt": ("/v1/chat/completions", SSE, "length", None, None),
    "03_completion_logprobs_usage": ("/v1/completions", SSE, "length", ..., None),
    "21_completion_prompt_form": ("/v1/completions", SSE, "length", ..., None),
    "10_responses_stream": ("/v1/responses", SSE, "completed", Usage(28, 24, 52), None),
    "27_responses_whole": ("/v1/responses", JSON, "completed", Usage(28, 12, 40), None),
    "30_responses_reasoning": ("/v1/responses", SSE, "completed", Usage(27, 39, 66), None),
    "32_responses_tool_call": ("/v1/responses", SSE, "completed", ..., None),
    "39_responses_error_midstream": ("/v1/responses", SSE, None, None, FULL),
    "22_messages_stream": ("/v1/messages", SSE, "max_tokens", Usage(28, 20), None),
    "23_messages_whole": ("/v1/messages", JSON, "max_tokens", Usage(28, 12), None),
    "29_messages_thinking": ("/v1/messages", SSE, "end_turn", ..., None),
    "31_messages_tool_use": ("/v1/messages", SSE, "max_tokens", ..., None),
    "38_messages_error_midstream": ("/v1/messages", SSE, None, ..., FULL),
    "24_native_completion_probs_progress": ("/completion", SSE, "limit", Usage(18, 20), None),
    "25_native_completion_post_sampling": ("/completion", SSE, "limit", Usage(4, 6), None),
    "26_native_completion_whole": ("/completion", JSON, "limit", Usage(4, 6), None),
    "28_native_completion_plain": ("/completion", SSE, "limit", Usage(4, 5), None),
    "33_native_completion_multibyte": ("/completion", SSE, "eos", Usage(3, 27), None),
    "34_native_completion_stop_string": ("/completion", SSE, "limit", Usage(4, 40), None),
    "35_native_completion_two_prompts": ("/completion", SSE, "limit", ..., None),
    "37_native_error_midstream": ("/completion", SSE, None, None, FULL),
    "written_ollama_chat": ("/api/chat", NDJSON, "stop", Usage(26, 24), None),
    "written_ollama_generate": ("/api/generate", NDJSON, "length", Usage(26, 2), None),
    "written_ollama_error_midstream": (
        "/api/chat",
        NDJSON,
        None,
        None,
        "an error was encountered while running the model: unexpected EOF",
    ),
    "written_lmstudio_chat": ("/api/v1/chat", SSE, None, Usage(329, 268), None),
    "written_lmstudio_error": (
        "/api/v1/chat",
        SSE,
        None,
        Usage(329, 268),
        "the model crashed",
    ),
    "written_lmstudio_whole": ("/api/v1/chat", JSON, None, Usage(329, 268), None),
}


def steps_as_recorded(name: str) -> list[int]:
    """The lengths of the reads when it was recorded; event by event where that is not known."""
    times = RECORDED / f"{name}.times.jsonl"
    if times.exists():
        return [json.loads(line)["len"] for line in times.read_text().splitlines()]
    body = (RECORDED / f"{name}.body").read_bytes()
    return [len(block) + 2 for block in body.split(b"\n\n")]


def replay(name: str, cut: str) -> tuple[Exchange, list[Payload]]:
    path, kind, *_ = ANSWERS[name]
    body = (RECORDED / f"{name}.body").read_bytes()
    lengths = steps_as_recorded(name) if cut == "recorded" else [int(cut)] * len(body)
    exchange = Exchange("s", model="asked", upstream="u", dialect=dialect_of(path))
    payloads = exchange.started(0.0) + exchange.answered(200, kind, 0.5)
    start = 0
    for length in lengths:
        payloads += exchange.receive(body[start : start + length], 1.0)
        start += length
    assert start >= len(body)
    return exchange, payloads + exchange.finish(2.0)


def texts(payloads: list[Payload]) -> dict[tuple[int, str], str]:
    found: dict[tuple[int, str], str] = {}
    for payload in payloads:
        if isinstance(payload, TokenVisualizationUpdate):
            key = (payload.choice, payload.role)
            found[key] = found.get(key, "") + payload.current_token
    return found


# -- the plain reading, which shares nothing with the product --------------------------------------


def objects(name: str) -> list[dict]:
    body = (RECORDED / f"{name}.body").read_text()
    kind = ANSWERS[name][1]
    if kind == JSON:
        return [json.loads(body)]
    lines = body.splitlines()
    if kind == SSE:
        lines = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line not in ("[DONE]", "null", "")]


def plain_chat(each):
    for choice in each.get("choices", []):
        delta = choice.get("delta") or choice
        yield choice["index"], "reasoning", delta.get("reasoning_content")
        yield choice["index"], "answer", delta.get("content") or delta.get("text")
        for call in delta.get("tool_calls") or []:
            yield choice["index"], "tool", call["function"].get("name")
            yield choice["index"], "tool", call["function"].get("arguments")


def plain_responses(each):
    kind = each.get("type", "")
    if kind == "response.output_text.delta":
        yield 0, "answer", each["delta"]
    elif kind == "response.reasoning_text.delta":
        yield 0, "reasoning", each["delta"]
    elif kind == "response.function_call_arguments.delta":
        yield 0, "tool", each["delta"]
    elif kind == "response.output_item.added":
        yield 0, "tool", each["item"].get("name")
    for item in each.get("output", []):
        for part in item["content"]:
            yield 0, "answer", part["text"]


def plain_messages(each):
    parts = [*each.get("content", []), each.get("delta", {}), each.get("content_block", {})]
    for part in parts:
        yield 0, "reasoning", part.get("thinking")
        yield 0, "answer", part.get("text")
        yield 0, "tool", part.get("name")
        yield 0, "tool", part.get("partial_json")


def plain_completion(each):
    yield each.get("index", 0), "answer", each.get("content")


def plain_ollama(each):
    message = each.get("message", {})
    yield 0, "reasoning", message.get("thinking")
    yield 0, "answer", message.get("content") or each.get("response")
    for call in message.get("tool_calls", []):
        yield 0, "tool", call["function"]["name"]
        yield 0, "tool", json.dumps(call["function"]["arguments"], separators=(",", ":"))


def plain_lmstudio(each):
    kind = each.get("type")
    if kind in ("message.delta", "reasoning.delta"):
        role = "answer" if kind == "message.delta" else "reasoning"
        yield 0, role, each["content"]
    elif kind == "tool_call.start":
        yield 0, "tool", each["tool"]
    elif kind == "tool_call.arguments":
        yield 0, "tool", json.dumps(each["arguments"])
    for item in each["output"] if "stats" in each else []:
        if item["type"] == "tool_call":
            yield 0, "tool", item["tool"] + json.dumps(item["arguments"])
        else:
            role = "answer" if item["type"] == "message" else "reasoning"
            yield 0, role, item["content"]


PLAIN = {
    "chat": plain_chat,
    "completions": plain_chat,
    "responses": plain_responses,
    "messages": plain_messages,
    "completion": plain_completion,
    "ollama": plain_ollama,
    "lmstudio": plain_lmstudio,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_same_at_every_cut(name):
    path, _, reason, usage, error = ANSWERS[name]
    exchange, payloads = replay(name, "recorded")
    for cut in ("1", "7"):
        assert replay(name, cut)[1] == payloads
    assert exchange.errors == 0
    ended = payloads[-1]
    assert isinstance(ended, SessionEnded)
    assert (ended.finish_reason, ended.error) == (reason, error)
    if usage is not ...:
        assert ended.usage == usage
    else:
        assert ended.usage.completion_tokens > 0 or error
    expected: dict[tuple[int, str], str] = {}
    for each in objects(name):
        for choice, role, text in PLAIN[dialect_of(path)](each):
            if text:
                expected[choice, role] = expected.get((choice, role), "") + text
    assert texts(payloads) == expected
    assert expected
    for payload in payloads:
        assert decode(encode(payload, 1.0), 1.0).payload == payload


def test_every_answer_is_here():
    assert {path.name.removesuffix(".body") for path in RECORDED.glob("*.body")} == set(ANSWERS)


@pytest.mark.parametrize(
    "name",
    [
        "24_native_completion_probs_progress",
        "25_native_completion_post_sampling",
        "26_native_completion_whole",
    ],
)
def test_ids_and_probabilities_of_native_completions(name):
    tokens = [each for each in replay(name, "7")[1] if isinstance(each, TokenVisualizationUpdate)]
    entries = [
        entry for each in objects(name) for entry in each.get("completion_probabilities", [])
    ]
    assert [token.token_id for token in tokens] == [entry["id"] for entry in entries]
    assert all(token.provenance["activation"] == "measured" for token in tokens)
    assert all(len(token.alternatives) >= 2 for token in tokens)
    if "prob" in entries[0]:
        expected = [entry["prob"] for entry in entries]
        assert [token.activation for token in tokens] == pytest.approx(expected)


def test_ids_without_probabilities():
    tokens = [
        each
        for each in replay("28_native_completion_plain", "7")[1]
        if isinstance(each, TokenVisualizationUpdate)
    ]
    assert [token.token_id for token in tokens] == [496, 1977, 529, 1822, 9899]


def test_a_character_of_several_tokens_is_not_said_to_be_one():
    payloads = replay("33_native_completion_multibyte", "7")[1]
    tokens = [each for each in payloads if isinstance(each, TokenVisualizationUpdate)]
    assert {token.current_token: token.provenance["token_id"] for token in tokens} == {
        "h": "measured",
        "é": "measured",
        " ": "measured",
        "日": "derived",
        "本": "derived",
        "👩": "derived",
        "\u200d": "derived",
        "👧": "derived",
        "🏳": "derived",
    }


def test_two_prompts_do_not_disturb_each_others_counts():
    payloads = replay("35_native_completion_two_prompts", "7")[1]
    tokens = [each for each in payloads if isinstance(each, TokenVisualizationUpdate)]
    assert [token.choice for token in tokens].count(1) == 5
    assert {token.provenance["token_id"] for token in tokens} == {"measured"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "24_native_completion_probs_progress",
            [("prefill", None), ("prefill", 0), ("prefill", 14), ("prefill", 18)],
        ),
        (
            "written_lmstudio_chat",
            [
                ("prefill", None),
                ("queued", 25),
                ("queued", 65),
                ("queued", 100),
                ("prefill", 0),
                ("prefill", 50),
                ("prefill", 100),
            ],
        ),
    ],
)
def test_progress(name, expected):
    progress = [each for each in replay(name, "1")[1] if isinstance(each, SessionProgress)]
    assert [(each.phase, each.processed) for each in progress] == [
        *expected,
        ("generating", None),
    ]


def test_speed_as_the_server_measured_it():
    assert replay("written_ollama_chat", "1")[1][-1].tokens_per_second == 12.0
    assert replay("written_lmstudio_chat", "1")[1][-1].tokens_per_second == 43.73
    assert replay("10_responses_stream", "1")[1][-1].tokens_per_second == pytest.approx(
        14.519, 0.01
    )
