"""The bridge's numbers for Prometheus.

Where OpenTelemetry's semantic conventions for generative AI have a name, it is theirs, in the
spelling that the OpenTelemetry exporters give it (dots to underscores, the unit after it), with
their attributes as labels and their bucket boundaries
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics). They are the client's: what the
bridge sees of a server from outside.

A label never holds what a client made up: a model that no upstream lists, or one too many, is
``other``. docs/operations.md lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from geoosd.bridge.core.breaker import Circuit
from geoosd.bridge.core.cache import Statistics
from geoosd.bridge.core.exchange import Dialect, Exchange
from geoosd.bridge.core.outbox import Outbox
from geoosd.bridge.core.router import Router, State
from geoosd.wire.messages import SessionEnded

MAX_MODELS: Final = 64
"""Names of models that become labels; all further ones are ``other``."""

OTHER: Final = "other"

_SECONDS: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
_TOKENS: Final = tuple(4**power for power in range(14))
_LATENCY: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.033, 0.066, 0.125, 0.25, 0.5, 1, 2.5, 10)

_WHO: Final = (
    "gen_ai_operation_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "server_address",
    "server_port",
)
_OPERATIONS: Final[dict[Dialect, str]] = {
    "completions": "text_completion",
    "completion": "text_completion",
    "other": "other",
}
_UP: Final[dict[State, float]] = {"ready": 1.0, "loading": 0.5, "down": 0.0}
_OPEN: Final[dict[Circuit, float]] = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
CLIENT_GONE: Final = "the client went away"


class _Passing:
    """What is kept of a request until its end."""

    def __init__(self, operation: str, asked_model: str | None, began: float) -> None:
        self.operation = operation
        self.asked_model = asked_model
        self.began = began
        self.last_chunk: float | None = None
        self.chunks: Histogram | None = None


class CacheNumbers(Collector):
    """What the proxy's cache has counted, read when somebody asks; nothing while it is off."""

    def __init__(self, cache: Callable[[], Statistics | None]) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """The families (:class:`prometheus_client.registry.Collector`)."""
        cache = self._cache()
        if cache is None:
            return
        requests = CounterMetricFamily(
            "geoos_cache_requests",
            "Requests that might be answered from the cache",
            labels=["result"],
        )
        requests.add_metric(["hit"], cache.hits)
        requests.add_metric(["miss"], cache.misses)
        yield requests
        yield CounterMetricFamily(
            "geoos_cache_evicted", "Answers that had to make room", cache.evicted
        )
        yield GaugeMetricFamily("geoos_cache_answers", "Answers in the cache", cache.entries)
        yield GaugeMetricFamily("geoos_cache_bytes", "Bytes that they take", cache.used)


class Metrics:
    """All of them. *now* is the monotonic clock; *waiting* tells how many prompts wait for an
    upstream."""

    def __init__(
        self,
        registry: CollectorRegistry,
        outbox: Outbox,
        router: Router,
        *,
        now: Callable[[], float],
        waiting: Callable[[str], int],
    ) -> None:
        self._router = router
        self._now = now
        self._waiting_for = waiting
        self._counted: dict[str, int] = {}
        self._states: dict[str, State] = {}
        self._names: set[str] = set()
        self._passing: WeakKeyDictionary[Exchange, _Passing] = WeakKeyDictionary()
        self._count(registry)
        self._measure(registry)
        self._watch(registry, outbox)

    def _count(self, registry: CollectorRegistry) -> None:
        self._tokens = Counter("sse_tokens", "Token messages made", registry=registry)
        self._errors = Counter(
            "sse_errors", "Chunks and answers that could not be read", registry=registry
        )
        self._requests = Counter("geoos_requests", "Requests that were tapped", registry=registry)
        self._failed = Counter(
            "geoos_requests_failed", "Requests whose answer is not complete", registry=registry
        )

    def _measure(self, registry: CollectorRegistry) -> None:
        def seconds(name: str, help_text: str, *labels: str) -> Histogram:
            return Histogram(
                name,
                help_text,
                [*_WHO, *labels],
                unit="seconds",
                buckets=_SECONDS,
                registry=registry,
            )

        self._duration = seconds(
            "gen_ai_client_operation_duration",
            "From a request to the end of its answer",
            "error_type",
        )
        self._first_chunk = seconds(
            "gen_ai_client_operation_time_to_first_chunk",
            "From a request to the first text of its streamed answer",
        )
        self._per_chunk = seconds(
            "gen_ai_client_operation_time_per_output_chunk",
            "Between two readings of text from a streamed answer",
        )
        self._usage = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a request as its server counted them",
            [*_WHO, "gen_ai_token_type"],
            buckets=_TOKENS,
            registry=registry,
        )
        self._pipeline = Histogram(
            "pipeline_latency",
            "From reading a token's chunk until the compositor acknowledged it (once a tick)",
            unit="seconds",
            buckets=_LATENCY,
            registry=registry,
        )
        self._first_token = Histogram(
            "geoos_time_to_first_token",
            "From a request to its first token",
            unit="seconds",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )

    def _watch(self, registry: CollectorRegistry, outbox: Outbox) -> None:
        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(name, help_text, ["upstream"], registry=registry)

        self._up = gauge("geoos_upstream_up", "1 ready, 0.5 loading, 0 down")
        self._circuit = gauge("geoos_upstream_circuit", "1 set aside, 0.5 on trial, 0 in use")
        self._waiting = gauge("geoos_prompts_waiting", "Prompts that wait for their turn")
        self._unheard = Counter(
            "geoos_upstream_unanswered",
            "Requests that it did not answer to their end",
            ["upstream"],
            registry=registry,
        )
        self._failures = Counter(
            "geoos_upstream_failures",
            "Requests that it refused, broke off or answered with a server error, and its losses",
            ["upstream"],
            registry=registry,
        )
        depth = Gauge("geoos_outbox_depth", "Messages not acknowledged yet", registry=registry)
        depth.set_function(lambda: len(outbox))
        dropped = Gauge("geoos_outbox_dropped", "Messages given up in all", registry=registry)
        dropped.set_function(lambda: outbox.statistics().dropped)

    # -- what happens ------------------------------------------------------------------------------

    def opened(self, exchange: Exchange, dialect: Dialect) -> None:
        """A request has come."""
        operation = _OPERATIONS.get(dialect, "chat")
        self._passing[exchange] = _Passing(operation, exchange.model, self._now())

    def started(self) -> None:
        """Its session was told."""
        self._requests.inc()

    def tokens(self, exchange: Exchange | None, count: int) -> None:
        """So many token messages came of one reading of its answer."""
        self._tokens.inc(count)
        passing = self._passing.get(exchange) if exchange is not None else None
        if exchange is None or passing is None:
            return
        now = self._now()
        if passing.last_chunk is not None:
            if passing.chunks is None:
                passing.chunks = self._per_chunk.labels(*self._who(exchange, passing))
            passing.chunks.observe(now - passing.last_chunk)
        passing.last_chunk = now

    def delivered(self, seconds: float) -> None:
        """The compositor has taken tokens that were read so long ago."""
        self._pipeline.observe(seconds)

    def ended(self, exchange: Exchange, ended: SessionEnded) -> None:
        """A request is over."""
        if exchange.errors:
            self._errors.inc(exchange.errors)
        if ended.error is not None:
            self._failed.inc()
        first = ended.time_to_first_token
        if first is not None:
            self._first_token.observe(first)
        passing = self._passing.pop(exchange, None)
        if passing is None:
            return
        who = self._who(exchange, passing)
        error_type = _error_type(exchange, ended)
        if exchange.has_answer and exchange.upstream and _is_the_servers(error_type):
            self._failures.labels(exchange.upstream).inc()
        self._duration.labels(*who, error_type).observe(self._now() - passing.began)
        if first is not None:
            self._first_chunk.labels(*who).observe(first)
        if ended.usage is not None:
            for kind, tokens in (
                ("input", ended.usage.prompt_tokens),
                ("output", ended.usage.completion_tokens),
            ):
                if tokens is not None:
                    self._usage.labels(*who, kind).observe(tokens)

    def upstream(self, upstream: str, unanswered: int) -> None:
        """An upstream's state, circuit or failures changed."""
        row = self._router.get(upstream)
        if row is None:
            return
        self._up.labels(upstream).set(_UP[row.state])
        self._circuit.labels(upstream).set(_OPEN[row.circuit])
        self._waiting.labels(upstream).set_function(partial(self._waiting_for, upstream))
        before = self._counted.get(upstream, 0)
        # One that was configured anew counts from nothing.
        fresh = unanswered - before if unanswered >= before else unanswered
        self._unheard.labels(upstream).inc(fresh)
        self._counted[upstream] = unanswered
        lost = self._states.get(upstream) == "ready" and row.state == "down"
        self._states[upstream] = row.state
        # A loss that a request noticed is counted with that request.
        self._failures.labels(upstream).inc(fresh or lost)

    def forget_upstreams(self) -> None:
        """Another configuration: what is still there is told anew."""
        for gauge in (self._up, self._circuit, self._waiting):
            gauge.clear()

    # -- labels ------------------------------------------------------------------------------------

    def _who(self, exchange: Exchange, passing: _Passing) -> tuple[str, ...]:
        row = self._router.get(exchange.upstream or "")
        address = urlsplit(row.url) if row is not None else None
        port = address.port or (443 if address.scheme == "https" else 80) if address else ""
        asked = self._router.own_name(row.id, passing.asked_model) if row is not None else None
        # What the server calls its model: nobody else chose that name.
        answered = exchange.model if exchange.status and exchange.status < 400 else None
        if answered == passing.asked_model:
            answered = asked
        host = address.hostname if address is not None else None
        return (
            passing.operation,
            self._name(asked),
            self._name(answered),
            host or "",
            str(port),
        )

    def _name(self, model: str | None) -> str:
        if model is None:
            return OTHER
        if model not in self._names:
            if len(self._names) >= MAX_MODELS:
                return OTHER
            self._names.add(model)
        return model


def _is_the_servers(error_type: str) -> bool:
    """Whether an end is the server's fault: neither complete, nor the client's doing."""
    return error_type == "_OTHER" or error_type.startswith("5")


def _error_type(exchange: Exchange, ended: SessionEnded) -> str:
    """The convention's ``error.type``: few values, and none of a server's own words."""
    if ended.error is None:
        return ""
    if exchange.status >= 400:
        return str(exchange.status)
    return "cancelled" if ended.error == CLIENT_GONE else "_OTHER"
