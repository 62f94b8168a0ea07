"""geoosd.bridge.core.chunks: what servers really send."""

import json
import math

import pytest

from geoosd.bridge.core.chunks import decode, error_of
from geoosd.bridge.core.pieces import Chunk, Piece, Timings
from geoosd.errors import MessageError
from geoosd.wire.messages import Usage


def chat(delta: dict | None = None, *, logprobs: object = None, **rest: object) -> Chunk:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None, "logprobs": logprobs}
    return decode(json.dumps({"choices": [choice], **rest}).encode())


def entry(token: str, logprob: float = 0.0, **rest: object) -> dict:
    return {"token": token, "logprob": logprob, **rest}


def texts(chunk: Chunk) -> list[str]:
    return [piece.text for piece in chunk.pieces]


@pytest.mark.parametrize("data", [b"null", b" null ", b"", b"  ", b": keepalive", b": OPENROUTER"])
def test_keep_alives_say_nothing(data):
    assert decode(data) is None


def test_done():
    assert decode(b"[DONE]") == Chunk(done=True)
    assert decode(b" [DONE] ").done


@pytest.mark.parametrize(
    "data", [b"{", b"nonsense", b"\xff", b"[1]", b'{"choices":5}', b"[" * 9999]
)
def test_garbage_is_refused(data):
    with pytest.raises(MessageError):
        decode(data)


def test_role_only_and_empty_chunks():
    assert chat({"role": "assistant", "content": None}).pieces == []
    assert chat({"role": "assistant", "content": ""}).pieces == []
    assert decode(b'{"choices":[{"index":0}]}').pieces == []
    assert decode(b"{}") == Chunk()


def test_usage_after_empty_choices_and_timings():
    chunk = decode(
        b'{"choices":[],"model":"m","usage":{"completion_tokens":3,"prompt_tokens":4,"total_tokens":7},'
        b'"timings":{"predicted_n":3,"predicted_per_second":22.5}}'
    )
    assert chunk == Chunk(model="m", usage=Usage(4, 3, 7), timings=Timings(3, 22.5))


def test_progress_comes_without_a_text_or_beside_it():
    progress = b'"prompt_progress":{"processed":2,"total":5}'
    assert decode(b'{"choices":[],' + progress + b"}") == Chunk(progress=(2, 5))
    chunk = decode(b'{"choices":[{"delta":{"content":"a"}}],' + progress + b"}")
    assert chunk == Chunk([Piece(0, "answer", "a")], progress=(2, 5))


def test_a_token_told_of_without_an_id_or_named_by_it():
    assert chat({"content": "a"}, logprobs={"content": [entry("a")]}).pieces == [
        Piece(0, "answer", "a", None, 1.0)
    ]
    named = entry("token_id:42", math.log(0.5))
    (piece,) = chat({"content": "token_id:42"}, logprobs={"content": [named]}).pieces
    assert (piece.token_id, piece.probability) == (42, pytest.approx(0.5))


def test_timings_are_of_the_choice_beside_them():
    data = b'{"choices":[{"index":1,"delta":{"content":"a"}}],"timings":{"predicted_n":3}}'
    chunk = decode(data)
    assert (chunk.choice, chunk.timings) == (1, Timings(3))


def test_progress_is_never_more_than_its_total():
    def progress(processed, total):
        given = {"prompt_progress": {"processed": processed, "total": total, "cache": 0}}
        return decode(json.dumps(given).encode()).progress

    assert progress(5, 9) == (5, 9)
    assert progress(9, 5) == (9, 9)
    assert progress(-1, 5) == (0, 5)


def test_finish_on_an_empty_delta():
    assert decode(b'{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}').finished == {
        1: "stop"
    }


def test_several_choices_interleaved():
    chunk = decode(
        b'{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}},'
        b'{"index":-4,"delta":{"content":"c"}}]}'
    )
    assert [(piece.choice, piece.text) for piece in chunk.pieces] == [(1, "b"), (0, "a"), (0, "c")]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning(name):
    assert chat({name: "hm"}).pieces == [Piece(0, "reasoning", "hm")]


def test_reasoning_and_answer_in_one_chunk_get_no_token():
    chunk = chat({"reasoning": "a", "content": "b"}, logprobs={"content": [entry("ab", id=7)]})
    assert chunk.pieces == [Piece(0, "reasoning", "a"), Piece(0, "answer", "b")]


def test_tool_calls():
    calls = [
        {"index": 0, "function": {"name": "f", "arguments": '{"x'}},
        {"index": 1, "function": {"arguments": "}"}},
        {"index": 2},
    ]
    assert chat({"tool_calls": calls}).pieces == [Piece(0, "tool", 'f{"x}')]
    assert chat({"tool_calls": [{"function": {}}]}).pieces == []


def test_a_token_with_its_probability_and_alternatives():
    top = [entry("Tell", -0.5, id=4), entry("I", -2.0, id=5), {"token": "?"}]
    given = {"content": [entry("Tell", -0.5, id=4, bytes=[84, 101, 108, 108], top_logprobs=top)]}
    (piece,) = chat({"content": "Tell"}, logprobs=given).pieces
    assert (piece.text, piece.token_id, piece.exact) == ("Tell", 4, True)
    assert piece.probability == pytest.approx(math.exp(-0.5))
    assert [(each.token, each.token_id, each.probability) for each in piece.alternatives] == [
        ("Tell", 4, pytest.approx(math.exp(-0.5))),
        ("I", 5, pytest.approx(math.exp(-2.0))),
        ("?", None, None),
    ]


def test_probabilities_after_sampling():
    given = {"content": [{"token": "a", "prob": 1.5, "top_probs": [{"token": "a", "prob": -1}]}]}
    (piece,) = chat({"content": "a"}, logprobs=given).pieces
    assert piece.probability == 1.0
    assert piece.alternatives[0].probability == 0.0


def test_a_logprob_above_zero_is_one_and_none_is_none():
    assert (
        chat({"content": "a"}, logprobs={"content": [entry("a", 0.1)]}).pieces[0].probability == 1
    )
    (piece,) = chat({"content": "a"}, logprobs={"content": [{"token": "a", "id": -1}]}).pieces
    assert piece.probability is None
    assert piece.token_id is None


def test_logprobs_on_a_role_only_chunk():
    assert chat({"role": "assistant"}, logprobs={"content": [entry("<think>")]}).pieces == []


def test_one_token_that_is_not_the_text():
    (piece,) = chat({"content": "It"}, logprobs={"content": [entry("\n\nIt", id=3)]}).pieces
    assert (piece.text, piece.token_id, piece.exact) == ("It", 3, False)


def test_one_token_whose_bytes_are_the_text():
    given = {"content": [entry("\ufffd", id=3, bytes=list("é".encode()))]}
    assert chat({"content": "é"}, logprobs=given).pieces[0].exact


def test_bytes_that_are_none():
    for odd in ([300], "é", [0.5], {}):
        chunk = chat({"content": "é"}, logprobs={"content": [entry("?", id=3, bytes=odd)]})
        assert (chunk.pieces[0].token_id, chunk.pieces[0].exact) == (3, False)
        assert not chunk.partial
    given = {"content": [entry("é", id=3, bytes=None), entry("!", id=4, bytes=None)]}
    assert texts(chat({"content": "é!"}, logprobs=given)) == ["é", "!"]


def test_several_tokens_in_a_chunk():
    given = {"content": [entry("a", -1.0, id=1), entry("b", -2.0, id=2)]}
    pieces = chat({"content": "ab"}, logprobs=given).pieces
    assert [(piece.text, piece.token_id, piece.exact) for piece in pieces] == [
        ("a", 1, True),
        ("b", 2, True),
    ]


def test_leading_tokens_that_were_stripped():
    given = {"content": [entry("\n\n", id=1), entry("It", id=2), entry(" is", id=3)]}
    pieces = chat({"content": "It is"}, logprobs=given).pieces
    assert [(piece.text, piece.token_id) for piece in pieces] == [("It", 2), (" is", 3)]


def test_tokens_that_do_not_make_up_the_text():
    given = {"content": [entry("x", id=1), entry("y", id=2)]}
    for text in ("ab", "abc", "b"):
        (piece,) = chat({"content": text}, logprobs=given).pieces
        assert (piece.text, piece.token_id, piece.exact) == (text, 2, False)


def test_tokens_that_are_parts_of_a_character():
    flag = "🇫".encode()
    given = {
        "content": [
            entry("", id=1, bytes=list(flag[:2])),
            entry("", id=2, bytes=list(flag[2:])),
            entry("", id=3, bytes=[]),
            entry("!", id=4),
        ]
    }
    pieces = chat({"content": "🇫!"}, logprobs=given).pieces
    assert [(piece.text, piece.token_id, piece.exact) for piece in pieces] == [
        ("🇫", 2, False),
        ("!", 4, True),
    ]


def test_legacy_completion_logprobs():
    given = {
        "tokens": [" a", " b", " c"],
        "token_logprobs": [None, -1.0],
        "top_logprobs": [None, {" b": -1.0, " x": -3.0}],
    }
    data = {"choices": [{"index": 0, "text": " a b c", "logprobs": given}]}
    pieces = decode(json.dumps(data).encode()).pieces
    assert [piece.text for piece in pieces] == [" a", " b", " c"]
    assert [piece.probability for piece in pieces] == [None, pytest.approx(math.exp(-1)), None]
    assert pieces[0].alternatives is None
    assert [each.token for each in pieces[1].alternatives] == [" b", " x"]
    data["choices"][0]["logprobs"] = {"tokens": None}
    assert texts(decode(json.dumps(data).encode())) == [" a b c"]


def test_token_ids_of_vllm():
    def piece(ids):
        data = {"choices": [{"index": 0, "delta": {"content": "a"}, "token_ids": ids}]}
        return decode(json.dumps(data).encode()).pieces[0]

    assert piece([9]).token_id == 9
    assert piece([9]).exact
    assert (piece([9, 8]).token_id, piece([9, 8]).exact) == (8, False)
    assert piece(None).token_id is None
    assert piece([]).token_id is None
    assert piece([-1]).token_id is None


def test_several_tokens_of_vllm_in_a_chunk_with_their_ids():
    logprobs = {"content": [entry("a", -1.0), entry("b", -2.0, id=4)]}
    choice = {"index": 0, "delta": {"content": "ab"}, "logprobs": logprobs, "token_ids": [7, 8]}
    pieces = decode(json.dumps({"choices": [choice]}).encode()).pieces
    assert [(each.text, each.token_id, each.exact) for each in pieces] == [
        ("a", 7, True),
        ("b", 4, True),
    ]
    choice["token_ids"] = [7]
    assert decode(json.dumps({"choices": [choice]}).encode()).pieces[0].token_id is None


def test_tokens_that_vllm_names_by_their_id():
    top = [entry("token_id:7", -1.0), entry("token_id:x", -3.0), entry("token_id:" + "9" * 30)]
    logprobs = {"content": [entry("token_id:7", -1.0, top_logprobs=top)]}
    (piece,) = chat({"content": "word"}, logprobs=logprobs).pieces
    assert (piece.token_id, piece.exact) == (7, True)
    assert [each.token_id for each in piece.alternatives] == [7, None, None]
    (piece,) = chat({"reasoning": "hm"}, logprobs={"content": [entry("7")]}).pieces
    assert (piece.role, piece.token_id, piece.exact) == ("reasoning", None, False)


def test_prompt_token_ids_of_vllm_are_not_the_answer():
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}}
    first = json.dumps({"choices": [choice], "prompt_token_ids": [1]}).encode()
    assert decode(first) == Chunk()


def test_an_answer_that_was_not_streamed():
    message = {"role": "assistant", "content": "hello", "reasoning_content": "hm"}
    data = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    chunk = decode(json.dumps(data).encode())
    assert chunk.pieces == [Piece(0, "reasoning", "hm"), Piece(0, "answer", "hello")]
    assert chunk.finished == {0: "stop"}


def test_odd_parts_lose_no_text():
    data = {"choices": [{"delta": {"content": "a"}, "logprobs": "yes"}], "usage": []}
    chunk = decode(json.dumps(data).encode())
    assert texts(chunk) == ["a"]
    assert chunk.partial
    assert decode(b'{"usage":5}').partial


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"message": "no room", "code": 500}, "no room"),
        ({"type": "server_error"}, "server_error"),
        ("plain", "plain"),
        ({}, "the server reported an error without a message"),
    ],
)
def test_error_objects(error, said):
    body = json.dumps({"error": error}).encode()
    assert decode(body).error == said
    assert error_of(body) == said


def test_error_object_of_old_vllm():
    assert decode(b'{"object":"error","message":"no"}').error == "no"


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"<html>", b"\xff"])
def test_no_error_object(body):
    assert error_of(body) is None


def test_timings_belong_to_their_choice():
    timings = b'"timings":{"predicted_n":7,"predicted_per_second":2.5}'
    chunk = decode(b'{"choices":[{"index":1,"delta":{}}],' + timings + b"}")
    assert (chunk.choice, chunk.timings) == (1, Timings(7, 2.5))
