"""What each upstream's models can do, as far as it is known, and how it came to be known.

Nothing is assumed from a server's name. A thing is known from a ``probe`` (the server says so
itself), from an ``answer`` (it did it, or left out what it was asked for) or from a ``refusal``
(400 with it, an answer without). ``Prompt`` asks for what is not known to be missing, so one
prompt is enough to find out, and what is refused is not asked for again until the server's version
or its models change. Proxied answers teach too: what a client asked for, and got, is there.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from geoosd.wire.messages import (
    Payload,
    SessionEnded,
    SessionProgress,
    TokenVisualizationUpdate,
)

Capability: TypeAlias = Literal[
    "chat",
    "completions",
    "logprobs",
    "token_ids",
    "prompt_progress",
    "usage",
    "tokenize",
    "tools",
]
How: TypeAlias = Literal["probe", "answer", "refusal"]

CAPABILITIES: Final[tuple[Capability, ...]] = get_args(Capability)

_SURE: Final[tuple[Capability, ...]] = ("logprobs", "token_ids", "usage")
"""What an answer with text shows if it was asked for and is there; progress needs a long prompt."""

_MAX_MODELS: Final = 512


class Known(NamedTuple):
    """Whether it can, and how that was learnt."""

    can: bool
    how: How


class Capabilities:
    """The table, by upstream and model; the model None stands for a server that lists none."""

    def __init__(self) -> None:
        self._table: dict[tuple[str, str | None], dict[Capability, Known]] = {}
        self._versions: dict[str, str] = {}

    def known(self, upstream: str, model: str | None) -> dict[Capability, Known]:
        """All that is known of a model; what is not in it is unknown."""
        return dict(self._table.get((upstream, model), {}))

    def can(self, upstream: str, model: str | None, what: Capability) -> bool | None:
        """Whether it can; None where that is not known."""
        known = self._table.get((upstream, model), {}).get(what)
        return known.can if known is not None else None

    def learn(
        self, upstream: str, model: str | None, what: Capability, can: bool, how: How
    ) -> None:
        """Write down what was learnt.

        That an answer lacks something says less than that another one had it. A refusal of what
        was there before is of that request perhaps: it makes it unknown, a second one decides.
        """
        if (upstream, model) not in self._table and len(self._table) >= _MAX_MODELS:
            return
        row = self._table.setdefault((upstream, model), {})
        before = row.get(what)
        if before is not None and before.can and not can and how != "probe":
            if how == "refusal":
                self.doubt(upstream, model, what)
            return
        row[what] = Known(can, how)

    def doubt(self, upstream: str, model: str | None, what: Capability) -> None:
        """It was refused where it was taken before, perhaps for the sake of that one request: what
        was known is not known any more."""
        row = self._table.get((upstream, model), {})
        known = row.get(what)
        if known is not None and known.can:
            del row[what]

    def saw_version(self, upstream: str, version: str) -> bool:
        """The server says which version it is; what was known of another one is forgotten, and
        then this is True."""
        before = self._versions.get(upstream)
        self._versions[upstream] = version
        if before is None or before == version:
            return False
        self.forget(upstream)
        return True

    def keep(self, upstream: str, models: Set[str]) -> None:
        """The upstream has these models now: forget the others."""
        gone = [
            key
            for key in self._table
            if key[0] == upstream and key[1] is not None and key[1] not in models
        ]
        for key in gone:
            del self._table[key]

    def forget(self, upstream: str) -> None:
        """It may be another server now."""
        for key in [key for key in self._table if key[0] == upstream]:
            del self._table[key]


class Evidence:
    """What the messages of one session show of the model; ``proven`` grows with them.

    *asked* is what the request asked for: where that is known, :meth:`missing` tells what it did
    not get.
    """

    __slots__ = ("_asked", "_text", "proven")

    def __init__(self, asked: Set[Capability] = frozenset()) -> None:
        self.proven: set[Capability] = set()
        self._asked = asked
        self._text = False

    def take(self, payload: Payload) -> None:
        """The next message of the session."""
        if isinstance(payload, TokenVisualizationUpdate):
            self._token(payload)
        elif isinstance(payload, SessionProgress):
            if payload.phase == "prefill" and payload.total is not None:
                self.proven.add("prompt_progress")
        elif isinstance(payload, SessionEnded):
            # Whole answers always hold usage: only in a stream is it something to be asked for.
            streamed = payload.time_to_first_token is not None
            if streamed and payload.usage is not None:
                self.proven.add("usage")
            if payload.error is not None:
                self._text = False  # it broke off: what is missing may have been to come

    def _token(self, token: TokenVisualizationUpdate) -> None:
        if token.role == "tool":
            self.proven.add("tools")
            return
        self._text = True
        if token.activation is not None:
            self.proven.add("logprobs")
        if token.token_id is not None and (token.provenance or {}).get("token_id") == "measured":
            self.proven.add("token_ids")

    def missing(self) -> set[Capability]:
        """What was asked for, and a whole answer with text shows not to be there."""
        lacking = self._asked - self.proven
        return {each for each in _SURE if each in lacking} if self._text else set()
