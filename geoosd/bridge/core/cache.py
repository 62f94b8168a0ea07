"""The proxy's cache of whole answers: which requests may be answered from it, and what it keeps.

A cache of a model's answers must never give one to another question. So the key is made of
everything that may shape an answer: upstream and model, method and path, the whole body as JSON
(the order of its members left out, and spaces; further inside order counts, since a tool's schema
is put into the prompt as it stands), and every header field but those of :data:`NOT_IN_KEY`, the
client's credentials included. Asked for are answers only where the request is deterministic
(temperature 0, or a seed), or says ``x-geoos-cache: use``; ``bypass`` is for the opposite. Kept are
only complete ones.

Neighbour: :mod:`..adapters.answer_cache`, which records answers and plays them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

import msgspec

Fields: TypeAlias = list[tuple[bytes, bytes]]
Wish: TypeAlias = Literal["use", "bypass", "auto"]

HEADER: Final = b"x-geoos-cache"
PACE: Final = b"x-geoos-cache-pace"

NOT_IN_KEY: Final = frozenset({
    b"host", b"content-length", b"transfer-encoding", b"te", b"trailer", b"connection",
    b"keep-alive", b"expect", b"date", b"user-agent", b"traceparent", b"tracestate",
    b"x-request-id", b"cache-control", b"pragma", b"origin", b"referer", HEADER, PACE,
})  # fmt: skip
"""Header fields of one hop or one request, which do not shape an answer."""

_NOISE: Final = (b"x-stainless-", b"sec-")
"""Fields with these names neither: what an SDK or a browser says of itself."""

_ANY_SEED: Final = (-1, 0xFFFFFFFF)

STATEFUL: Final = frozenset({"/v1/responses", "/api/v1/chat"})
"""Paths whose answers depend on what was asked before."""

_NOT_KEPT: Final = (b"no-store", b"private")


class _Shape(msgspec.Struct):
    """What of a request says whether its answer is always the same."""

    temperature: Any = None
    seed: Any = None


def wish_of(headers: Iterable[tuple[bytes, bytes]]) -> Wish:
    """What the client wants of the cache."""
    said = dict(headers).get(HEADER, b"").strip().lower()
    if said == b"use":
        return "use"
    return "bypass" if said == b"bypass" else "auto"


def is_deterministic(body: bytes) -> bool:
    """Whether the answer to *body* is meant to be the same each time: temperature 0, or a seed."""
    # llama.cpp takes -1 and its unsigned form as "any seed".
    try:
        shape = msgspec.json.decode(body, type=_Shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    number = shape.temperature
    cold = isinstance(number, int | float) and not isinstance(number, bool) and number == 0
    seed = shape.seed
    fixed = isinstance(seed, int) and not isinstance(seed, bool) and seed not in _ANY_SEED
    return cold or fixed


def key_of(
    *,
    upstream: str,
    url: str,
    model: str | None,
    authorization: str | None,
    method: bytes,
    target: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    added: bytes = b"",
) -> bytes | None:
    """The key of a request; None where its body is no JSON and so cannot be compared.

    *authorization* is what geoos itself would add; *target* is the path with its query,
    *added* what the upstream is asked besides (:mod:`.enriching`).
    """
    try:
        asked = msgspec.json.decode(body, type=dict[str, Any])
        canonical = msgspec.json.encode(sorted(asked.items(), key=itemgetter(0)))
    except (ValueError, TypeError, RecursionError):
        return None
    fields = sorted(
        (name, value)
        for name, value in headers
        if name not in NOT_IN_KEY and not name.startswith(_NOISE)
    )
    digest = blake2b(digest_size=32)
    for part in (
        upstream.encode(), url.encode(), repr(model).encode(), repr(authorization).encode(),
        method, target, canonical, added, *(each for pair in fields for each in pair),
    ):  # fmt: skip
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def may_keep(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer with this head may be kept."""
    if status != 200:
        return False
    for name, value in headers:
        if name == b"set-cookie":
            return False
        if name == b"cache-control" and any(word in value.lower() for word in _NOT_KEPT):
            return False
    return True


@dataclass(frozen=True)
class Answer:
    """A complete answer: its head, and its body in the pieces in which it came.

    ``pieces`` are (seconds since the head, bytes); ``session`` is the one in which it came.
    """

    session: str
    upstream: str
    reason: bytes
    headers: Fields
    pieces: list[tuple[float, bytes]]
    trailers: Fields = field(default_factory=list[tuple[bytes, bytes]])

    @property
    def size(self) -> int:
        """Bytes that it takes, its pieces' own included, about."""
        heads = sum(len(name) + len(value) + 200 for name, value in self.headers)
        return heads + sum(len(data) + 150 for _, data in self.pieces)


@dataclass(frozen=True)
class Statistics:
    """``hits`` and ``misses`` of requests that might have been answered from the cache."""

    entries: int
    used: int
    """Bytes."""
    capacity: int
    hits: int
    misses: int
    evicted: int


class Cache:
    """Answers by key: at most *capacity* bytes, each for at most *seconds*; the one that was not
    used for longest goes first. *now* is monotonic."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self.hits = 0
        self.misses = 0
        self.evicted = 0
        self._capacity = capacity
        self._seconds = seconds
        self._used = 0
        self._answers: OrderedDict[bytes, tuple[float, int, Answer]] = OrderedDict()

    @property
    def largest(self) -> int:
        """Bytes of the largest answer that is kept: one must not drive out all others."""
        return self._capacity // 4

    def look_up(self, key: bytes, now: float) -> Answer | None:
        """The answer kept for *key*; counts a hit or a miss."""
        found = self._answers.get(key)
        if found is not None and now - found[0] > self._seconds:
            self._remove(key)
            found = None
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._answers.move_to_end(key)
        return found[2]

    def keep(self, key: bytes, answer: Answer, now: float) -> None:
        """Keep a complete answer, unless it is too large."""
        size = answer.size
        if size > self.largest:
            return
        if key in self._answers:
            self._remove(key)
        self._answers[key] = (now, size, answer)
        self._used += size
        while self._used > self._capacity:
            self._remove(next(iter(self._answers)))
            self.evicted += 1

    def statistics(self) -> Statistics:
        """The numbers now."""
        return Statistics(
            len(self._answers), self._used, self._capacity, self.hits, self.misses, self.evicted
        )

    def _remove(self, key: bytes) -> None:
        self._used -= self._answers.pop(key)[1]
