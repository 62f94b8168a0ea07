"""All upstreams: their clients, their probing, and the choice among them.

Where no upstream is configured, the well-known local servers are looked for; one that appears later
and has a better priority becomes the default. The table itself is :mod:`..core.router`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio
from structlog.typing import FilteringBoundLogger

from geoosd import config
from geoosd.bridge.adapters.upstream import Probe, UpstreamClient, is_local, read_api_key
from geoosd.bridge.core.router import Route, Router, State, Upstream
from geoosd.config import Config
from geoosd.errors import UpstreamError
from geoosd.wire import events

SEEK_SECONDS: Final = 3.0
"""Between two looks at an upstream that is down."""

LOADING_SECONDS: Final = 0.5
"""Between two looks at an upstream that loads its model."""

WATCH_SECONDS: Final = 5.0
"""Between two looks at a ready upstream on this machine."""

REMOTE_SECONDS: Final = 60.0
"""Between two looks at a ready upstream elsewhere."""

STARTING_SECONDS: Final = 60.0
"""How long the embedded engine may refuse connections and still count as being started."""

_PATIENCE: Final = 2
"""Probes in a row that must fail before a ready upstream that is merely slow counts as down."""


class _Server:
    """One upstream: its client and what its last probes said."""

    def __init__(self, client: UpstreamClient) -> None:
        self.client = client
        self.scope = trio.CancelScope()
        self.wake = trio.Event()
        self.failures = 0
        self.refusing_since: float | None = None
        self.entries: list[dict[str, Any]] = []


class Directory:
    """The upstreams of one configuration. Raises :class:`ConfigError` for a missing credential.

    *on_state* hears of every change of an upstream's state. *engine_socket* is there while the
    embedded engine is meant to run.
    """

    def __init__(
        self,
        settings: Config,
        *,
        log: FilteringBoundLogger,
        engine_socket: Path,
        on_state: Callable[[str, State], None] = lambda upstream, state: None,
        make_client: Callable[[config.Upstream, str | None], UpstreamClient] = UpstreamClient,
    ) -> None:
        self.router = Router()
        self.discovering = False
        self._log = log
        self._engine_socket = engine_socket
        self._engine_url = ""
        self._changed = trio.Event()
        self._on_state = on_state
        self._make_client = make_client
        self._servers: dict[str, _Server] = {}
        self._nursery: trio.Nursery | None = None
        self.configure(settings)

    def configure(self, settings: Config) -> None:
        """Use the upstreams of *settings*; clients of those that stay as they are go on.

        Raises :class:`ConfigError` before anything is changed.
        """
        wanted = settings.upstreams or config.well_known(settings.engine_listen)
        keys = {upstream.id: read_api_key(upstream) for upstream in wanted}
        old, self._servers = self._servers, {}
        self._engine_url = f"http://{settings.engine_listen}"
        self.discovering = not settings.upstreams
        fresh: list[_Server] = []
        for upstream in wanted:
            server = old.get(upstream.id)
            key = keys[upstream.id]
            authorization = f"Bearer {key}" if key else None
            if (
                server is not None
                and server.client.settings == upstream
                and server.client.authorization == authorization
            ):
                self._servers[upstream.id] = old.pop(upstream.id)
                continue
            server = _Server(self._make_client(upstream, key))
            self._servers[upstream.id] = server
            fresh.append(server)
        self.router.replace(
            Upstream(item.id, item.url, item.priority, fixed=item.models, models=item.models)
            for item in wanted
        )
        for server in old.values():
            server.scope.cancel()
        if self._nursery is not None:
            for server in fresh:
                self._nursery.start_soon(self._watch, server)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Watch the upstreams for ever; started when each was asked once."""
        try:
            async with trio.open_nursery() as first_round:
                for server in self._servers.values():
                    first_round.start_soon(self._probe, server)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for server in self._servers.values():
                    nursery.start_soon(self._watch, server)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            with trio.CancelScope(shield=True):
                for server in self._servers.values():
                    await server.client.aclose()

    # -- asking about them -------------------------------------------------------------------------

    def candidates(self, model: str | None = None) -> list[Route]:
        """Where a request for *model* may go, best first (see :meth:`Router.candidates`)."""
        return self.router.candidates(model)

    def client(self, upstream: str) -> UpstreamClient:
        """The client of an upstream. Raises :class:`UpstreamError` when it is gone by a reload."""
        if (server := self._servers.get(upstream)) is None:
            raise UpstreamError("upstream_unavailable", f"cannot ask {upstream}: it was removed")
        return server.client

    def settings(self, upstream: str) -> config.Upstream:
        """Its configuration."""
        return self.client(upstream).settings

    def authorization(self, upstream: str) -> str | None:
        """The value of its Authorization header, where a credential is configured."""
        return self.client(upstream).authorization

    def limiter(self, upstream: str) -> trio.CapacityLimiter:
        """Its limit of concurrent requests, fair, shared by ``Prompt`` and the proxy."""
        return self.client(upstream).limiter

    def models(self) -> list[dict[str, Any]]:
        """The merged entries of ``/v1/models`` as the upstreams sent them, each id once."""
        merged: dict[str, dict[str, Any]] = {}
        for row in self.router.rows():
            if row.state != "ready":
                continue
            sent = {entry["id"]: entry for entry in self._servers[row.id].entries}
            for model in row.models:
                plain = {"id": model, "object": "model", "owned_by": row.id}
                merged.setdefault(model, sent.get(model, plain))
        return list(merged.values())

    async def wait_loaded(self, upstream: str) -> None:
        """Wait while *upstream* loads its model; returns when it is ready, or down, or gone."""
        while (row := self.router.get(upstream)) is not None and row.state == "loading":
            await self._changed.wait()

    def refused(self, upstream: str, reason: str) -> None:
        """It refused a connection or broke it before any byte: take it as down, look again now."""
        if (server := self._servers.get(upstream)) is not None:
            self._note(server, self._with_engine(server, Probe("down", reason)))
            server.failures = _PATIENCE
            server.wake.set()

    # -- probing -----------------------------------------------------------------------------------

    async def _watch(self, server: _Server) -> None:
        with server.scope:
            while True:
                with trio.move_on_after(self._interval(server)):
                    await server.wake.wait()
                server.wake = trio.Event()
                await self._probe(server)
        await server.client.retire()

    def _interval(self, server: _Server) -> float:
        settings = server.client.settings
        row = self.router.get(settings.id)
        if row is None or row.state == "down":
            return SEEK_SECONDS
        if row.state == "loading":
            return LOADING_SECONDS
        return WATCH_SECONDS if is_local(settings.url) else REMOTE_SECONDS

    def _with_engine(self, server: _Server, probe: Probe) -> Probe:
        """*probe*, or ``loading`` where it is the embedded engine that is just being started.

        It opens its port only once the model is put together, while its socket is there from the
        start. One that does not come up in time is down after all.
        """
        if probe.state != "down":
            server.refusing_since = None
            return probe
        if server.client.settings.url != self._engine_url or not self._engine_socket.exists():
            return probe
        now = trio.current_time()
        server.refusing_since = server.refusing_since or now
        if now - server.refusing_since > STARTING_SECONDS:
            return probe
        return Probe("loading", "is being started")

    async def _probe(self, server: _Server) -> None:
        upstream = server.client.settings.id
        probe = self._with_engine(server, await server.client.probe())
        row = self.router.get(upstream)
        server.failures = server.failures + 1 if probe.state == "down" else 0
        if (
            row is not None
            and row.state == "ready"
            and "in time" in probe.reason
            and server.failures < _PATIENCE
        ):
            return  # busy servers answer late; that alone does not make them dead
        chat: bool | None = None
        if probe.state == "ready" and _wants_template(row, probe):
            # Before it is called ready, so that the first prompt is asked in the right form.
            chat = await server.client.has_chat_template()
        self._note(server, probe)
        if chat is not None:
            self.router.set_chat(upstream, chat)

    def _note(self, server: _Server, probe: Probe) -> None:
        upstream = server.client.settings.id
        if probe.listing is not None:
            server.entries = probe.listing.entries
        ids = probe.listing.ids if probe.listing is not None else None
        if self.router.update(upstream, probe.state, models=ids, reason=probe.reason):
            self._log.info(
                f"upstream is {probe.state}",
                upstream=upstream,
                error=probe.reason if probe.state == "down" else None,
                **_event_fields(probe.state),
            )
            self._on_state(upstream, probe.state)
            self._changed.set()
            self._changed = trio.Event()


def _event_fields(state: str) -> dict[str, str]:
    """What marks a record of an upstream's new state."""
    event = {"down": events.UPSTREAM_LOST, "ready": events.UPSTREAM_READY}.get(state)
    return event.fields if event is not None else {}


def _wants_template(row: Upstream | None, probe: Probe) -> bool:
    """Whether it is not known yet if the model that *probe* found has a chat template."""
    if row is None or row.chat is None:
        return True
    ids = tuple(probe.listing.ids) if probe.listing is not None else ()
    return ids != row.models and not row.fixed
