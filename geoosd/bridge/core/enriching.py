"""``[bridge] enrich = true``: what a proxied request is made to ask for besides, and how.

Fields are only inserted, before the first member of the request's JSON object: every byte that the
client sent stays, and a field that it names itself is never touched. The caller asks for nothing
that the model is not known to take (:mod:`.capabilities`), because a proxied request is sent once:
a refusal would be the client's. For the same reason requests that servers are known to refuse with
log-probabilities get none (docs/adr, "What enrich adds").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from geoosd.bridge.core import question
from geoosd.bridge.core.capabilities import Capability
from geoosd.bridge.core.dialects import Dialect

_DIGESTS: Final = frozenset((b"content-digest", b"content-md5", b"digest", b"signature"))
"""Header fields that vouch for the bytes of the body (RFC 9530, RFC 9421)."""

_WITHOUT_LOGPROBS: Final = ("tools", "functions", "echo", "best_of")
"""llama.cpp refuses tools with log-probabilities in a stream; with ``echo`` they come for the
prompt too, and ``best_of`` takes them for itself."""

_ONLY_STREAMED: Final = frozenset[Capability](("usage", "prompt_progress"))

_decoder = msgspec.json.Decoder(dict[str, Raw])


class Enrichable(NamedTuple):
    """A request to which fields may be added: its dialect, and the members of its body."""

    dialect: Dialect
    members: Mapping[str, Raw]

    def fields(self, known: Set[Capability]) -> bytes:
        """What is to be inserted (:func:`insert`) to ask for those of *known* that this request
        can have and does not ask for itself; empty for nothing."""
        asks = set(known)
        if bytes(self.members.get("stream", b"")) != b"true":
            asks -= _ONLY_STREAMED
        if any(name in self.members for name in _WITHOUT_LOGPROBS):
            asks.discard("logprobs")
        fields: dict[str, Any] = {}
        for each in sorted(asks):
            wanted = question.fields_for({each}, chat=self.dialect == "chat")
            if not self.members.keys() & wanted.keys():
                fields |= wanted
        return msgspec.json.encode(fields)[1:-1]


def look_into(
    dialect: Dialect, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> Enrichable | None:
    """A request with its whole *body*; None where nothing may be added to it."""
    if dialect not in ("chat", "completions") or any(name in _DIGESTS for name, _ in headers):
        return None
    try:
        return Enrichable(dialect, _decoder.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def insert(body: bytes, fields: bytes) -> bytes:
    """*body*, a JSON object, with *fields* as its first members."""
    if not fields:
        return body
    at = body.index(b"{") + 1
    comma = b"" if body[at:].lstrip().startswith(b"}") else b","
    return body[:at] + fields + comma + body[at:]
