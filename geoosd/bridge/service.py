"""The bridge daemon: wires the upstreams, the proxy, ``Prompt`` and the way to the compositor."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import trio
from prometheus_client import Counter, Gauge, Histogram

from geoosd.bridge.adapters.directory import Directory
from geoosd.bridge.adapters.ingest import Ingest
from geoosd.bridge.adapters.prompts import NO_UPSTREAM_REMEDY, Prompts
from geoosd.bridge.adapters.proxy import Proxy, TapRequest
from geoosd.bridge.core.exchange import Dialect, Exchange, dialect_of
from geoosd.bridge.core.outbox import Outbox
from geoosd.bridge.core.router import State
from geoosd.config import Config
from geoosd.errors import ConfigError
from geoosd.runtime.health import Finding
from geoosd.runtime.metrics import RateMeter
from geoosd.runtime.service import Report, Runtime, ServiceSpec
from geoosd.runtime.watchdog import ask_http
from geoosd.wire import events, reports
from geoosd.wire.messages import Payload, SessionEnded, SessionStarted, TokenVisualizationUpdate

_LOSS_MEMORY: Final = 300.0
"""Seconds for which a loss in the outbox stays a warning."""


class _Metrics:
    """The bridge's own numbers for Prometheus."""

    def __init__(self, runtime: Runtime, outbox: Outbox) -> None:
        registry = runtime.registry
        self.tokens = Counter("sse_tokens", "Token messages made", registry=registry)
        self.errors = Counter(
            "sse_errors", "Chunks and answers that could not be read", registry=registry
        )
        self.requests = Counter("geoos_requests", "Requests that were tapped", registry=registry)
        self.failed = Counter(
            "geoos_requests_failed", "Requests whose answer is not complete", registry=registry
        )
        self.up = Gauge(
            "geoos_upstream_up",
            "1 ready, 0.5 loading, 0 down",
            ["upstream"],
            registry=registry,
        )
        self.first_token = Histogram(
            "geoos_time_to_first_token_seconds",
            "From a request to its first token",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        depth = Gauge("geoos_outbox_depth", "Messages not acknowledged yet", registry=registry)
        depth.set_function(lambda: len(outbox))
        dropped = Gauge("geoos_outbox_dropped", "Messages given up in all", registry=registry)
        dropped.set_function(lambda: outbox.statistics().dropped)


class Bridge:
    """The service (:class:`geoosd.runtime.service.Service`)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._log = runtime.log
        config = runtime.config
        self._outbox = Outbox(config.bridge.outbox)
        self._ingest = Ingest(
            self._outbox, runtime.paths.socket("ingest.sock"), log=runtime.log, now=runtime.now
        )
        self._metrics = _Metrics(runtime, self._outbox)
        self._since: dict[str, float] = {}
        # Weak: a tap that gave up on its exchange must not hold the drain.
        self._exchanges: WeakValueDictionary[str, Exchange] = WeakValueDictionary()
        self._idle = trio.Event()
        self._tokens = RateMeter()
        self._requests = RateMeter()
        self._addresses: list[str] = []
        self._lost = 0
        self._lost_at = float("-inf")
        self._directory = Directory(
            config,
            log=runtime.log,
            engine_socket=runtime.paths.varlink("engine"),
            on_state=self._upstream_changed,
        )
        Prompts(
            self._directory,
            open_exchange=self._open,
            publish=self._publish,
            system_prompt=lambda: runtime.config.bridge.system_prompt,
            draining=runtime.draining,
            now=runtime.now,
        ).register(runtime.varlink)
        runtime.health.add_probe("upstream", self._upstream_health)
        runtime.health.add_probe("compositor", self._compositor_health)
        runtime.health.add_probe("outbox", self._outbox_health)

    # -- life --------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until drained."""
        runtime = self._runtime
        listeners = await runtime.listen_tcp(runtime.config.bridge_listen, "bridge.listen")
        self._addresses = [_address(listener) for listener in listeners]
        proxy = Proxy(
            self._directory,
            open_tap=self._open_tap,
            publish=self._publish,
            on_bug=runtime.budget.spend,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(self._directory.run)
            nursery.start_soon(self._ingest.run)
            runtime.proofs["proxy"] = partial(_prove, proxy, listeners[0])
            await nursery.start(proxy.serve, listeners, runtime.draining)
            self._say_status()
            task_status.started()
            await runtime.draining.wait()
            while self._exchanges:
                self._idle = trio.Event()
                await self._idle.wait()
            await self._ingest.wait_settled()
            nursery.cancel_scope.cancel()

    async def reload(self, config: Config) -> None:
        """Take other upstreams and bounds; the listening address cannot change while running."""
        old = self._runtime.config
        if config.bridge_listen != old.bridge_listen:
            raise ConfigError(
                f"cannot move bridge.listen from {old.bridge_listen} to {config.bridge_listen} "
                "while running; restart the bridge"
            )
        self._directory.configure(config)
        self._outbox.resize(config.bridge.outbox)
        self._say_status()

    # -- what happens ------------------------------------------------------------------------------

    def _open(
        self, *, model: str | None, upstream: str | None, dialect: Dialect, choices: int
    ) -> Exchange:
        """A new exchange with a session id of its own, in the request table until it ends."""
        exchange = Exchange(
            secrets.token_urlsafe(9),
            model=model,
            upstream=upstream,
            dialect=dialect,
            choices=choices,
            since=self._runtime.now(),
        )
        self._exchanges[exchange.session] = exchange
        return exchange

    def _open_tap(self, request: TapRequest) -> Exchange:
        return self._open(
            model=request.model,
            upstream=request.upstream,
            dialect=dialect_of(request.path),
            choices=request.choices,
        )

    def _publish(self, payloads: list[Payload]) -> None:
        """Hand messages to the compositor's queue, and count them."""
        tokens = 0
        for payload in payloads:
            kind = type(payload)
            if kind is TokenVisualizationUpdate:
                tokens += 1
            elif kind is SessionStarted:
                self._requests.add(1, trio.current_time())
                self._metrics.requests.inc()
            elif isinstance(payload, SessionEnded):
                self._ended(payload)
        if tokens:
            self._tokens.add(tokens, trio.current_time())
            self._metrics.tokens.inc(tokens)
        self._ingest.put(payloads)

    def _ended(self, ended: SessionEnded) -> None:
        exchange = self._exchanges.pop(ended.session, None)
        if exchange is None:
            return
        if exchange.errors:
            self._metrics.errors.inc(exchange.errors)
        if ended.time_to_first_token is not None:
            self._metrics.first_token.observe(ended.time_to_first_token)
        if ended.error is not None:
            self._metrics.failed.inc()
        # An upstream's own words may quote the prompt: they go to the viewers, not into the log.
        error = "the upstream reported an error" if exchange.error is not None else ended.error
        self._log.info(
            "request ended",
            session=ended.session,
            upstream=exchange.upstream,
            model=exchange.model,
            tokens=exchange.tokens,
            finish_reason=ended.finish_reason,
            tokens_per_second=_rounded(ended.tokens_per_second),
            unreadable=exchange.errors or None,
            error=error,
            **(events.REQUEST_FAILED.fields if error is not None else {}),
        )
        if not self._exchanges:
            self._idle.set()

    def _upstream_changed(self, upstream: str, state: State) -> None:
        self._since[upstream] = self._runtime.now()
        self._metrics.up.labels(upstream=upstream).set(_UP[state])
        self._say_status()

    def _say_status(self) -> None:
        row = self._directory.router.default()
        if row is None:
            self._runtime.set_status("no upstream")
        elif row.state == "loading":
            self._runtime.set_status(f"{row.id}: model loading")
        else:
            self._runtime.set_status(f"default upstream {row.id} at {row.url}")

    # -- health and status -------------------------------------------------------------------------

    def _upstream_health(self) -> Finding:
        router = self._directory.router
        row = router.default()
        if row is None:
            where = ", ".join(f"{each.id} {each.reason}" for each in router.rows())
            return "warning", f"no upstream: {where}", NO_UPSTREAM_REMEDY
        if row.state == "loading":
            return "warning", f"{row.id}: model loading", "wait until the model is loaded"
        if not self._directory.discovering:
            for each in router.rows():
                if each.state == "down":
                    return (
                        "warning",
                        f"upstream {each.id} at {each.url} {each.reason}",
                        f"start it, or remove [[bridge.upstream]] {each.id} from geoos.toml",
                    )
        return "healthy", f"{row.id} at {row.url} is ready", None

    def _compositor_health(self) -> Finding:
        if self._ingest.link.connected:
            return "healthy", "connected", None
        waiting = len(self._outbox)
        return (
            "warning",
            f"the compositor is not connected; {waiting} messages wait",
            "geoosctl status; then: systemctl restart geoos-compositor",
        )

    def _outbox_health(self) -> Finding:
        statistics = self._outbox.statistics()
        if statistics.dropped > self._lost:
            self._lost = statistics.dropped
            self._lost_at = trio.current_time()
        if trio.current_time() - self._lost_at < _LOSS_MEMORY:
            return (
                "warning",
                f"{statistics.dropped} messages were given up: the compositor took them too slowly",
                "look at the compositor's health, or raise bridge.outbox in geoos.toml",
            )
        return "healthy", f"{statistics.depth} of {statistics.capacity} messages wait", None

    def report(self) -> Report:
        """For ``GetStatus``."""
        now = trio.current_time()
        statistics = self._outbox.statistics()
        return Report(
            addresses=self._addresses,
            rates={
                "tokens": round(self._tokens.per_second(now), 1),
                "requests": round(self._requests.per_second(now), 2),
            },
            queues=[
                reports.Queue(
                    "outbox",
                    statistics.depth,
                    statistics.capacity,
                    "drop_oldest",
                    statistics.dropped,
                )
            ],
            links=[self._ingest.link.report(), *self._upstream_links()],
            requests=[exchange.request_row(now) for exchange in self._exchanges.values()],
            details=self._details(),
        )

    def _upstream_links(self) -> list[reports.Link]:
        return [
            reports.Link(
                f"upstream {row.id}",
                row.url,
                _LINK_STATE[row.state],
                self._since.get(row.id, self._runtime.since),
            )
            for row in self._directory.router.rows()
            if row.answered or not self._directory.discovering
        ]

    def _details(self) -> dict[str, str]:
        details = {"upstreams": "discovered" if self._directory.discovering else "configured"}
        if (row := self._directory.router.default()) is not None:
            details["default"] = row.id
            details["models"] = ", ".join(row.models)
        return details


_UP: Final[dict[State, float]] = {"ready": 1.0, "loading": 0.5, "down": 0.0}
_LINK_STATE: Final[dict[State, Any]] = {
    "ready": "connected",
    "loading": "connecting",
    "down": "down",
}


def _rounded(value: float | None) -> float | None:
    return round(value, 2) if value is not None else None


async def _prove(proxy: Proxy, listener: trio.SocketListener) -> None:
    """What the watchdog tries: the proxy answers. A full house is no reason to end it."""
    if proxy.server.connections < proxy.server.limits.connections:
        await ask_http(listener, "/v1/models")


def _address(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


SPEC: Final = ServiceSpec(
    name="bridge",
    summary="Tap model servers: proxy, prompts, tokens on their way to the map.",
    create=Bridge,
)
