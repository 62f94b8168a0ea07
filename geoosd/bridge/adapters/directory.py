"""All upstreams: their clients, their watching, and the choice among them.

Where no upstream is configured, the well-known local servers are looked for; one that appears later
and has a better priority becomes the default. The table itself is :mod:`..core.router`, what the
models can do :mod:`..core.capabilities`, the watching :mod:`.watched`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, Final

import trio

from geoosd import config
from geoosd.bridge.adapters.credentials import read_api_key
from geoosd.bridge.adapters.tokenize import PATH as TOKENIZE
from geoosd.bridge.adapters.turns import Turns
from geoosd.bridge.adapters.upstream import Outcome, UpstreamClient
from geoosd.bridge.adapters.watched import OnChange, Watched
from geoosd.bridge.core import question
from geoosd.bridge.core.capabilities import Capabilities, Capability, Evidence, How
from geoosd.bridge.core.router import Route, Router, Upstream
from geoosd.bridge.core.tokenize import Kind as Tokenizer
from geoosd.config import Config
from geoosd.errors import UpstreamError
from geoosd.runtime.logs import Log
from geoosd.wire import reports

_TOKENIZERS: Final[Mapping[str, Tokenizer]] = {"llama.cpp": "llama.cpp", "vllm": "vllm"}
_HAS_NOT: Final = (404, 405, 501)
"""What a server answers that has no such path."""


class Directory:
    """The upstreams of one configuration. Raises :class:`ConfigError` for a missing credential.

    *on_change* hears of every change of an upstream's state, of its circuit and of its failures.
    *engine_socket* is there while the embedded engine is meant to run.
    """

    def __init__(
        self,
        settings: Config,
        *,
        log: Log,
        engine_socket: Path,
        on_change: OnChange = lambda upstream: None,
        make_client: Callable[[config.Upstream, str | None], UpstreamClient] = UpstreamClient,
    ) -> None:
        self.router = Router()
        self.capabilities = Capabilities()
        self.discovering = False
        self._log = log
        self._engine_socket = engine_socket
        self._engine_url = ""
        self._changed = trio.Event()
        self._on_change = on_change
        self._make_client = make_client
        self._watched: dict[str, Watched] = {}
        self._nursery: trio.Nursery | None = None
        self.configure(settings)

    def configure(self, settings: Config) -> None:
        """Use the upstreams of *settings*; clients of those that stay as they are go on.

        Raises :class:`ConfigError` before anything is changed.
        """
        wanted = settings.upstreams or config.well_known(settings.engine_listen)
        keys = {upstream.id: read_api_key(upstream) for upstream in wanted}
        old, self._watched = self._watched, {}
        self._engine_url = f"http://{settings.engine_listen}"
        self.discovering = not settings.upstreams
        self.router.replace(
            Upstream(item.id, item.url, item.priority, fixed=item.models, models=item.models)
            for item in wanted
        )
        fresh: list[Watched] = []
        for upstream in wanted:
            kept = old.get(upstream.id)
            client = self._make_client(upstream, keys[upstream.id])
            if kept is not None and _is_same(kept.client, client):
                self._watched[upstream.id] = old.pop(upstream.id)
                continue
            watched = Watched(
                client,
                self.router,
                self.capabilities,
                log=self._log,
                on_change=self._tell,
                is_starting=self._is_starting,
            )
            self.router.set_circuit(upstream.id, watched.breaker.state)
            self._watched[upstream.id] = watched
            fresh.append(watched)
        for watched in old.values():
            watched.scope.cancel()
        if self._nursery is not None:
            for watched in fresh:
                self._nursery.start_soon(watched.run)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Watch the upstreams for ever; started when each was asked once."""
        try:
            async with trio.open_nursery() as first_round:
                for watched in self._watched.values():
                    first_round.start_soon(watched.look)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for watched in self._watched.values():
                    nursery.start_soon(watched.run)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            with trio.CancelScope(shield=True):
                for watched in self._watched.values():
                    await watched.client.aclose()

    # -- asking about them -------------------------------------------------------------------------

    def candidates(self, model: str | None = None) -> list[Route]:
        """Where a request for *model* may go, best first (see :meth:`Router.candidates`)."""
        return self.router.candidates(model)

    def client(self, upstream: str) -> UpstreamClient:
        """The client of an upstream. Raises :class:`UpstreamError` when it is gone by a reload."""
        if (watched := self._watched.get(upstream)) is None:
            raise UpstreamError("upstream_unavailable", f"cannot ask {upstream}: it was removed")
        return watched.client

    def settings(self, upstream: str) -> config.Upstream:
        """Its configuration."""
        return self.client(upstream).settings

    def authorization(self, upstream: str) -> str | None:
        """The value of its Authorization header, where a credential is configured."""
        return self.client(upstream).authorization

    def turns(self, upstream: str) -> Turns:
        """Where geoos's own prompts wait for it."""
        return self.client(upstream).turns

    def failures(self, upstream: str) -> int:
        """Requests that it did not answer to the end, since it was configured."""
        return self._watched[upstream].failed if upstream in self._watched else 0

    def retry_in(self, upstream: str) -> float | None:
        """Seconds until one that is set aside is looked at again; None where it is not."""
        watched = self._watched.get(upstream)
        return watched.breaker.retry_in(trio.current_time()) if watched is not None else None

    def models(self) -> list[dict[str, Any]]:
        """The merged entries of ``/v1/models`` as the upstreams sent them, each id once."""
        merged: dict[str, dict[str, Any]] = {}
        for row in self.router.rows():
            if row.state != "ready":
                continue
            sent = {entry["id"]: entry for entry in self._watched[row.id].entries}
            for model in row.models:
                plain = {"id": model, "object": "model", "owned_by": row.id}
                merged.setdefault(model, sent.get(model, plain))
        return list(merged.values())

    def queues(self) -> list[reports.Queue]:
        """The prompts that wait, for each upstream where any may."""
        queues: list[reports.Queue] = []
        for row in self.router.rows():
            now = self.turns(row.id).statistics()
            if row.state != "down" or now.waiting or now.refused:
                name = f"prompts {row.id}"
                queues.append(reports.Queue(name, now.waiting, now.room, "refuse", now.refused))
        return queues

    async def wait_loaded(self, upstream: str) -> None:
        """Wait while *upstream* loads its model; returns when it is ready, or down, or gone."""
        while (row := self.router.get(upstream)) is not None and row.state == "loading":
            await self._changed.wait()

    # -- ids of texts (:mod:`.tokenize`) -----------------------------------------------------------

    def tokenizer(self, upstream: str) -> Tokenizer | None:
        """Whose ``/tokenize`` it has; None where it is no such server, or is known to lack it."""
        watched = self._watched.get(upstream)
        kind = _TOKENIZERS.get(watched.client.kind) if watched is not None else None
        model = self.router.own_name(upstream, None)
        return None if self.capabilities.can(upstream, model, "tokenize") is False else kind

    async def post(self, upstream: str, path: str, body: bytes) -> tuple[int, bytes]:
        """POST JSON to it; status and body. Raises :class:`UpstreamError`."""
        status, answer = await self.client(upstream).post(path, body)
        if path == TOKENIZE and (status == 200 or status in _HAS_NOT):
            row = self.router.get(upstream)
            how: How = "answer" if status == 200 else "refusal"
            for model in (row.models if row is not None else ()) or (None,):
                self.capabilities.learn(upstream, model, "tokenize", status == 200, how)
        return status, answer

    # -- what requests show ------------------------------------------------------------------------

    def failed(self, upstream: str, reason: str) -> None:
        """It refused a request, broke it off, or was silent for too long."""
        if (watched := self._watched.get(upstream)) is not None:
            watched.request_failed(reason)

    def answered(self, upstream: str) -> None:
        """It answered a request to the end, whatever it said."""
        if (watched := self._watched.get(upstream)) is not None:
            watched.request_answered()

    def asks(self, route: Route, parameters: Mapping[str, Any]) -> frozenset[Capability]:
        """What a prompt is to ask for: all there is but for what is known to be refused."""
        return frozenset(
            what
            for what in question.wanted(self.client(route.upstream).kind, parameters)
            if self.capabilities.can(route.upstream, route.model, what) is not False
        )

    def proven(self, route: Route) -> frozenset[Capability]:
        """What there is to ask for and a model is known to tell."""
        return frozenset(
            what
            for what in question.wanted(self.client(route.upstream).kind, {})
            if self.capabilities.can(*route, what)
        )

    def doubt(self, route: Route, whats: Set[Capability]) -> None:
        """A request of a client was refused for the sake of *whats*: it is to be found out anew."""
        for what in whats:
            self.capabilities.doubt(*route, what)

    def learn(self, route: Route, evidence: Evidence, outcome: Outcome | None = None) -> None:
        """Write down what a session showed of a model; *outcome* if geoos itself asked."""
        learn = self.capabilities.learn
        for what in evidence.proven:
            learn(*route, what, True, "answer")
        if outcome is None or not outcome.ok:
            return
        for what in outcome.refused:
            learn(*route, what, False, "refusal")
        for what in evidence.missing() & outcome.asked - outcome.refused:
            learn(*route, what, False, "answer")

    # -- for those who are watched -----------------------------------------------------------------

    def _is_starting(self, client: UpstreamClient) -> bool:
        return client.settings.url == self._engine_url and self._engine_socket.exists()

    def _tell(self, upstream: str) -> None:
        self._on_change(upstream)
        self._changed.set()
        self._changed = trio.Event()


def _is_same(one: UpstreamClient, other: UpstreamClient) -> bool:
    return one.settings == other.settings and one.authorization == other.authorization
