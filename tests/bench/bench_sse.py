"""Reading streams: SSE parsing and chunk decoding of recorded answers, in events per CPU-second.

The recordings are fed an event at a time, as a live stream arrives. Parsing alone is set against
the OpenAI client's decoder and against httpx-sse: by its ``EventSource`` on an httpx response, as a
program uses it, and by its decoders alone, which leave httpx out and are not public. Parsing and
decoding of chunks is set against httpx-sse with ``json`` and against the OpenAI client's
``Stream``. That all read the same is asserted first.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from measure import Pace, Result, Skipped, alternate, at_least, cpu_rate, ratio

from geoosd.bridge.core import chunks
from geoosd.bridge.core.sse import SSEParser

NAME = "sse"
_DATA = Path(__file__).parent.parent / "data" / "sse"
_CHAT = (
    "01_chat_plain",
    "02_chat_logprobs_usage_timings_progress",
    "05_chat_unicode_emoji_logprobs",
    "15_chat_reasoning_content",
)
_PLAIN = (*_CHAT, "03_completion_logprobs_usage")
_NAMED = ("10_responses_stream", "22_messages_stream", "29_messages_thinking")
"""Recordings whose events have names."""

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
    return [(each.type, each.text) for piece in pieces for each in parser.receive(piece)]


def our_parse(pieces: Pieces) -> int:
    """Nothing but parsing."""
    receive = SSEParser().receive
    return sum(len(receive(piece)) for piece in pieces)


def our_text(pieces: Pieces) -> tuple[int, str]:
    """Events, and the text that they make up."""
    receive, decode = SSEParser().receive, chunks.decode
    count, text = 0, ""
    for piece in pieces:
        for event in receive(piece):
            count += 1
            if (chunk := decode(event.data, event.type)) is not None:
                for part in chunk.pieces:
                    text += part.text
    return count, text


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


def json_text(events: Iterable[Any]) -> tuple[int, str]:
    """The text as a program without the OpenAI client reads it."""
    count, text = 0, ""
    for event in events:
        count += 1
        if event.data == "[DONE]":
            break
        for choice in json.loads(event.data)["choices"]:
            delta = choice["delta"]
            text += delta.get("reasoning_content") or ""
            text += delta.get("content") or ""
    return count, text


# -- the OpenAI client -----------------------------------------------------------------------------


class _Response:
    """As much of a response as ``openai.Stream`` asks for."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def iter_bytes(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        """There is no connection."""


def openai_text(stream: Callable[[Any], Iterable[Any]], pieces: Pieces) -> tuple[int, str]:
    """The text as a program with the OpenAI client reads it."""
    count, text = 1, ""  # [DONE], which it keeps to itself, is an event too
    for chunk in stream(_Response(pieces)):
        count += 1
        for choice in chunk.choices:
            text += getattr(choice.delta, "reasoning_content", None) or ""
            text += choice.delta.content or ""
    return count, text


# -- the comparison --------------------------------------------------------------------------------


class Peer(NamedTuple):
    """How a peer reads events, and text where it is set against ours in that too."""

    events: Callable[[Pieces], Iterable[Any]]
    text: Callable[[Pieces], tuple[int, str]] | None


def _httpx_sse() -> dict[str, Peer]:
    module, decoders = import_module("httpx_sse"), import_module("httpx_sse._decoders")
    whole = partial(httpx_sse_events, module)
    return {
        "httpx-sse": Peer(whole, lambda pieces: json_text(whole(pieces))),
        "httpx-sse, decoders alone": Peer(partial(httpx_sse_decoded, decoders), None),
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

    return {"openai": Peer(events, partial(openai_text, stream))}


def check(peer: Peer) -> None:
    """That a peer reads the same as we do."""
    for pieces in map(recording, (*_PLAIN, *_NAMED)):
        theirs = [(each.event or "message", each.data) for each in peer.events(pieces)]
        assert theirs == our_events(pieces), "a peer reads other events"
    for pieces in map(recording, _CHAT if peer.text else ()):
        assert peer.text is not None
        assert peer.text(pieces) == our_text(pieces), "a peer reads another text"


def _counted(peer: Peer) -> Read:
    return lambda pieces: sum(1 for _ in peer.events(pieces))


def _texts(text: Callable[[Pieces], tuple[int, str]]) -> Read:
    return lambda pieces: text(pieces)[0]


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
    decode: dict[str, Read] = {"ours": _texts(our_text)}
    decode |= {name: _texts(peer.text) for name, peer in peers.items() if peer.text}
    yield from _compared("sse, parse", _PLAIN, parse, pace)
    yield from _compared("sse, parse named events", _NAMED, parse, pace)
    yield from _compared("sse, parse and decode chunks", _CHAT, decode, pace)


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
        yield ratio(f"{what}: {name}", "/s", ours, theirs, "higher", at_least(5))
