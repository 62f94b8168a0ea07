"""What is quick for the usual chunk reads no chunk otherwise than the reader of any chunk."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from geoosd.bridge.core.chunks import decode, decode_any
from geoosd.bridge.core.pieces import Chunk
from geoosd.errors import MessageError

TEXTS = st.sampled_from(["", "a", " b", "é", "\n", "😀", "token_id:42"])
NUMBERS = st.sampled_from([-1, 0, 1, 7, 2**40, -0.5, 0.0, 0.25, -1e300])
ODD = st.sampled_from([None, True, "x", 3, -2, 0.5, [], {}, ["x"], {"x": 1}])


def rare(usual, strategy=ODD):
    """Mostly *usual*."""
    return st.one_of(usual, usual, usual, usual, strategy)


def objects(**fields):
    return st.fixed_dictionaries({}, optional=fields)


CANDIDATE = {"id": rare(NUMBERS), "token": rare(TEXTS), "logprob": rare(NUMBERS)}
ENTRY = objects(
    **CANDIDATE,
    prob=rare(NUMBERS),
    bytes=rare(st.just([97])),
    top_logprobs=rare(st.lists(objects(**CANDIDATE), max_size=3)),
    top_probs=rare(st.none()),
)
LOGPROBS = objects(
    content=rare(st.lists(ENTRY, min_size=1, max_size=1), st.lists(ENTRY, max_size=3) | ODD),
    tokens=rare(st.none()),
    refusal=rare(st.none()),
)
DELTA = objects(
    role=rare(st.just("assistant")),
    content=rare(TEXTS),
    reasoning_content=rare(st.none(), TEXTS | ODD),
    reasoning=rare(st.none(), TEXTS | ODD),
    tool_calls=rare(st.none(), st.just([{"function": {"name": "f", "arguments": "{}"}}]) | ODD),
)
CHOICE = objects(
    index=rare(st.just(0), NUMBERS | ODD),
    delta=rare(DELTA),
    message=rare(st.none(), DELTA | ODD),
    text=rare(st.none(), TEXTS | ODD),
    finish_reason=rare(st.none(), st.sampled_from(["stop", ""]) | ODD),
    logprobs=rare(st.none() | LOGPROBS),
    token_ids=rare(st.none(), st.lists(NUMBERS, max_size=2) | ODD),
)
CHUNK = objects(
    id=rare(st.just("c")),
    choices=rare(st.lists(CHOICE, min_size=1, max_size=1), st.lists(CHOICE, max_size=3) | ODD),
    model=rare(st.sampled_from(["m", ""])),
    usage=rare(st.none(), objects(prompt_tokens=NUMBERS, completion_tokens=NUMBERS) | ODD),
    timings=rare(st.none(), objects(predicted_n=NUMBERS, predicted_per_second=NUMBERS) | ODD),
    prompt_progress=rare(st.none(), objects(processed=NUMBERS, total=NUMBERS) | ODD),
    error=rare(st.none()),
)


def told_of(text: str, **entry) -> dict:
    """A chunk of one token of which something is told."""
    logprobs = {"content": [{"token": text, **entry}]}
    return {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs}]}


def outcome(read, data: bytes) -> Chunk | str | None:
    try:
        return read(data)
    except MessageError as error:
        return str(error)


@given(CHUNK)
@example({"choices": [{"delta": {"content": "a", "reasoning_content": "b"}}]})
@example({"choices": [{"delta": {"content": "a"}, "index": 3, "finish_reason": "stop"}]})
@example({"choices": [], "usage": {"prompt_tokens": 1}, "timings": {"predicted_n": 2}})
@example({"choices": [], "prompt_progress": {"processed": 3, "total": 1}})
@example({"choices": [], "error": {"message": "no"}})
@example({"choices": [{"delta": {"content": "a"}}], "error": {"message": "no"}})
@example(told_of("a", id=5, logprob=0))
@example(told_of("a", logprob=-0.0, top_logprobs=[]))
@example(told_of("token_id:42", logprob=-0.5, top_logprobs=[{"token": "b", "logprob": -2}]))
def test_the_same_of_every_chunk(chunk):
    data = json.dumps(chunk).encode()
    quick, careful = outcome(decode, data), outcome(decode_any, data)
    if isinstance(careful, Chunk) and careful.partial and isinstance(quick, Chunk):
        # The careful reader gave up what the quick one does not need: the text is the same.
        texts = [[(piece.role, piece.text) for piece in each.pieces] for each in (quick, careful)]
        assert texts[0] == texts[1]
    else:
        assert quick == careful
