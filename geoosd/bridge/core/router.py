"""Which upstream answers for a model: a table of the upstreams and what they last said.

Pure: :mod:`..adapters.upstream` asks the servers and writes here, the proxy and ``Prompt`` read.
The rule (docs/interfaces.md): the exact id of a model, else ``UPSTREAM/model``, else the default,
which is the ready upstream of the best (lowest) priority, unless the configuration gives the model
to an upstream that is down. One whose circuit is not closed
(:mod:`.breaker`) comes after all that are ready: set aside, but better than nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from geoosd.bridge.core.breaker import Circuit

State: TypeAlias = Literal["ready", "loading", "down"]

_RANK: dict[State, int] = {"ready": 0, "loading": 2, "down": 3}


class Upstream(Struct):
    """One row: what is known of an upstream now.

    ``fixed`` are the models that the configuration lists; they stand in where the server lists
    none. ``circuit`` is that of its breaker. ``answered`` tells that the upstream has been up since
    the bridge started.
    """

    id: str
    url: str
    priority: int = 0
    fixed: tuple[str, ...] = ()
    state: State = "down"
    models: tuple[str, ...] = ()
    circuit: Circuit = "closed"
    reason: str = "not asked yet"
    answered: bool = False


class Route(NamedTuple):
    """An upstream to ask, and the name of the model as that upstream knows it; None: its own."""

    upstream: str
    model: str | None


class Router:
    """The table, ordered by priority, then as configured."""

    def __init__(self, upstreams: Iterable[Upstream] = ()) -> None:
        self._table: dict[str, Upstream] = {}
        self.replace(upstreams)

    def replace(self, upstreams: Iterable[Upstream]) -> None:
        """Take another configuration; what is known of an upstream that stays at its url is
        kept."""
        old = self._table
        rows = sorted(upstreams, key=lambda row: row.priority)
        self._table = {}
        for row in rows:
            known = old.get(row.id)
            if known is not None and known.url == row.url:
                row.state, row.reason, row.circuit = known.state, known.reason, known.circuit
                row.answered = known.answered
                row.models = row.fixed or known.models
            self._table[row.id] = row

    def update(
        self, upstream: str, state: State, *, models: Sequence[str] | None = None, reason: str = ""
    ) -> bool:
        """Write down what an upstream said; whether its state changed. Unknown ids are ignored."""
        row = self._table.get(upstream)
        if row is None:
            return False
        changed = row.state != state
        row.state = state
        row.reason = reason
        row.answered = row.answered or state != "down"
        if models is not None:
            row.models = row.fixed or tuple(models)
        return changed

    def set_circuit(self, upstream: str, circuit: Circuit) -> bool:
        """Write down the state of an upstream's circuit; whether it changed."""
        row = self._table.get(upstream)
        if row is None or row.circuit == circuit:
            return False
        row.circuit = circuit
        return True

    def own_name(self, upstream: str, model: str | None) -> str | None:
        """What *upstream* calls the model that a client asked it for; None where it is not known
        to have it."""
        row = self._table.get(upstream)
        if row is None:
            return None
        if model is None:
            return _own(row)
        name = model if model in row.models else model.removeprefix(f"{upstream}/")
        return name if name in row.models else None

    def rows(self) -> list[Upstream]:
        """The table, best first."""
        return list(self._table.values())

    def get(self, upstream: str) -> Upstream | None:
        """The row of an upstream."""
        return self._table.get(upstream)

    def default(self) -> Upstream | None:
        """The best ready upstream, else the best one that is loading."""
        usable = self._usable()
        return usable[0] if usable else None

    def candidates(self, model: str | None = None) -> list[Route]:
        """Where a request for *model* may go, best first; empty when nothing is up.

        The first is the one to ask. Another may be tried only if those before it refused the
        connection. Where an upstream lists the model, is configured to have it, or is named, no
        other kind of answer follows: a fallback must not quietly answer with another model, nor get
        to read what was meant for a server that happens to be down.
        """
        usable = self._usable()
        if model:
            exact = [Route(row.id, model) for row in usable if model in row.models]
            if exact or any(model in row.fixed for row in self._table.values()):
                return exact
            name, slash, rest = model.partition("/")
            if slash and rest and name in self._table:
                row = self._table[name]
                return [Route(row.id, rest)] if row.state != "down" else []
        return [Route(row.id, model or _own(row)) for row in usable]

    def everywhere(self) -> list[Route]:
        """One route for each model of each ready upstream: what ``all`` means."""
        return [
            Route(row.id, model)
            for row in self._table.values()
            if row.state == "ready"
            for model in (row.models or (None,))
        ]

    def _usable(self) -> list[Upstream]:
        rows = [row for row in self._table.values() if row.state != "down"]
        return sorted(rows, key=_rank)


def _rank(row: Upstream) -> int:
    set_aside = row.state == "ready" and row.circuit != "closed"
    return 1 if set_aside else _RANK[row.state]


def _own(row: Upstream) -> str | None:
    """The model that a request without one means at this upstream."""
    return row.models[0] if row.models else None
