"""Answers from the cache, and the recording of those that go into it (:mod:`..core.cache`).

An answer is recorded as it passes, after each piece was sent on. Only a complete one is kept: its
head says 200, its framing ended, and the tap, which has read it, found its end and no error. Played
again it comes byte for byte, at once or (``x-geoos-cache-pace: recorded``) as slowly as it came;
on the map it is a session of its own whose ``replay_of`` names the one in which it was measured.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

import h11
import trio

from geoosd.bridge.adapters.forwarding import Target
from geoosd.bridge.adapters.http_connection import ClientRequest
from geoosd.bridge.adapters.http_fields import Fields, first
from geoosd.bridge.core import cache
from geoosd.bridge.core.cache import Answer, Cache
from geoosd.bridge.core.exchange import Exchange
from geoosd.wire import reports

HIT: Final = (cache.HEADER, b"hit")
MISS: Final = (cache.HEADER, b"miss")


class Trailing(Protocol):
    """Where the trailers of an answer are, once it has ended: the upstream's connection."""

    trailers: Fields


class Recording:
    """The answer to one request while it passes; ``key`` is what it will be kept under."""

    def __init__(self, store: Cache, key: bytes, upstream: str) -> None:
        self._store = store
        self._key = key
        self._upstream = upstream
        self._response: h11.Response | None = None
        self._began = 0.0
        self._pieces: list[tuple[float, bytes]] = []
        self._bytes = 0

    def answered(self, response: h11.Response, upstream: str) -> None:
        """The head of an answer has come. One of another upstream has another key."""
        if upstream == self._upstream and cache.may_keep(response.status_code, response.headers):
            self._response = response
            self._began = trio.current_time()

    def receive(self, data: bytes) -> None:
        """The next bytes of its body."""
        if self._response is None:
            return
        self._bytes += len(data)
        if self._bytes > self._store.largest:
            self._response = None
            self._pieces.clear()
        elif data:
            self._pieces.append((trio.current_time() - self._began, data))

    def finish(self, connection: Trailing, exchange: Exchange | None) -> None:
        """The answer is over; *exchange* has read all of it."""
        response = self._response
        if response is None or exchange is None or not exchange.is_complete:
            return
        answer = Answer(
            exchange.session,
            self._upstream,
            bytes(response.reason),
            response.headers.raw_items(),
            self._pieces,
            list(connection.trailers),
        )
        self._store.keep(self._key, answer, trio.current_time())


class AnswerCache:
    """The cache of the proxy; without a *store* nothing is kept and nothing answered."""

    def __init__(self) -> None:
        self.store: Cache | None = None
        self._configured: tuple[int, float] | None = None

    def configure(self, capacity: int | None, seconds: float) -> None:
        """Keep at most *capacity* bytes, None: nothing. Where it changes, it begins empty."""
        wanted = (capacity, seconds) if capacity is not None else None
        if wanted != self._configured:
            self._configured = wanted
            self.store = Cache(*wanted) if wanted is not None else None

    def question(self, request: ClientRequest, path: bytes, target: Target) -> bytes | None:
        """The key of a request that may be answered from the cache; None for all others."""
        if self.store is None or not request.body.ended:
            return None
        if path.partition(b"?")[0].rstrip(b"/").decode("ascii") in cache.STATEFUL:
            return None
        body = request.body.held
        wish = cache.wish_of(request.headers)
        if wish == "bypass" or (wish == "auto" and not cache.is_deterministic(body)):
            return None
        return cache.key_of(
            upstream=target.id,
            url=target.url,
            model=target.model,
            authorization=target.authorization,
            method=request.method,
            target=path,
            headers=request.headers,
            body=body,
            added=target.added,
        )

    def look_up(self, key: bytes) -> Answer | None:
        """The answer to the question *key*."""
        return self.store.look_up(key, trio.current_time()) if self.store is not None else None

    def statistics(self) -> cache.Statistics | None:
        """The numbers now; None while nothing is kept."""
        return self.store.statistics() if self.store is not None else None

    def queues(self) -> list[reports.Queue]:
        """The cache in ``GetStatus``: KiB used, of so many."""
        if (now := self.statistics()) is None:
            return []
        used, room = now.used >> 10, now.capacity >> 10
        return [reports.Queue("cache KiB", used, room, "drop_oldest", now.evicted)]

    def record(self, key: bytes, target: Target) -> Recording | None:
        """Record the answer that *target* gives to the question *key*."""
        return Recording(self.store, key, target.id) if self.store is not None else None


def response_of(answer: Answer) -> h11.Response:
    """The head of an answer as it came."""
    return h11.Response(status_code=200, reason=answer.reason, headers=answer.headers)


async def play(answer: Answer, request: ClientRequest) -> AsyncIterator[bytes]:
    """The pieces of an answer at the pace that *request* asks for; the last may be empty."""
    slowly = (first(request.headers, cache.PACE) or b"").strip().lower() == b"recorded"
    began = trio.current_time()
    for at, data in answer.pieces:
        if slowly:
            await trio.sleep_until(began + at)
        yield data
