"""geoosd.bridge.core.exchange on recorded and hand-made answers."""

import gzip
import json
import zlib
from pathlib import Path

import brotli
import pytest

from geoosd.bridge.core import exchange as exchange_module
from geoosd.bridge.core.exchange import MAX_CHOICES, Exchange, dialect_of
from geoosd.wire.messages import (
    NeuralStateUpdate,
    Payload,
    SessionEnded,
    SessionProgress,
    SessionStarted,
    TokenVisualizationUpdate,
    Usage,
    decode,
    encode,
)

RECORDED = Path(__file__).parents[2] / "data" / "sse"
SSE = "text/event-stream; charset=utf-8"


def begin(dialect="chat", content_type=SSE, status=200, encoding=None) -> Exchange:
    exchange = Exchange("s", model="asked", upstream="u", dialect=dialect, since=5.0)
    exchange.started(0.0)
    exchange.answered(status, content_type, 0.5, content_encoding=encoding)
    return exchange


def tokens(payloads: list[Payload]) -> list[TokenVisualizationUpdate]:
    return [payload for payload in payloads if isinstance(payload, TokenVisualizationUpdate)]


def text(payloads: list[Payload], role: str = "answer", choice: int = 0) -> str:
    return "".join(
        token.current_token
        for token in tokens(payloads)
        if token.role == role and token.choice == choice
    )


def sse(*chunks: object) -> bytes:
    return b"".join(
        b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"
        for chunk in chunks
    )


def delta(content: str, index: int = 0, **rest: object) -> dict:
    return {"choices": [{"index": index, "delta": {"content": content}}], **rest}


def end(reason: str = "stop", index: int = 0) -> dict:
    return {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions?x=1", "completions"),
        ("/v1/chat/completions/", "chat"),
        ("/v1/responses", "responses"),
        ("/v1/messages", "messages"),
        ("/completion", "completion"),
        ("/api/chat", "ollama"),
        ("/api/generate/", "ollama"),
        ("/api/v1/chat", "lmstudio"),
        ("/api/v0/chat/completions", "chat"),
        ("/v1/embeddings", "other"),
    ],
)
def test_dialects(path, dialect):
    assert dialect_of(path) == dialect


@pytest.mark.parametrize("step", [1, 7, 1000, 1_000_000])
@pytest.mark.parametrize(
    ("name", "role", "expected"),
    [
        ("02_chat_logprobs_usage_timings_progress", "answer", "Tell me a short story about a "),
        ("05_chat_unicode_emoji_logprobs", "answer", "héllo wörld — 日本語テスト 👩‍👩‍👧‍👦 🏳️"),
        ("08_chat_tool_call_required", "tool", 'get_weather{"city": "Oslo", "days": 2}get_'),
        ("15_chat_reasoning_content", "reasoning", "Let me think. Paris is warm."),
        ("15_chat_reasoning_content", "answer", "It is warm in Paris."),
        ("21_completion_prompt_form", "answer", " a topic that"),
    ],
)
def test_recorded_streams_cut_anywhere(name, role, expected, step):
    body = (RECORDED / f"{name}.body").read_bytes()
    exchange = begin("completions" if "completion_" in name else "chat")
    payloads = []
    for start in range(0, len(body), step):
        payloads += exchange.receive(body[start : start + step], 1.0 + start / 1000)
    payloads += exchange.finish(99.0)
    assert text(payloads, role).startswith(expected)
    assert exchange.errors == 0
    assert payloads[-1].error is None
    positions = [token.sequence_position for token in tokens(payloads)]
    assert positions == list(range(len(positions)))
    for payload in payloads:
        assert decode(encode(payload, 1.0), 1.0).payload == payload


def test_the_life_of_a_session():
    body = (RECORDED / "02_chat_logprobs_usage_timings_progress.body").read_bytes()
    exchange = Exchange("s", model="asked", upstream="u", dialect="chat", choices=2, since=5.0)
    assert exchange.started(10.0) == [SessionStarted("s", "asked", "u", 2)]
    assert exchange.queued(3, 10.0) == [SessionProgress("s", "queued", position=3)]
    row = exchange.request_row(10.0)
    assert (row.phase, row.position, row.since) == ("queued", 3, 5.0)
    payloads = exchange.answered(200, SSE, 11.0)
    assert exchange.request_row(11.0).phase == "prefill"
    payloads += exchange.receive(body, 12.0)
    assert exchange.request_row(12.0).phase == "generating"
    payloads += exchange.finish(13.0)
    progress = [payload for payload in payloads if isinstance(payload, SessionProgress)]
    assert [(each.phase, each.processed, each.total) for each in progress] == [
        ("prefill", None, None),
        ("prefill", 27, 32),
        ("prefill", 28, 32),
        ("prefill", 32, 32),
        ("generating", None, None),
    ]
    assert tokens(payloads)[0].token_id == 54593
    assert tokens(payloads)[0].model == "gemma-3-270m"
    assert all(token.provenance["activation"] == "measured" for token in tokens(payloads))
    states = [payload for payload in payloads if isinstance(payload, NeuralStateUpdate)]
    assert len(states) == len(tokens(payloads)) == exchange.tokens == 32
    ended = payloads[-1]
    assert ended.finish_reason == "length"
    assert ended.usage == Usage(32, 32, 64)
    assert ended.time_to_first_token == 2.0
    assert ended.tokens_per_second == pytest.approx(22.7, abs=0.1)
    row = exchange.request_row(13.0)
    assert (row.phase, row.tokens, row.model) == ("ended", 32, "gemma-3-270m")
    assert exchange.finish(14.0) == []
    assert exchange.receive(body, 14.0) == []


def test_hidden_tokens_are_told_from_the_servers_count():
    logprobs = {"content": [{"id": 5, "token": "ab", "logprob": -1.0}]}
    choice = {"index": 0, "delta": {"content": "ab"}, "logprobs": logprobs}
    exchange = begin()
    first = exchange.receive(sse({"choices": [choice], "timings": {"predicted_n": 1}}), 1.0)
    second = exchange.receive(sse({"choices": [choice], "timings": {"predicted_n": 3}}), 1.0)
    assert tokens(first)[0].provenance["token_id"] == "measured"
    assert tokens(second)[0].provenance["token_id"] == "derived"


def test_an_error_in_the_middle():
    body = (RECORDED / "17_error_midstream_kv_full_a.body").read_bytes()
    exchange = begin()
    exchange.receive(body, 1.0)
    (ended,) = exchange.finish(2.0)
    assert ended.error == "Context size has been exceeded."
    assert exchange.tokens == 218


def test_an_error_then_done():
    exchange = begin()
    exchange.receive(sse({"error": "a"}, {"error": "b"}, b"[DONE]"), 1.0)
    assert exchange.finish(2.0)[0].error == "a"


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([delta("a")], "the answer broke off"),
        ([delta("a"), b"[DONE]"], None),
        ([delta("a"), end()], None),
        ([], "the answer broke off"),
    ],
)
def test_an_answer_that_broke_off(chunks, error):
    exchange = begin()
    exchange.receive(sse(*chunks), 1.0)
    assert exchange.finish(2.0)[0].error == error


def test_the_callers_reason_comes_first_and_is_bounded():
    assert begin().finish(2.0, "x" * 5000)[0].error == "x" * 1024


def test_speed_from_arrival_where_the_server_tells_none():
    exchange = begin()
    exchange.receive(sse(delta("a")), 1.0)
    assert exchange.request_row(1.0).tokens_per_second is None
    exchange.receive(sse(delta("b")), 1.5)
    exchange.receive(sse(delta("c")), 2.0)
    assert exchange.request_row(2.0).tokens_per_second == 2.0
    exchange.receive(sse({"choices": [], "usage": {"completion_tokens": 11}}, end()), 2.0)
    assert exchange.finish(9.0)[0].tokens_per_second == 10.0


def test_usage_of_every_chunk():
    exchange = begin()
    exchange.receive(
        sse(
            {"choices": [], "usage": {"completion_tokens": 2, "prompt_tokens": 4}},
            {"choices": [], "usage": {"completion_tokens": 5, "total_tokens": 9}},
            end(),
        ),
        1.0,
    )
    assert exchange.finish(2.0)[0].usage == Usage(4, 5, 9)


def test_two_choices():
    exchange = begin()
    payloads = exchange.receive(
        sse(delta("b", 1), delta("a", 0), delta("B", 1), end("length", 1), end("stop", 0)), 1.0
    )
    payloads += exchange.finish(2.0)
    assert (text(payloads, choice=0), text(payloads, choice=1)) == ("a", "bB")
    assert [token.sequence_position for token in tokens(payloads)] == [0, 0, 1]
    assert payloads[-1].finish_reason == "stop"


def test_too_many_choices_are_counted():
    exchange = begin()
    exchange.receive(sse(*(delta("a", index) for index in range(MAX_CHOICES + 2))), 1.0)
    assert exchange.tokens == MAX_CHOICES
    assert exchange.errors == 2


def test_garbage_is_counted_and_the_rest_is_read():
    exchange = begin()
    odd = {"choices": [{"delta": {"content": "b"}, "logprobs": 3}]}
    payloads = exchange.receive(sse(b"{", b"null", delta("a"), odd, end()), 1.0)
    payloads += exchange.finish(2.0)
    assert text(payloads) == "ab"
    assert exchange.errors == 2
    assert payloads[-1].error is None


def test_a_stream_beyond_the_bounds():
    exchange = begin()
    assert exchange.receive(b"data: " + b"x" * (2 << 20), 1.0) == []
    assert exchange.receive(sse(delta("a")), 1.0) == []
    assert exchange.errors == 1
    assert exchange.finish(2.0)[0].error == "the answer could not be read to its end"


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), (" Deflate", zlib.compress), ("br", brotli.compress)],
)
def test_compressed(encoding, pack):
    exchange = begin(encoding=encoding)
    body = pack(sse(delta("hello"), end()))
    payloads = exchange.receive(body[:9], 1.0) + exchange.receive(body[9:], 1.0)
    assert text(payloads) == "hello"
    assert exchange.finish(2.0)[0].error is None


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_compressed_badly_or_unknown(encoding):
    exchange = begin(encoding=encoding)
    assert exchange.receive(b"not compressed at all", 1.0) == []
    assert exchange.errors == 1
    assert exchange.finish(2.0)[0].error == "the answer could not be read to its end"
    exchange = begin(encoding="zstd")
    assert exchange.receive(b"whatever", 1.0) == []
    assert exchange.finish(2.0)[0].error is None
    assert exchange.errors == 1


def test_what_unfolds_to_too_much_is_not_unfolded_to_its_end(monkeypatch):
    unfolded = []

    def inflate(data):
        for _ in range(100):
            unfolded.append(1)
            yield b"x" * (1 << 20)

    exchange = begin(encoding="gzip")
    monkeypatch.setattr(exchange, "_inflate", inflate)
    assert exchange.receive(b"a few bytes", 1.0) == []
    assert exchange.errors == 1
    assert len(unfolded) == 2  # a line may have one


def test_a_whole_answer():
    exchange = begin(content_type="application/json")
    choices = [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]
    body = json.dumps(
        {"choices": choices, "model": "m", "usage": {"completion_tokens": 2}}
    ).encode()
    assert exchange.receive(body[:10], 1.0) == []
    assert exchange.receive(body[10:], 1.0) == []
    payloads = exchange.finish(2.0)
    assert text(payloads) == "hello"
    ended = payloads[-1]
    assert isinstance(ended, SessionEnded)
    assert (ended.finish_reason, ended.error) == ("stop", None)
    assert ended.time_to_first_token is None
    assert ended.tokens_per_second is None


@pytest.mark.parametrize(("body", "errors"), [(b"{", 1), (b"null", 0)])
def test_a_whole_answer_that_says_nothing(body, errors):
    exchange = begin(content_type="application/json")
    exchange.receive(body, 1.0)
    assert len(exchange.finish(2.0)) == 1
    assert exchange.errors == errors


def test_a_whole_answer_beyond_the_bounds(monkeypatch):
    monkeypatch.setattr(exchange_module, "MAX_ANSWER", 10)
    exchange = begin(content_type="application/json")
    exchange.receive(b"x" * 11, 1.0)
    assert exchange.finish(2.0)[0].error == "the answer could not be read to its end"


def test_an_error_answer():
    exchange = begin(content_type="application/json", status=400)
    exchange.receive(b'{"error":{"message":"too long"}}', 1.0)
    assert exchange.finish(2.0)[0].error == "the upstream answered 400: too long"


def test_an_error_answer_without_words():
    exchange = begin(content_type="text/html", status=502)
    exchange.receive(b"x" * (1 << 20), 1.0)
    assert exchange.finish(2.0)[0].error == "the upstream answered 502"


@pytest.mark.parametrize(("dialect", "kind"), [("other", SSE), ("chat", "text/html")])
def test_what_is_not_read(dialect, kind):
    exchange = begin(dialect, kind)
    assert exchange.receive(sse(delta("a")), 1.0) == []
    assert exchange.finish(2.0) == [SessionEnded("s")]


def test_another_upstream_that_takes_over_is_named_once():
    exchange = Exchange("s", model="m", upstream="first", dialect="chat")
    exchange.started(0.0)
    exchange.upstream = "second"
    (waits,) = exchange.queued(1, 0.5)
    assert waits == SessionProgress("s", "queued", position=1, upstream="second")
    (reads,) = exchange.answered(200, SSE, 1.0)
    assert reads == SessionProgress("s", "prefill")


@pytest.mark.parametrize(("status", "encoding"), [(500, None), (200, "zstd"), (200, None)])
def test_who_answers_is_named_whatever_it_says(status, encoding):
    exchange = Exchange("s", model="m", upstream="first", dialect="chat")
    exchange.started(0.0)
    exchange.upstream = "second"
    (told,) = exchange.answered(status, SSE, 1.0, content_encoding=encoding)
    assert (told.session, told.upstream) == ("s", "second")


def test_a_session_that_never_started():
    exchange = Exchange("s", model=None, upstream=None, dialect="chat")
    assert not exchange.has_answer
    exchange.answered(200, SSE, 0.5)
    assert exchange.has_answer
    exchange.receive(sse(delta("a"), end()), 1.0)
    assert exchange.finish(2.0)[0].time_to_first_token is None


def test_progress_after_the_first_token_and_long_model_names():
    exchange = begin()
    late = {"choices": [], "prompt_progress": {"processed": 1, "total": 2}, "model": "m" * 300}
    payloads = exchange.receive(sse(delta("a"), late, delta("b", model="m" * 300)), 1.0)
    phases = [each.phase for each in payloads if isinstance(each, SessionProgress)]
    assert phases == ["generating"]
    assert exchange.model == "m" * 256
    assert text(payloads) == "ab"


def test_who_has_its_turn_has_no_position():
    exchange = Exchange("s", model=None, upstream="u", dialect="chat")
    exchange.started(0.0)
    exchange.queued(3, 0.0)
    assert exchange.request_row(0.0).position == 3
    exchange.sent()
    assert exchange.request_row(0.0).position is None
    assert exchange.status == 0


@pytest.mark.parametrize(
    ("body", "complete"),
    [
        (sse(delta("a"), end()), True),
        (sse(delta("a"), b"[DONE]"), True),
        (sse(delta("a")), False),
        (sse(delta("a"), b"{broken", end()), False),
        (sse(delta("a"), {"error": {"message": "no"}}, b"[DONE]"), False),
    ],
)
def test_what_is_complete(body, complete):
    exchange = begin()
    exchange.receive(body, 1.0)
    assert not exchange.is_complete
    exchange.finish(2.0)
    assert exchange.is_complete is complete


def test_when_an_answer_is_told():
    exchange = begin()
    for chunk, told in (
        (delta("a", 0), False),
        (delta("b", 1), False),
        (end(index=0), False),  # the other one goes on
        (end(index=1), True),
        (b"[DONE]", True),
        ({"error": {"message": "no"}}, False),
    ):
        exchange.receive(sse(chunk), 1.0)
        assert exchange.is_told is told
    done = begin()
    done.receive(sse(b"[DONE]"), 1.0)
    assert done.is_told


def test_an_answer_that_is_given_again_has_no_speed():
    exchange = Exchange("s", model="m", upstream="u", dialect="chat", replay_of="first")
    assert exchange.started(0.0) == [SessionStarted("s", "m", "u", 1, replay_of="first")]
    exchange.answered(200, SSE, 0.5)
    exchange.receive(sse(delta("a")), 1.0)
    exchange.receive(sse(delta("b"), end()), 2.0)
    (ended,) = exchange.finish(3.0)
    assert (ended.time_to_first_token, ended.tokens_per_second) == (None, None)
