"""Reading streams: SSE parsing and chunk decoding of recorded answers, in events per CPU-second.

The recordings are fed an event at a time, as a live stream arrives. Parsing alone is set against
the OpenAI client's decoder and against httpx-sse: by its ``EventSource`` on an httpx response, as a
program uses it, and by its decoders alone, which leave httpx out, are not public and have no
target.

Parsing and decoding of chunks is set against httpx-sse with ``json`` and against the OpenAI
client's ``Stream``. All make the same of a stream, which is asserted first: of each token the
choice, role, text, id and probability, its alternatives as they came, the finish reasons and the
usage.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from measure import Pace, Result, Skipped, alternate, at_least, cpu_rate, ratio

from geoosd.bridge.core import chunks
from geoosd.bridge.core.pieces import Piece
from geoosd.bridge.core.sse import SSEParser

NAME = "sse"
_DATA = Path(__file__).parent.parent / "data" / "sse"
BARE = ("01_chat_plain", "15_chat_reasoning_content")
LOGPROBS = ("02_chat_logprobs_usage_timings_progress", "05_chat_unicode_emoji_logprobs")
_CHAT = (*BARE, *LOGPROBS)
_PLAIN = (*_CHAT, "03_completion_logprobs_usage")
_NAMED = ("10_responses_stream", "22_messages_stream", "29_messages_thinking")
"""Recordings whose events have names."""

_ALONE = "httpx-sse, decoders alone"

_TOKEN = ("choice", "role", "text", "token_id", "probability", "alternatives")
Token = tuple[int, str, str, int | None, float | None, Any]
"""What a peer makes of a token, for which it has no object: the fields of ours."""

Pieces = list[bytes]
Read = Callable[[Pieces], int]
"""Reads a whole stream; how many events it had."""


def recording(name: str) -> Pieces:
    """A recorded body, an event at a time."""
    events = (_DATA / f"{name}.body").read_bytes().split(b"\n\n")
    return [event + b"\n\n" for event in events if event]


# -- ours ------------------------------------------------------------------------------------------


def our_events(pieces: Pieces) -> list[tuple[str, str]]:
    """Type and data of each event."""
    parser = SSEParser()
    events: list[tuple[str, str]] = []
    for piece in pieces:
        if (whole := parser.whole(piece)) is not None:
            events.append(("message", whole.decode("utf-8", "replace")))
            continue
        for data, kind, _ in parser.receive(piece):
            events.append((kind, data.decode("utf-8", "replace")))
    return events


def our_parse(pieces: Pieces) -> int:
    """Nothing but parsing, as the tap of the bridge does it."""
    parser = SSEParser()
    whole, receive = parser.whole, parser.receive
    return sum(1 if whole(piece) is not None else len(receive(piece)) for piece in pieces)


class Said(NamedTuple):
    """What a stream said. A token has choice, role, text, id, probability and alternatives."""

    events: int
    tokens: list[Any]
    finished: dict[int, str]
    usage: tuple[int, int] | None


def our_reading(pieces: Pieces) -> Said:
    """As the tap of the bridge reads it."""
    parser, decode = SSEParser(), chunks.decode
    whole, receive = parser.whole, parser.receive
    events, usage = 0, None
    tokens: list[Piece] = []
    finished: dict[int, str] = {}
    for piece in pieces:
        if (data := whole(piece)) is None:
            found = receive(piece)
            assert len(found) == 1, "a recording is cut an event at a time"
            data = found[0][0]
        events += 1
        chunk = decode(data)
        if chunk is None:
            continue
        tokens += chunk.pieces
        if chunk.finished is not None:
            finished |= chunk.finished
        if chunk.usage is not None:
            usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    return Said(events, tokens, finished, usage)


# -- httpx-sse -------------------------------------------------------------------------------------


class _Body(httpx.SyncByteStream):
    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def httpx_sse_events(module: Any, pieces: Pieces) -> Iterator[Any]:
    """As a program gets them: an EventSource on a response."""
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, stream=_Body(pieces))
    return iter(module.EventSource(response).iter_sse())


def httpx_sse_decoded(decoders: Any, pieces: Pieces) -> Iterator[Any]:
    """The same without httpx."""
    lines, decoder = decoders.SSELineDecoder(), decoders.SSEDecoder()
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for piece in pieces:
        for line in lines.decode(decode(piece)):
            event = decoder.decode(line.rstrip("\n"))
            if event is not None:
                yield event


def json_reading(events: Iterable[Any]) -> Said:
    """As a program without the OpenAI client reads it."""
    count, usage = 0, None
    tokens: list[Token] = []
    finished: dict[int, str] = {}
    for event in events:
        count += 1
        if event.data == "[DONE]":
            break
        chunk = json.loads(event.data)
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            if choice["finish_reason"]:
                finished[index] = choice["finish_reason"]
            if text := delta.get("content"):
                role = "answer"
            elif text := delta.get("reasoning_content"):
                role = "reasoning"
            else:
                continue
            token_id = probability = alternatives = None
            if (logprobs := choice.get("logprobs")) and logprobs["content"]:
                entry = logprobs["content"][-1]
                token_id, probability = entry["id"], exp(entry["logprob"])
                alternatives = entry["top_logprobs"]
            tokens.append((index, role, text, token_id, probability, alternatives))
        if counts := chunk.get("usage"):
            usage = (counts["prompt_tokens"], counts["completion_tokens"])
    return Said(count, tokens, finished, usage)


# -- the OpenAI client -----------------------------------------------------------------------------


class _Response:
    """As much of a response as ``openai.Stream`` asks for."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def iter_bytes(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        """There is no connection."""


def openai_reading(stream: Callable[[Any], Iterable[Any]], pieces: Pieces) -> Said:
    """As a program with the OpenAI client reads it."""
    count, usage = 1, None  # [DONE], which it keeps to itself, is an event too
    tokens: list[Token] = []
    finished: dict[int, str] = {}
    for chunk in stream(_Response(pieces)):
        count += 1
        for choice in chunk.choices:
            if choice.finish_reason:
                finished[choice.index] = choice.finish_reason
            if text := choice.delta.content:
                role = "answer"
            elif text := getattr(choice.delta, "reasoning_content", None):
                role = "reasoning"
            else:
                continue
            token_id = probability = alternatives = None
            if choice.logprobs and choice.logprobs.content:
                entry = choice.logprobs.content[-1]
                token_id, probability = entry.id, exp(entry.logprob)
                alternatives = entry.top_logprobs
            tokens.append((choice.index, role, text, token_id, probability, alternatives))
        if chunk.usage is not None:
            usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    return Said(count, tokens, finished, usage)


# -- the comparison --------------------------------------------------------------------------------


class Peer(NamedTuple):
    """How a peer reads events, and chunks where it is set against ours in that too."""

    events: Callable[[Pieces], Iterable[Any]]
    reading: Callable[[Pieces], Said] | None


def _httpx_sse() -> dict[str, Peer]:
    module, decoders = import_module("httpx_sse"), import_module("httpx_sse._decoders")
    whole = partial(httpx_sse_events, module)
    return {
        "httpx-sse": Peer(whole, lambda pieces: json_reading(whole(pieces))),
        _ALONE: Peer(partial(httpx_sse_decoded, decoders), None),
    }


def _openai() -> dict[str, Peer]:
    module, streaming = import_module("openai"), import_module("openai._streaming")
    chunk = import_module("openai.types.chat").ChatCompletionChunk
    client = module.OpenAI(api_key="none", base_url="http://127.0.0.1:9")

    def stream(response: Any) -> Iterable[Any]:
        streamed: Iterable[Any] = module.Stream(cast_to=chunk, response=response, client=client)
        return streamed

    def events(pieces: Pieces) -> Iterable[Any]:
        decoded: Iterable[Any] = streaming.SSEDecoder().iter_bytes(iter(pieces))
        return decoded

    return {"openai": Peer(events, partial(openai_reading, stream))}


def check(peer: Peer) -> None:
    """That a peer reads the same as we do."""
    for pieces in map(recording, (*_PLAIN, *_NAMED)):
        theirs = [(each.event or "message", each.data) for each in peer.events(pieces)]
        assert theirs == our_events(pieces), "a peer reads other events"
    for pieces in map(recording, _CHAT if peer.reading else ()):
        assert peer.reading is not None
        theirs, ours = peer.reading(pieces), our_reading(pieces)
        assert _plain(theirs) == _plain(ours), "a peer reads another answer"


def _plain(said: Said) -> Said:
    """*said* with its tokens as tuples and their alternatives as (token, id, logprob), in whatever
    form they came.
    """
    tokens = []
    for each in said.tokens:
        row = each if isinstance(each, tuple) else tuple(getattr(each, name) for name in _TOKEN)
        *rest, alternatives = row
        rows = [_row(one if isinstance(one, dict) else _fields(one)) for one in alternatives or ()]
        tokens.append((*rest, rows))
    return said._replace(tokens=tokens)


def _fields(each: Any) -> dict[str, Any]:
    """The fields of an alternative that is an object."""
    return {name: getattr(each, name) for name in ("token", "id", "logprob")}


def _row(each: dict[str, Any]) -> tuple[Any, ...]:
    return each["token"], each["id"], each["logprob"]


def _counted(peer: Peer) -> Read:
    return lambda pieces: sum(1 for _ in peer.events(pieces))


def _events_of(reading: Callable[[Pieces], Said]) -> Read:
    return lambda pieces: reading(pieces).events


def run(pace: Pace) -> Iterator[Result]:
    """Against whichever peers are installed."""
    peers: dict[str, Peer] = {}
    for name, prepare in (("httpx-sse", _httpx_sse), ("openai", _openai)):
        try:
            peers |= prepare()
        except ImportError as error:
            yield Skipped(f"{NAME}: {name}", f"cannot import {error.name}: make bench installs it")
    for peer in peers.values():
        check(peer)
    parse: dict[str, Read] = {"ours": our_parse}
    parse |= {name: _counted(peer) for name, peer in peers.items()}
    decode: dict[str, Read] = {"ours": _events_of(our_reading)}
    decode |= {
        name: _events_of(peer.reading) for name, peer in peers.items() if peer.reading is not None
    }
    yield from _compared("sse, parse", _PLAIN, parse, pace)
    yield from _compared("sse, parse named events", _NAMED, parse, pace)
    yield from _compared("sse, parse and decode chunks", _CHAT, decode, pace)
    yield from _compared("sse, the same, without logprobs", BARE, decode, pace)
    yield from _compared("sse, the same, with logprobs", LOGPROBS, decode, pace)


def _compared(
    what: str, names: Iterable[str], contestants: dict[str, Read], pace: Pace
) -> Iterator[Result]:
    recordings = [recording(name) for name in names]

    def over(read: Read) -> int:
        return sum(map(read, recordings))

    turns = {
        name: partial(cpu_rate, partial(over, read), pace.seconds / 2)
        for name, read in contestants.items()
    }
    measured = alternate(turns, pace.rounds)
    ours = measured.pop("ours")
    for name, theirs in measured.items():
        target = at_least(5) if name != _ALONE else None
        yield ratio(f"{what}: {name}", "/s", ours, theirs, "higher", target)
