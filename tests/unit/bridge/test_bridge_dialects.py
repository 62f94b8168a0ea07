"""geoosd.bridge.core.dialects and its decoders: what the recordings do not show."""

import json

import pytest

from geoosd.bridge.core import (
    anthropic,
    chunks,
    completion,
    dialects,
    lmstudio,
    ollama,
    responses,
)
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.ndjson import NDJSONParser
from geoosd.bridge.core.pieces import Chunk, Piece
from geoosd.errors import MessageError, SSETooLarge
from geoosd.wire.messages import SessionProgress, TokenVisualizationUpdate, Usage

DECODERS = [chunks, responses, anthropic, completion, ollama, lmstudio]


def said(module, event: object, kind: str = "message") -> Chunk:
    return module.decode(json.dumps(event).encode(), kind)


def texts(chunk: Chunk) -> list[tuple[str, str]]:
    return [(piece.role, piece.text) for piece in chunk.pieces]


# -- choosing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "kind", "reading"),
    [
        ("chat", "text/event-stream; charset=utf-8", ("events", chunks.decode)),
        ("completions", "Application/JSON", ("whole", chunks.decode_any)),
        ("responses", "text/event-stream", ("events", responses.decode)),
        ("messages", "application/json", ("whole", anthropic.decode)),
        ("completion", "text/event-stream", ("events", completion.decode)),
        ("ollama", "application/x-ndjson", ("lines", ollama.decode)),
        ("ollama", "application/json", ("whole", ollama.decode)),
        ("ollama", "text/event-stream", ("events", chunks.decode)),
        ("lmstudio", "text/event-stream", ("events", lmstudio.decode)),
        ("chat", "text/html", None),
        ("other", "text/event-stream", None),
    ],
)
def test_readings(dialect, kind, reading):
    assert dialects.reading_of(dialect, kind) == reading


# -- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", DECODERS)
@pytest.mark.parametrize("data", [b"null", b"", b" ", b": ping"])
def test_keep_alives(module, data):
    assert module.decode(data, "message") is None


@pytest.mark.parametrize("module", DECODERS)
@pytest.mark.parametrize("data", [b"{", b"5", b'"x"', b"[1]", b"\xff", b"[" * 9999])
def test_garbage(module, data):
    with pytest.raises(MessageError):
        module.decode(data, "message")


@pytest.mark.parametrize("module", DECODERS)
def test_what_is_new_says_nothing(module):
    assert said(module, {"type": "something.new", "novel": [1, {}]}) == Chunk()


@pytest.mark.parametrize("module", [chunks, responses, completion])
def test_done(module):
    assert module.decode(b"[DONE]", "message") == Chunk(done=True)


@pytest.mark.parametrize("module", DECODERS)
def test_error_objects(module):
    assert said(module, {"error": {"message": "no"}}).error == "no"


@pytest.mark.parametrize("module", [responses, anthropic, lmstudio])
def test_error_events(module):
    assert said(module, {"type": "error", "error": {"message": "no"}}, "error").error == "no"
    assert said(module, {"type": "error", "message": "no"}).error == "no"
    assert said(module, {"code": 500, "message": "no", "type": "x"}, "error").error == "no"


# -- one by one ------------------------------------------------------------------------------------


def test_responses_logprobs():
    top = [{"token": " a", "logprob": -0.5}, {"token": " b", "logprob": -1.5}]
    logprobs = [{"token": " a", "logprob": -0.5, "top_logprobs": top}]
    delta = {"type": "response.output_text.delta", "delta": " a", "logprobs": logprobs}
    (piece,) = said(responses, delta).pieces
    assert piece.probability == pytest.approx(0.6065, abs=1e-4)
    assert len(piece.alternatives) == 2
    chunk = said(responses, delta | {"logprobs": 5})
    assert (texts(chunk), chunk.partial) == ([("answer", " a")], True)
    assert said(responses, delta | {"delta": {}, "logprobs": []}) == Chunk()


def test_responses_that_did_not_complete():
    incomplete = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    chunk = said(responses, {"type": "response.incomplete", "response": incomplete})
    assert (chunk.finished, chunk.done, chunk.error) == ({0: "max_output_tokens"}, True, None)
    failed = {"status": "failed", "error": {"code": "server_error", "message": "boom"}}
    chunk = said(responses, {"type": "response.failed", "response": failed})
    assert (chunk.finished, chunk.done, chunk.error) == ({0: "failed"}, True, "boom")
    chunk = said(responses, {"type": "response.in_progress", "response": {"status": "in_progress"}})
    assert chunk == Chunk()


def test_a_whole_response_with_everything():
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "g", "input": "x"},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}, {"type": "odd"}]},
    ]
    whole = {"object": "response", "model": "m", "status": "completed", "output": output}
    chunk = said(responses, whole)
    assert texts(chunk) == [("reasoning", "hm"), ("tool", "f{}"), ("tool", "gx"), ("answer", "no")]
    assert (chunk.model, chunk.finished) == ("m", {0: "completed"})
    assert said(responses, whole | {"output": 5}).partial


def test_messages_whole_with_thinking_and_tools():
    content = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "yes"},
        {"type": "tool_use", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "name": "g", "input": {}},
        {"type": "redacted_thinking", "data": "x"},
    ]
    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    message = {"type": "message", "content": content, "model": "m", "usage": usage}
    chunk = said(anthropic, message)
    assert texts(chunk) == [
        ("reasoning", "hm"),
        ("answer", "yes"),
        ("tool", 'f{"a": 1}'),
        ("tool", "g"),
    ]
    assert (chunk.usage, chunk.finished, chunk.model) == (Usage(10, None), None, "m")


def test_messages_that_are_odd():
    assert said(anthropic, {"type": "message_start"}) == Chunk()
    assert said(anthropic, {"type": "content_block_start"}) == Chunk()
    assert said(anthropic, {"type": "ping"}) == Chunk()
    odd = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": 5}
    assert said(anthropic, odd) == Chunk(finished={0: "end_turn"}, partial=True)
    negative = {"type": "message_delta", "usage": {"output_tokens": -1, "input_tokens": 1 << 60}}
    assert said(anthropic, negative).usage == Usage()


def test_completion_of_several_prompts_at_once():
    answers = [
        {"index": 0, "content": "a", "stop": True, "stop_type": "word", "tokens": [5, 6]},
        {"index": 1, "content": "b", "stop": True, "tokens_predicted": 1},
    ]
    chunk = said(completion, answers)
    assert chunk.pieces == [Piece(0, "answer", "a", 6, exact=False), Piece(1, "answer", "b")]
    assert chunk.finished == {0: "word", 1: "stop"}
    assert said(completion, {"content": "a", "tokens": "?"}).partial


def test_ollama_both_texts_and_odd_calls():
    message = {"content": "a", "thinking": "t", "tool_calls": [{}, {"function": {"name": "f"}}]}
    chunk = said(ollama, {"message": message, "logprobs": [{"token": "a", "logprob": 0}]})
    assert texts(chunk) == [("reasoning", "t"), ("answer", "a"), ("tool", "f")]
    assert all(piece.probability is None for piece in chunk.pieces)
    assert said(ollama, {"response": "a", "thinking": ""}).pieces == [Piece(0, "answer", "a")]
    chunk = said(ollama, {"message": {"content": ""}, "done": True})
    assert (chunk.done, chunk.finished, chunk.usage, chunk.timings) == (True, None, Usage(), None)


def test_lmstudio_that_is_odd():
    assert said(lmstudio, {"type": "prompt_processing.progress"}) == Chunk()
    assert said(lmstudio, {"type": "model_load.progress", "progress": 7}).loading == (100, 100)
    assert said(lmstudio, {"type": "chat.end"}) == Chunk(done=True)
    assert said(lmstudio, {"type": "message.delta"}) == Chunk()


# -- in an exchange --------------------------------------------------------------------------------


def begin(dialect: str, kind: str) -> Exchange:
    exchange = Exchange("s", model=None, upstream="u", dialect=dialect)
    exchange.started(0.0)
    exchange.answered(200, kind, 0.0)
    return exchange


def test_a_last_line_without_its_end():
    exchange = begin("ollama", "application/x-ndjson")
    assert exchange.receive(b'{"response":"a","done":tr', 1.0) == []
    assert exchange.receive(b"ue}", 1.0) == []
    payloads = exchange.finish(2.0)
    assert [type(each) for each in payloads][1] is TokenVisualizationUpdate
    assert payloads[-1].error is None


def test_lines_that_broke_off_or_cannot_be_read():
    exchange = begin("ollama", "application/x-ndjson")
    exchange.receive(b'{"response":"a"}\nnonsense\n', 1.0)
    assert exchange.finish(2.0)[-1].error == "the answer broke off"
    assert exchange.errors == 1
    exchange = begin("ollama", "application/x-ndjson")
    assert exchange.receive(b"x" * (5 << 20), 1.0) == []
    assert exchange.finish(2.0)[0].error == "the answer could not be read to its end"


def test_loading_is_not_told_once_it_generates():
    exchange = begin("lmstudio", "text/event-stream")
    load = b'data: {"type":"model_load.progress","progress":0.5}\n\n'
    first = exchange.receive(load, 1.0)
    assert first == [SessionProgress("s", "queued", processed=50, total=100)]
    exchange.receive(b'data: {"type":"message.delta","content":"a"}\n\n', 1.0)
    assert exchange.receive(load, 1.0) == []


# -- NDJSON ----------------------------------------------------------------------------------------


def test_lines():
    parser = NDJSONParser()
    assert parser.receive(b"") == []
    assert parser.receive(b"a\r\n\n  \nb") == [b"a\r"]
    assert parser.receive(b"c\nd") == [b"bc"]
    assert (parser.finish(), parser.finish()) == (b"d", b"")


@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_line_beyond_the_bound(step):
    parser = NDJSONParser(max_line=3)
    stream = b"abc\nabcd\ne\n"
    lines = []
    failures = 0
    for start in [*range(0, len(stream), step), 0]:
        try:
            lines += parser.receive(stream[start : start + step])
        except SSETooLarge:
            failures += 1
    assert lines == [b"abc"]
    assert failures > 0
