"""One real request through everything, looked at from both ends (``selftest``).

A viewer connects, a prompt goes through the proxy, and what the client and the viewer got of it is
compared. The steps and their order are docs/interfaces.md's; the verb is
:mod:`.commands.selftest`.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from geoosctl import neural
from geoosctl.reported import Model
from geoosd.errors import GeoosError

PROMPT: Final = "Say 'test'"
TOKENS: Final = 10
SEEN_SECONDS: Final = 10.0
"""How long what the client has got may take to be seen."""

Outcome: TypeAlias = Literal["pass", "warn", "fail", "skip"]


class Step(Struct):
    """What one step found; ``remedy`` is what to do about it, where there is something to do."""

    name: str
    status: Outcome
    summary: str
    remedy: str | None = None


@dataclass
class Answer:
    """What the client got."""

    status: int = 0
    reason: str = ""
    session: str | None = None
    events: int = 0
    done: bool = False
    text: str = ""
    first: float | None = None
    """Seconds until the first event."""
    seconds: float = 0.0


@dataclass
class Sight:
    """What the viewer got."""

    hello: dict[str, Any] | None = None
    lost: str | None = None
    tokens: list[dict[str, Any]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    @property
    def text(self) -> str:
        """Of the tokens, as the client should have got it."""
        return "".join(each["current_token"] for each in self.tokens)


def ask(bridge: str, model: Model, *, patience: float) -> Answer:
    """Send the prompt through the proxy at *bridge*, again without probabilities where the server
    refuses to give them. Raises :class:`GeoosError` when nobody answers."""
    answer = _ask(bridge, model, patience, logprobs=model.capabilities.get("logprobs") is not False)
    if answer.status == 400:
        answer = _ask(bridge, model, patience, logprobs=False)
    return answer


def _ask(bridge: str, model: Model, patience: float, *, logprobs: bool) -> Answer:
    body: dict[str, Any] = {
        "model": f"{model.upstream}/{model.id}",
        "max_tokens": TOKENS,
        "stream": True,
    }
    if model.chat:
        path = "/v1/chat/completions"
        body["messages"] = [{"role": "user", "content": PROMPT}]
        body |= {"logprobs": True} if logprobs else {}
    else:
        path = "/v1/completions"
        body["prompt"] = PROMPT
        body |= {"logprobs": 1} if logprobs else {}
    parts = urlsplit(bridge)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=patience)
    began = time.monotonic()
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        return _answer(connection.getresponse(), began)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise GeoosError(f"cannot stream from {bridge}: {why.lower()}") from None
    finally:
        connection.close()


def _answer(response: http.client.HTTPResponse, began: float) -> Answer:
    answer = Answer(response.status, session=response.headers.get("x-geoos-session"))
    if response.status != 200:
        answer.reason = _reason(response.read(4096))
        return answer
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        answer.reason = f"it answers {response.headers.get('content-type')}, no event stream"
        return answer
    for line in response:
        if line.startswith(b"data:"):
            _event(answer, line[5:].strip(), began)
    answer.seconds = time.monotonic() - began
    return answer


def _event(answer: Answer, data: bytes, began: float) -> None:
    if answer.first is None:
        answer.first = time.monotonic() - began
    if data == b"[DONE]":
        answer.done = True
        return
    with suppress(ValueError):
        event = json.loads(data)
        answer.events += 1
        if event.get("error"):
            answer.reason = _reason(data)
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or choice
            texts = (
                delta.get(key) for key in ("reasoning_content", "reasoning", "content", "text")
            )
            answer.text += next((text for text in texts if text), "")


def _reason(data: bytes) -> str:
    """What an OpenAI error object says."""
    with suppress(ValueError, AttributeError, TypeError):
        error = json.loads(data)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    return data.decode(errors="replace").strip()[:200] or "no reason given"


class Viewer:
    """A viewer that notes what it sees, in a thread of its own."""

    def __init__(self, page: str, token: str | None, patience: float) -> None:
        self._page, self._token, self._patience = page, token, patience
        self._messages: queue.SimpleQueue[dict[str, Any] | str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        query = {"channels": "tokens,state,sessions", "tick": "0"}
        try:
            for text in neural.texts(self._page, query, self._token, self._patience):
                self._messages.put(json.loads(text))
        except (GeoosError, ValueError) as error:
            self._messages.put(str(error))

    def _next(self, seconds: float) -> dict[str, Any] | str | None:
        with suppress(queue.Empty):
            return self._messages.get(timeout=max(0.0, seconds))
        return None

    def greeted(self, sight: Sight) -> None:
        """Wait for Hello and Snapshot: from then on nothing is missed."""
        deadline = time.monotonic() + self._patience
        while (message := self._next(deadline - time.monotonic())) is not None:
            if isinstance(message, str):
                sight.lost = message
                return
            if message["message_type"] == "Hello":
                sight.hello = message["payload"]
            if message["message_type"] == "Snapshot":
                return
        sight.lost = f"no Hello and Snapshot from {self._page} in time"

    def watch(self, session: str, sight: Sight) -> None:
        """Note what there is of *session* until its end, or until nothing comes any more."""
        for message in self._until_late():
            kind, payload = message["message_type"], message["payload"]
            if payload.get("session") != session:
                continue
            if kind == "TokenVisualizationUpdate":
                sight.tokens.append(payload)
            elif kind == "NeuralStateUpdate":
                sight.states.append(payload)
            elif kind == "SessionEnded":
                sight.ended = True
                return

    def _until_late(self) -> Iterator[Mapping[str, Any]]:
        deadline = time.monotonic() + self._patience
        while isinstance(message := self._next(deadline - time.monotonic()), dict):
            yield message
