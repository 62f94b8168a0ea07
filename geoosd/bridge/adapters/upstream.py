"""One upstream model server as geoos itself asks it: is it there, and what it answers to a prompt.

It is spoken to by the proxy's own HTTP client (:mod:`.http_client`), so that a prompt and a proxied
request go the same way, and so that it is known whether any byte of an answer has come: a prompt is
POSTed once, and again only as docs/interfaces.md allows. What comes is read by
:class:`geoosd.bridge.core.exchange.Exchange`; which upstream to ask is :mod:`.directory`'s
business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Set
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from geoosd import __version__, config
from geoosd.bridge.adapters.forwarding import ENGINE, SESSION
from geoosd.bridge.adapters.http_client import ConnectionPool, Origin, UpstreamConnection
from geoosd.bridge.adapters.http_fields import first
from geoosd.bridge.adapters.turns import Turns
from geoosd.bridge.core import question
from geoosd.bridge.core.capabilities import Capability
from geoosd.bridge.core.exchange import MAX_ERROR_BODY, Exchange
from geoosd.bridge.core.question import About, Listing, Question
from geoosd.bridge.core.router import State
from geoosd.errors import UpstreamError
from geoosd.wire.messages import Payload

Publish: TypeAlias = Callable[[list[Payload]], Awaitable[None]]

MAX_RETRIES: Final = 5
RETRY_DELAY: Final = 1.0
"""Seconds before the first retry of a 503 while the model loads; doubling."""

_PROBE_CONNECT_SECONDS: Final = 0.5
_PROBE_SECONDS: Final = 2.0
_MAX_PROBE_BODY: Final = 4 << 20
_AGENT: Final = f"geoos/{__version__}".encode()
_VERSIONS: Final = {"vllm": "/version", "ollama": "/api/version"}


class Refused(UpstreamError):
    """The upstream refused the connection or broke it before any byte: another may be asked.

    ``stale``: the connection had been idle, and that alone may be why.
    """

    stale = False


class Probe(NamedTuple):
    """What an upstream said of itself; ``reason`` is in plain words."""

    state: State
    reason: str
    listing: Listing | None = None


class Outcome(NamedTuple):
    """How a prompt was taken: what was asked for, and what of that was refused by a 400."""

    asked: frozenset[Capability]
    refused: frozenset[Capability] = frozenset()
    ok: bool = False
    """Whether the answer's status was a good one."""


class _Again(NamedTuple):
    """An answer that may call for a retry: its status, its media and the beginning of its body."""

    status: int
    media: tuple[str, str | None]
    body: bytes


class UpstreamClient:
    """Connections to one upstream; ``turns`` bounds geoos's own prompts to ``max_concurrency``.

    ``kind`` is the configured kind of server, or what ``/v1/models`` gave away.
    """

    def __init__(self, settings: config.Upstream, api_key: str | None = None) -> None:
        self.settings = settings
        self.kind = settings.kind
        self.turns = Turns(settings.max_concurrency)
        self.authorization = f"Bearer {api_key}" if api_key else None
        self._origin = Origin.of(settings.url)
        # A POST cannot be tried again when the connection turns out to have been given up. A new
        # one costs nothing on this machine; elsewhere, with TLS, one that was kept is worth it.
        self._is_local = is_local(settings.url)
        self._pool = ConnectionPool()

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._pool.aclose()

    async def retire(self) -> None:
        """Close the connections when the prompts that use them are over."""
        with trio.move_on_after(self.settings.timeout):
            await self.turns.wait_idle()
        await self.aclose()

    # -- what it says of itself --------------------------------------------------------------------

    async def probe(self) -> Probe:
        """Ask ``/v1/models``: is the server up, and what does it run? Raises nothing."""
        try:
            status, body = await self._get("/v1/models")
        except UpstreamError as error:
            return Probe("down", str(error))
        if status == 503:
            return Probe("loading", "model loading")
        if status in (401, 403):
            return Probe("down", f"refuses the api key ({status})")
        listing = question.read_models(body) if status == 200 else None
        if listing is not None:
            if self.settings.kind == "auto" and listing.kind is not None:
                self.kind = listing.kind
            return Probe("ready", "ready", listing)
        if self.settings.models:
            return Probe("ready", "ready; lists no models")
        return Probe("down", f"is not an OpenAI-compatible server ({status} for /v1/models)")

    async def about(self) -> About:
        """What else it says of itself: its version, and what its model can. Raises nothing."""
        native = self.kind == "llama.cpp"
        path = "/props" if native else _VERSIONS.get(self.kind)
        if path is None:
            return About()
        try:
            status, body = await self._get(path)
        except UpstreamError:
            return About()
        if status != 200:
            return About()
        return question.read_props(body) if native else question.read_version(body)

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """POST JSON that does no harm twice; status and body. Raises :class:`UpstreamError`."""
        fields = {b"Content-Type": b"application/json", b"Content-Length": b"%d" % len(body)}
        connection = await self._pool.connect(self._origin)
        try:
            return await self._post_on(connection, path, body, fields)
        except UpstreamError:
            # A connection that had been idle may have been closed in this moment.
            if connection.heard or not connection.reused:
                raise
        connection = await self._pool.connect(self._origin, fresh=True)
        return await self._post_on(connection, path, body, fields)

    async def _post_on(
        self, connection: UpstreamConnection, path: str, body: bytes, fields: dict[bytes, bytes]
    ) -> tuple[int, bytes]:
        try:
            response = await connection.ask(self._request(b"POST", path, fields), body)
            return response.status_code, await _body(connection, _MAX_PROBE_BODY)
        finally:
            await self._pool.give_back(connection)

    async def _get(self, path: str) -> tuple[int, bytes]:
        """Status and body. Raises :class:`UpstreamError` whose text is a reason in plain words."""
        with trio.move_on_after(_PROBE_SECONDS):
            try:
                return await self._get_once(path, fresh=False)
            except Refused as error:
                if not error.stale:
                    raise
            return await self._get_once(path, fresh=True)
        raise UpstreamError("upstream_timeout", "does not answer in time")

    async def _get_once(self, path: str, *, fresh: bool) -> tuple[int, bytes]:
        connection: UpstreamConnection | None = None
        try:
            with trio.move_on_after(_PROBE_CONNECT_SECONDS):
                connection = await self._pool.connect(self._origin, fresh=fresh)
            if connection is None:
                raise UpstreamError("upstream_timeout", "does not answer in time")
            response = await connection.ask(self._request(b"GET", path, {}), b"")
            return response.status_code, await _body(connection, _MAX_PROBE_BODY)
        except UpstreamError as error:
            raise _classified(error, connection, _plain(error, connection)) from None
        finally:
            if connection is not None:
                await self._pool.give_back(connection)

    # -- asking ------------------------------------------------------------------------------------

    async def ask(
        self,
        asked: Question,
        exchange: Exchange,
        publish: Publish,
        *,
        chat: bool,
        asks: Set[Capability],
    ) -> Outcome:
        """POST and publish what comes until the answer is over; the caller has its turn.

        Retries 503 while the model loads, and once a 400 without what it refuses: both before the
        first byte of the answer. Raises :class:`UpstreamError`; where it is :class:`Refused`,
        another upstream may be asked. Leaving it early closes the connection, which ends the work
        upstream.
        """
        delay = RETRY_DELAY
        retries = 0
        dropped: frozenset[Capability] = frozenset()
        while True:
            now_asks = frozenset(asks) - dropped
            request = question.compose(asked, chat=chat, asks=now_asks)
            again = await self._attempt(request, exchange, publish)
            if again is None:
                return Outcome(frozenset(asks), dropped, exchange.status < 400)
            if again.status == 503 and retries < MAX_RETRIES:
                await trio.sleep(delay)
                delay *= 2
                retries += 1
                continue
            to_drop = question.refused(again.body, now_asks) if again.status == 400 else None
            if dropped or not to_drop:
                await _pass_on(again, exchange, publish)
                return Outcome(frozenset(asks), dropped)
            dropped = to_drop

    async def _attempt(
        self, request: question.Request, exchange: Exchange, publish: Publish
    ) -> _Again | None:
        """One POST: None when its answer was published, else what may call for a retry."""
        body = msgspec.json.encode(request.body)
        head = self._request(b"POST", request.path, self._entity(body, exchange))
        connection: UpstreamConnection | None = None
        try:
            connection = await self._pool.connect(self._origin, fresh=self._is_local)
            response = await connection.ask(head, body, timeout=self.settings.timeout)
            status = response.status_code
            kind, encoding = _media(response)
            if status in (400, 503):
                body = await _body(connection, MAX_ERROR_BODY)
                return _Again(status, (kind, encoding), body)
            now = trio.current_time()
            await publish(exchange.answered(status, kind, now, content_encoding=encoding))
            ended = False
            while not ended:
                data, ended = await connection.receive()
                if data and (payloads := exchange.receive(data, trio.current_time())):
                    await publish(payloads)
        except UpstreamError as error:
            raise _classified(error, connection, self._says(error, connection)) from None
        finally:
            if connection is not None:
                await self._pool.give_back(connection)
        return None

    def _says(self, error: UpstreamError, connection: UpstreamConnection | None) -> str:
        verb = "reach" if connection is None else "read"
        return f"cannot {verb} {self.settings.id} at {self.settings.url}: {error}"

    def _entity(self, body: bytes, exchange: Exchange) -> dict[bytes, bytes]:
        fields = {b"Content-Type": b"application/json", b"Content-Length": b"%d" % len(body)}
        if self.settings.id == ENGINE:
            fields[SESSION] = exchange.session.encode()
        return fields

    def _request(self, method: bytes, path: str, fields: dict[bytes, bytes]) -> h11.Request:
        common = {b"Host": self._origin.authority, b"User-Agent": _AGENT, b"Accept": b"*/*"}
        if self.authorization:
            common[b"Authorization"] = self.authorization.encode()
        target = self._origin.path + path.encode()
        return h11.Request(method=method, target=target, headers=list((common | fields).items()))


async def _pass_on(again: _Again, exchange: Exchange, publish: Publish) -> None:
    """Publish an answer that was held back, as it came."""
    kind, encoding = again.media
    now = trio.current_time()
    await publish(exchange.answered(again.status, kind, now, content_encoding=encoding))
    await publish(exchange.receive(again.body, now))


async def _body(connection: UpstreamConnection, limit: int) -> bytes:
    """A body, or what of it came until *limit* was passed."""
    body = bytearray()
    ended = False
    while not ended and len(body) <= limit:
        data, ended = await connection.receive()
        body += data
    return bytes(body)


def _media(response: h11.Response) -> tuple[str, str | None]:
    """An answer's content type and content encoding."""
    kind = first(response.headers, b"content-type") or b""
    encoding = first(response.headers, b"content-encoding")
    return kind.decode("latin-1"), encoding.decode("latin-1") if encoding else None


def _classified(
    error: UpstreamError, connection: UpstreamConnection | None, text: str
) -> UpstreamError:
    """*error* with *text*, as :class:`Refused` where no byte has come."""
    unheard = connection is None or not connection.heard
    if not unheard or error.code != "upstream_unavailable":
        return UpstreamError(error.code, text)
    refused = Refused(error.code, text)
    refused.stale = connection is not None and connection.reused
    return refused


def _plain(error: UpstreamError, connection: UpstreamConnection | None) -> str:
    """Why a probe failed, after the name of the upstream."""
    if connection is None and "refused" in str(error):
        return "refuses connections"
    return str(error)


def is_local(url: str) -> bool:
    """Whether *url* is on this machine's loopback."""
    return config.Address(urlsplit(url).hostname or "", 0).is_loopback
