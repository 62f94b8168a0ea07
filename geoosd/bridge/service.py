"""The bridge daemon: wires the upstreams, the proxy, ``Prompt`` and the way to the compositor."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary

import trio

from geoosd.bridge.adapters.asking import Asker
from geoosd.bridge.adapters.browsers import Browsers
from geoosd.bridge.adapters.canary import Canaries
from geoosd.bridge.adapters.directory import Directory
from geoosd.bridge.adapters.ingest import Ingest
from geoosd.bridge.adapters.metrics import CLIENT_GONE, CacheNumbers, Metrics
from geoosd.bridge.adapters.prompts import Prompts
from geoosd.bridge.adapters.proxy import Proxy, TapRequest
from geoosd.bridge.adapters.recorder import Recorder
from geoosd.bridge.adapters.replay import Replays
from geoosd.bridge.adapters.sessions import Sessions
from geoosd.bridge.adapters.tokenize import Tokenizing
from geoosd.bridge.adapters.upstream_report import UpstreamReport
from geoosd.bridge.core import conversation, question
from geoosd.bridge.core.capabilities import Evidence
from geoosd.bridge.core.exchange import Dialect, Exchange, dialect_of
from geoosd.bridge.core.outbox import Outbox
from geoosd.bridge.core.ratelimit import RateLimits
from geoosd.bridge.core.recording import finish_code
from geoosd.bridge.core.router import Route
from geoosd.config import Config
from geoosd.errors import ConfigError
from geoosd.runtime.health import Finding
from geoosd.runtime.metrics import RateMeter
from geoosd.runtime.service import Report, Runtime, ServiceSpec
from geoosd.runtime.watchdog import ask_http
from geoosd.wire import events, reports
from geoosd.wire.canary import passed
from geoosd.wire.messages import Payload, SessionEnded, SessionStarted, TokenVisualizationUpdate

_NOBODYS_FAULT: Final = (CLIENT_GONE, "the bridge stopped")
"""Ends of a request that are no failure of a model server."""

_LOSS_MEMORY: Final = 60.0
"""Seconds for which a loss in the outbox stays a warning."""

_LOOK_SECONDS: Final = 0.25
"""Between two looks whether a request still runs, while draining."""


class _Proxied(NamedTuple):
    """A proxied request: the model its client asked for, and what its answer shows of it."""

    model: str | None
    evidence: Evidence


class Bridge:
    """The service (:class:`geoosd.runtime.service.Service`)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._log = runtime.log
        self._idle = trio.Event()
        self._tokens = RateMeter()
        self._requests = RateMeter()
        self._addresses: list[str] = []
        self._lost = 0
        self._lost_at = float("-inf")

        # Weak: a tap that gave up on its exchange must not hold the drain.
        self._exchanges: WeakValueDictionary[str, Exchange] = WeakValueDictionary()
        self._proxied: WeakKeyDictionary[Exchange, _Proxied] = WeakKeyDictionary()
        self._ending: dict[str, Exchange] = {}

        config = runtime.config
        self._rates = RateLimits()
        self._proxy: Proxy | None = None
        self._directory = Directory(
            config,
            log=runtime.log,
            engine_socket=runtime.paths.varlink("engine"),
            on_change=self._upstream_changed,
        )
        self._upstreams = UpstreamReport(self._directory, runtime.health, runtime.now)

        self._outbox = Outbox(config.bridge.outbox)
        self._metrics = Metrics(
            runtime.registry,
            self._outbox,
            self._directory.router,
            now=trio.current_time,
            waiting=lambda upstream: self._directory.turns(upstream).statistics().waiting,
        )
        self._ingest = Ingest(
            self._outbox,
            runtime.paths.socket("ingest.sock"),
            log=runtime.log,
            now=runtime.now,
            on_delivered=self._metrics.delivered,
        )
        self._canaries = Canaries(self._ingest, runtime.now)
        self._tokenizing = Tokenizing(
            kind_of=self._directory.tokenizer,
            post=self._directory.post,
            put=self._deliver,
            on_bug=runtime.budget.spend,
        )

        self._recorder = Recorder(runtime)
        self._replays = Replays(
            self._recorder,
            put=self._ingest.put,
            has_room=lambda: self._outbox.has_room,
            draining=runtime.draining,
        )

        self._offer_calls()
        runtime.health.add_probe("compositor", self._compositor_health)
        runtime.health.add_probe("outbox", self._outbox_health)
        runtime.health.add_probe("recording", self._recorder.probe)

    def _offer_calls(self) -> None:
        """What other processes may ask over Varlink: prompts, and the sessions that are kept."""
        runtime = self._runtime
        asker = Asker(
            self._directory,
            open_exchange=self._open,
            publish=self._publish,
            on_asked=lambda session, asked: self._recorder.asked(
                session, asked.prompt, asked.system
            ),
            on_bug=runtime.budget.spend,
            rates=self._rates,
        )
        Prompts(
            self._directory,
            asker,
            system_prompt=lambda: runtime.config.bridge.system_prompt,
            draining=runtime.draining,
            now=runtime.now,
        ).register(runtime.varlink)
        Sessions(self._recorder, self._replays, runtime.now).register(runtime.varlink)

    # -- life --------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until drained."""
        runtime = self._runtime
        await self._recorder.open()
        runtime.export = self._recorder.export
        listeners = await runtime.listen_tcp(runtime.config.bridge_listen, "bridge.listen")
        self._addresses = [_address(listener) for listener in listeners]
        proxy = Proxy(
            self._directory,
            open_tap=self._open_tap,
            publish=self._publish,
            on_bug=runtime.budget.spend,
            rates=self._rates,
        )
        self._proxy = proxy
        runtime.registry.register(CacheNumbers(proxy.cache.statistics))
        self._limit(runtime.config)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._directory.run)
            nursery.start_soon(self._ingest.run)
            nursery.start_soon(self._canaries.run)
            nursery.start_soon(self._recorder.run)
            nursery.start_soon(self._replays.run)
            await nursery.start(self._tokenizing.run)
            runtime.proofs["proxy"] = partial(_prove, proxy, listeners[0])
            await nursery.start(proxy.serve, listeners, runtime.draining)
            self._say_status()
            task_status.started()
            await runtime.draining.wait()
            while self._exchanges:
                self._idle = trio.Event()
                with trio.move_on_after(_LOOK_SECONDS):  # one that was given up tells nobody
                    await self._idle.wait()
            await self._tokenizing.wait_settled()
            await self._replays.wait_ended()
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
        await self._recorder.configure(config)
        self._directory.configure(config)
        self._limit(config)
        self._metrics.forget_upstreams()
        self._upstreams.configured()
        for row in self._directory.router.rows():
            self._upstream_changed(row.id)
        self._outbox.resize(config.bridge.outbox)
        self._say_status()

    def _limit(self, config: Config) -> None:
        """Take the rates, the origins and the cache of *config*."""
        rates = {each.id: each.rate for each in config.upstreams if each.rate is not None}
        self._rates.configure(config.bridge.client_rate or None, rates)
        if self._proxy is not None:
            self._proxy.browsers = Browsers(config.bridge_listen, config.bridge.origins)
            capacity = config.bridge.cache_mb << 20 if config.bridge.cache else None
            self._proxy.cache.configure(capacity, config.bridge.cache_seconds)
            self._proxy.proven = self._directory.proven if config.bridge.enrich else None

    # -- what happens ------------------------------------------------------------------------------

    def _open(
        self,
        *,
        model: str | None,
        upstream: str | None,
        dialect: Dialect,
        choices: int,
        path: str = "Prompt",
        replay_of: str | None = None,
    ) -> Exchange:
        """A new exchange with a session id of its own, in the request table until it ends."""
        exchange = Exchange(
            f"s{secrets.token_urlsafe(8)}",  # never begins with "-": people type it
            model=model,
            upstream=upstream,
            dialect=dialect,
            choices=choices,
            since=self._runtime.now(),
            replay_of=replay_of,
        )
        self._exchanges[exchange.session] = exchange
        if replay_of is not None:
            return exchange  # neither a request to an upstream nor a session to be recorded
        self._metrics.opened(exchange, dialect)
        self._recorder.opened(
            exchange, dialect=dialect, path=path, choices=choices, now=trio.current_time()
        )
        return exchange

    def _open_tap(self, request: TapRequest) -> Exchange:
        exchange = self._open(
            model=request.model,
            upstream=request.upstream,
            dialect=dialect_of(request.path),
            choices=request.choices,
            path=request.path,
            replay_of=request.replay_of,
        )
        self._proxied[exchange] = _Proxied(request.model, Evidence())
        if self._recorder.keeps_text and request.replay_of is None:
            self._recorder.asked(exchange.session, *conversation.read(request.body))
        return exchange

    def _publish(self, payloads: list[Payload]) -> None:
        """Hand messages to the compositor's queue, and count them."""
        tokens = 0
        exchange: Exchange | None = None
        for payload in payloads:
            kind = type(payload)
            if kind is TokenVisualizationUpdate:
                tokens += 1
            elif kind is SessionStarted:
                self._requests.add(1, trio.current_time())
                self._metrics.started()
        if payloads:
            exchange = self._exchanges.get(getattr(payloads[0], "session", None) or "")
        if tokens:
            self._tokens.add(tokens, trio.current_time())
            self._metrics.tokens(exchange, tokens)
        if exchange is not None:
            self._watch(exchange, payloads)
            self._tokenizing.pass_on(payloads, exchange.session, exchange.upstream, exchange.model)
        else:
            self._ingest.put(payloads)

    def _deliver(self, payloads: list[Payload]) -> None:
        """Record a session's messages, which have their ids now, and send them to the map."""
        now = trio.current_time()
        if payloads:
            last = payloads[-1]
            self._recorder.take(getattr(last, "session", None), payloads, now)
            if isinstance(last, SessionEnded) and last.session in self._ending:
                self._recorder.closed(self._ending.pop(last.session), last, now)
        self._ingest.put(payloads)

    def _watch(self, exchange: Exchange, payloads: list[Payload]) -> None:
        """See what the messages of a session show, and its end."""
        proxied = self._proxied.get(exchange)
        for payload in payloads:
            if proxied is not None:
                proxied.evidence.take(payload)
            if isinstance(payload, SessionEnded):
                self._ended(exchange, payload)

    def _learn(self, exchange: Exchange) -> None:
        """What a request's end teaches of its upstream."""
        upstream = exchange.upstream
        if upstream is None or not exchange.has_answer:
            return
        if (proxied := self._proxied.get(exchange)) is not None:
            model = self._directory.router.own_name(upstream, proxied.model)
            if model is not None:
                route = Route(upstream, model)
                self._directory.learn(route, proxied.evidence)
                if exchange.status == 400 and exchange.error is not None:
                    self._directory.doubt(route, question.named(exchange.error))

    def _ended(self, exchange: Exchange, ended: SessionEnded) -> None:
        self._exchanges.pop(ended.session, None)
        if exchange.replay_of is None:
            self._ending[ended.session] = exchange
            self._metrics.ended(exchange, ended)
            self._learn(exchange)
        blameless = ended.error in _NOBODYS_FAULT
        # An upstream's own words may quote the prompt: they go to the viewers, not into the log.
        theirs = exchange.error is not None and not blameless
        error = "the upstream reported an error" if theirs else ended.error
        failed = error is not None and not blameless and exchange.replay_of is None
        say = self._log.warning if failed else self._log.info
        say(
            "request ended",
            session=ended.session,
            upstream=exchange.upstream,
            model=exchange.model,
            tokens=exchange.tokens,
            finish_reason=finish_code(ended.finish_reason),
            tokens_per_second=_rounded(ended.tokens_per_second),
            unreadable=exchange.errors or None,
            replay_of=exchange.replay_of,
            error=error,
            **(events.REQUEST_FAILED.fields if failed else {}),
        )
        if not self._exchanges:
            self._idle.set()

    def _upstream_changed(self, upstream: str) -> None:
        self._upstreams.changed(upstream)
        self._metrics.upstream(upstream, self._directory.failures(upstream))
        self._say_status()

    def _say_status(self) -> None:
        self._runtime.set_status(self._upstreams.status())

    # -- health and status -------------------------------------------------------------------------

    def _compositor_health(self) -> Finding:
        if self._ingest.link.connected:
            return "healthy", "connected", None
        waiting = len(self._outbox)
        return (
            "warning",
            f"the compositor is not connected; {waiting} messages wait",
            "geoosctl restart compositor",
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
                "raise bridge.outbox if the compositor is well; then: geoosctl reload",
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
                *(self._proxy.cache.queues() if self._proxy is not None else ()),
                reports.Queue(
                    "outbox",
                    statistics.depth,
                    statistics.capacity,
                    "drop_oldest",
                    statistics.dropped,
                ),
                *self._directory.queues(),
                self._recorder.queue(),
            ],
            links=[self._ingest.link.report(), *self._upstreams.links()],
            requests=[exchange.request_row(now) for exchange in self._exchanges.values()],
            details=self._upstreams.details()
            | self._recorder.details()
            | self._replays.details()
            | passed(self._canaries.last),
        )


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
