"""The transparent proxy: any OpenAI-compatible request goes through, and geoos sees it happen.

docs/interfaces.md, Bridge proxy. ``/v1/*``, ``/api/*`` and llama.cpp's own ``/completion`` go on
with their method, headers and body to the upstream that ``model`` chooses; the answer comes back
byte for byte, with ``x-geoos-upstream`` and, where a session is told to the map,
``x-geoos-session``. ``/v1/models`` is geoos's own: the merged list. A request's body is changed in
two cases: ``UPSTREAM/model`` reaches that upstream as ``model``, and with ``enrich`` fields are
inserted (:mod:`..core.enriching`).

Each piece of an answer is sent on before it is shown to the :class:`.tap.Tap`; the next one is read
from the upstream when the client has taken it. A request is sent once to each upstream tried, and
another is tried only if the one before refused the connection or broke it before any byte. Of a
request's body as much is held as it takes to find ``model``, 256 KiB or so, for that second try
too; the rest, up to 64 MiB, goes through piece by piece.

Neighbours: :mod:`.http_server` (clients), :mod:`.http_client` (upstreams), :mod:`.transfer` (bytes
both ways), :mod:`.forwarding` (what is changed on the way), :mod:`.model_field`, :mod:`.tap`.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import h11
import msgspec
import trio

from geoosd.bridge.adapters import answer_cache, http_fields
from geoosd.bridge.adapters.answer_cache import AnswerCache, Recording
from geoosd.bridge.adapters.browsers import Browsers, preflight
from geoosd.bridge.adapters.forwarding import (
    SESSION,
    Directory,
    Target,
    is_prefixed,
    request_for,
    response_fields,
    targets_for,
)
from geoosd.bridge.adapters.http_body import Limits, RequestError
from geoosd.bridge.adapters.http_client import ConnectionPool, Origin, UpstreamConnection
from geoosd.bridge.adapters.http_connection import DEFAULT_LIMITS, ClientRequest, OnBug
from geoosd.bridge.adapters.http_fields import first
from geoosd.bridge.adapters.http_server import HttpServer
from geoosd.bridge.adapters.model_field import Asked, ModelSearch
from geoosd.bridge.adapters.tap import OUR_FAULT, Publish, Tap
from geoosd.bridge.adapters.transfer import transfer
from geoosd.bridge.core import dialects, enriching
from geoosd.bridge.core.cache import Answer
from geoosd.bridge.core.capabilities import Capability
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.ratelimit import RateLimits
from geoosd.bridge.core.router import Route
from geoosd.config import Address
from geoosd.errors import UpstreamError

TAPPED: Final = dialects.PATHS
"""What a POST to is told to the map."""

_JSON: Final = (b"content-type", b"application/json")
_ALLOWED: Final = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
_IDEMPOTENT: Final = (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE")
_MODELS: Final = "/v1/models"
_UPLOADS: Final = ("/v1/files", "/v1/uploads", "/v1/containers")
"""Forms to which name no model, and can be long: they need not be looked through for one."""
_STATUS: Final = {"upstream_timeout": 504, "rate_limited": 429}
_ANYWHERE: Final = Address("0.0.0.0", 0)


Proven: TypeAlias = Callable[[Route], Set[Capability]]
"""What a model is known to tell when it is asked to."""

Relay: TypeAlias = Callable[[UpstreamConnection, h11.Response], Awaitable[None]]
"""Sends an answer that an upstream's connection brings back to the client."""


class TapRequest(NamedTuple):
    """A request that is to be seen; ``upstream`` is the one that will be asked first, *replay_of*
    the session whose answer it gets again, *body* its body where that is held whole."""

    path: str
    model: str | None
    upstream: str | None
    choices: int
    replay_of: str | None = None
    body: bytes = b""


class _Failure(NamedTuple):
    """Why an upstream did not answer to the end.

    ``refused``: it took no connection or broke it before any byte, so another may be asked;
    ``stale``: that connection had been idle, so that alone may be why.
    """

    error: UpstreamError
    refused: bool
    stale: bool


class Proxy:
    """The proxy of one bridge.

    *open_tap* makes the exchange of a request that is to be seen, *publish* takes its messages for
    the map (synchronously, bounded), *on_bug* hears of bugs: ``runtime.budget.spend``. ``cache``
    keeps nothing unless it is configured; without ``proven`` nothing is added to requests.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        open_tap: Callable[[TapRequest], Exchange],
        publish: Publish,
        on_bug: OnBug,
        limits: Limits = DEFAULT_LIMITS,
        pool: ConnectionPool | None = None,
        rates: RateLimits | None = None,
        browsers: Browsers | None = None,
    ) -> None:
        self.rates = rates or RateLimits()
        self.browsers = browsers or Browsers(_ANYWHERE)
        self.cache = AnswerCache()
        self.proven: Proven | None = None
        self._salt = secrets.token_bytes(16)
        self.server = HttpServer(self.handle, on_bug=on_bug, limits=limits)
        self._directory = directory
        self._open_tap = open_tap
        self._publish = publish
        self._on_bug = on_bug
        self._pool = pool or ConnectionPool()

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        draining: trio.Event,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until *draining* is set and what was running has ended."""
        try:
            await self.server.serve(listeners, draining, task_status=task_status)
        finally:
            with trio.CancelScope(shield=True):
                await self._pool.aclose()

    async def handle(self, request: ClientRequest) -> None:
        """Answer one request, unless its sender may not ask (now)."""
        if not self.browsers.welcomes(request):
            message = (
                "cannot answer to this Host: it is no name of this machine; if it is yours, add "
                "http://NAME to [bridge] origins"
            )
            await request.respond_error(403, "forbidden", message)
            return
        request.added = self.browsers.fields(request)
        allowed = preflight(request) if request.added else None
        if allowed is not None:
            await request.start(204, b"No Content", allowed)
            await request.finish()
        else:
            await self._route(request)

    async def _route(self, request: ClientRequest) -> None:
        target = http_fields.origin_form(request.target)
        path = (target or b"").partition(b"?")[0]
        text = path.decode("ascii")
        if request.method in (b"CONNECT", b"TRACE"):
            message = "cannot do that method here"
            await request.respond_error(405, "bad_request", message, [_ALLOWED])
        elif target is None or not _is_forwarded(text):
            message = (
                "cannot serve this path: forwarded are /v1/, /api/ and llama.cpp's /completion"
            )
            await request.respond_error(404, "not_found", message)
        elif http_fields.climbs(path):
            await request.respond_error(400, "bad_request", "cannot take a path with dot segments")
        elif text.rstrip("/") == _MODELS or text.startswith(f"{_MODELS}/"):
            await self._answer_models(request, unquote(text[len(_MODELS) :].strip("/")))
        elif wait := self._wait_of(request):
            message = f"cannot take more than [bridge] client_rate; try again in {wait:.1f} s"
            await request.respond_error(429, "rate_limited", message, [_retry(wait)])
        else:
            is_upload = text.startswith(_UPLOADS)
            kind = None if is_upload else first(request.headers, b"content-type")
            search = ModelSearch(kind)
            await request.body.hold(search.is_enough)
            asked = search.asked()
            if request.method == b"POST" and text.rstrip("/") in TAPPED:
                await self._see(request, target, asked)
            else:
                await self._forward(request, target, asked, None)

    # -- /v1/models --------------------------------------------------------------------------------

    async def _answer_models(self, request: ClientRequest, model: str) -> None:
        """The merged list, or its one entry *model*."""
        if request.method not in (b"GET", b"HEAD"):
            await request.respond_error(
                405, "bad_request", "cannot do that to the models", [(b"allow", b"GET, HEAD")]
            )
            return
        entries = self._directory.models()
        answer: Mapping[str, Any] | None = {"object": "list", "data": entries}
        if model:
            known = {entry["id"]: entry for entry in entries}
            names = [
                model,
                *(t.model for t in targets_for(self._directory, model) if is_prefixed(t, model)),
            ]
            answer = next((known[name] for name in names if name in known), None)
        if answer is None:
            await request.respond_error(404, "model_not_found", f"cannot find the model {model!r}")
        else:
            await request.respond(200, [_JSON], msgspec.json.encode(answer))

    # -- everything else ---------------------------------------------------------------------------

    def _wait_of(self, request: ClientRequest) -> float:
        """Seconds until the client may ask; by its API key, which is not kept, or its address."""
        if not self.rates.limits_clients:
            return 0.0
        key = first(request.headers, b"authorization") or first(request.headers, b"x-api-key")
        client = request.peer if key is None else blake2b(key, key=self._salt).hexdigest()
        return self.rates.client(client, trio.current_time())

    async def _see(self, request: ClientRequest, path: bytes, asked: Asked) -> None:
        """Forward a request with a tap, which is finished however the request ends."""
        clean = path.partition(b"?")[0].decode("ascii")
        if self.proven is not None and request.body.ended:
            dialect = dialects.dialect_of(clean)
            enrichable = enriching.look_into(dialect, request.headers, request.body.held)
            asked = asked._replace(enrichable=enrichable)
        targets = self._targets(asked)
        first = targets[0].id if targets else None
        key = self.cache.question(request, path, targets[0]) if targets else None
        answer = self.cache.look_up(key) if key is not None else None
        try:
            replay_of = answer.session if answer is not None else None
            body = request.body.held if request.body.ended else b""
            seen = TapRequest(clean, asked.model, first, asked.choices, replay_of, body)
            exchange = self._open_tap(seen)
        except Exception as error:  # noqa: BLE001 - as in the tap: the traffic goes on unseen
            self._on_bug("opening a tap", error)
            await self._forward(request, path, asked, None)
            return
        tap = Tap(exchange, self._publish, self._on_bug)
        tap.started()
        try:
            if answer is not None:
                await self._play(request, targets[0], answer, tap)
            else:
                recording = self.cache.record(key, targets[0]) if key is not None else None
                await self._forward(request, path, asked, tap, recording)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            request.client_gone = True
            raise
        except RequestError as error:
            tap.finish(str(error))
            raise
        except Exception:
            tap.finish(OUR_FAULT)
            raise
        finally:
            # Counts only where nothing has finished it yet.
            if request.client_gone:
                tap.left()
            tap.finish("the bridge stopped")

    def _targets(self, asked: Asked) -> list[Target]:
        targets = targets_for(self._directory, asked.model)
        proven, may = self.proven, asked.enrichable
        if proven is None or may is None:
            return targets
        return [
            target._replace(added=may.fields(proven(Route(target.id, target.model))))
            for target in targets
        ]

    async def _play(self, request: ClientRequest, target: Target, answer: Answer, tap: Tap) -> None:
        """Answer from the cache, each piece before the tap sees it."""
        tap.chosen(target.id)
        response = answer_cache.response_of(answer)
        fields = response_fields(response, target, tap.session)
        await request.start(response.status_code, response.reason, [*fields, answer_cache.HIT])
        tap.answered(response)
        async for data in answer_cache.play(answer, request):
            await request.send(data)
            tap.receive(data)
        await request.finish(b"", answer.trailers)
        tap.finish(None)

    async def _forward(
        self,
        request: ClientRequest,
        path: bytes,
        asked: Asked,
        tap: Tap | None,
        recording: Recording | None = None,
    ) -> None:
        """Send the request to the first target that takes it, and its answer back."""
        failure = UpstreamError(
            "upstream_unavailable",
            "cannot find a model server that is up and has this model; see: geoosctl models",
        )
        wait = 0.0
        for target in self._targets(asked):
            if tap is not None:
                tap.chosen(target.id)
            if wait := self.rates.upstream(target.id, trio.current_time()):
                why = f"{target.id}: cannot be asked above its rate; try again in {wait:.1f} s"
                failure = UpstreamError("rate_limited", why)
                break
            relay = partial(self._relay, request, target, tap, recording)
            tried = await self._try(request, path, asked, target, tap, relay)
            if tried is not None and tried.stale and request.method in _IDEMPOTENT:
                tried = await self._try(request, path, asked, target, tap, relay, fresh=True)
            if tried is None:
                return
            failure = UpstreamError(tried.error.code, f"{target.id}: {tried.error}")
            if not tried.stale:
                self._directory.failed(target.id, str(tried.error))
            if not tried.refused or not request.body.is_intact:
                break
        if tap is not None:
            tap.finish(str(failure))
        if not request.begun:
            await self._say(request, failure, tap, wait)

    async def _try(
        self,
        request: ClientRequest,
        path: bytes,
        asked: Asked,
        target: Target,
        tap: Tap | None,
        relay: Relay,
        *,
        fresh: bool = False,
    ) -> _Failure | None:
        """Ask one upstream; None when it answered to the end."""
        session = tap.session if tap is not None else None
        connection: UpstreamConnection | None = None
        try:
            # What cannot be sent twice does not go where it might have to be.
            fresh = fresh or not request.body.ended
            connection = await self._pool.connect(Origin.of(target.url), fresh=fresh)
            head, begin = request_for(target, connection.origin, request, path, asked, session)
            answer = partial(relay, connection)
            await transfer(request, connection, head, begin, timeout=target.timeout, answer=answer)
        except UpstreamError as error:
            unheard = connection is None or not connection.heard
            refused = unheard and error.code == "upstream_unavailable"
            stale = refused and connection is not None and connection.reused
            return _Failure(error, refused, stale)
        finally:
            if connection is not None:
                await self._pool.give_back(connection)
        return None

    async def _relay(
        self,
        request: ClientRequest,
        target: Target,
        tap: Tap | None,
        recording: Recording | None,
        connection: UpstreamConnection,
        response: h11.Response,
    ) -> None:
        """Send an answer back, each piece before the tap sees it and before the next is read."""
        fields = response_fields(response, target, tap.session if tap is not None else None)
        if recording is not None:
            fields.append(answer_cache.MISS)
            recording.answered(response, target.id)
        await request.start(response.status_code, response.reason, fields)
        if tap is not None:
            tap.answered(response)
        ended = False
        while not ended:
            data, ended = await connection.receive()
            if ended:
                await request.finish(data, connection.trailers)
            else:
                await request.send(data)
            if tap is not None and data:
                tap.receive(data)
            if recording is not None:
                recording.receive(data)
        if tap is not None:
            self._directory.answered(target.id)
            tap.finish(None)
            if recording is not None:
                recording.finish(connection, tap.exchange)

    async def _say(
        self, request: ClientRequest, failure: UpstreamError, tap: Tap | None, wait: float
    ) -> None:
        """Tell the client of a failure in our own words."""
        status = _STATUS.get(failure.code, 502)
        fields = [] if tap is None else [(SESSION, tap.session.encode())]
        if wait:
            fields.append(_retry(wait))
        await request.respond_error(status, failure.code, str(failure), fields)


def _is_forwarded(path: str) -> bool:
    return path.startswith(("/v1/", "/api/")) or path.rstrip("/") in dialects.NATIVE


def _retry(wait: float) -> tuple[bytes, bytes]:
    """When to try again, in whole seconds (RFC 9110 §10.2.3)."""
    return b"retry-after", str(math.ceil(wait)).encode()
