"""One upstream model server, spoken to over HTTP (httpx on trio).

What it answers is read by :class:`geoosd.bridge.core.exchange.Exchange`; which upstream to ask is
:mod:`.directory`'s business.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import httpx
import trio

from geoosd import config
from geoosd.bridge.core import question
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.question import Listing, Question
from geoosd.bridge.core.router import State
from geoosd.errors import ConfigError, UpstreamError
from geoosd.wire.messages import Payload

Publish: TypeAlias = Callable[[list[Payload]], Awaitable[None]]

MAX_RETRIES: Final = 5
RETRY_DELAY: Final = 1.0
"""Seconds before the first retry of a 503 while the model loads; doubling."""

_CONNECT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
_PROBE: Final = httpx.Timeout(2.0, connect=0.5)
_MAX_PROBE_BODY: Final = 4 << 20


class Probe(NamedTuple):
    """What an upstream said of itself; ``reason`` is in plain words."""

    state: State
    reason: str
    listing: Listing | None = None


class UpstreamClient:
    """Connections to one upstream, at most ``max_concurrency`` requests at once, in order of
    arrival.

    ``kind`` is the configured kind of server, or what ``/v1/models`` gave away.
    """

    def __init__(
        self,
        settings: config.Upstream,
        api_key: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.kind = settings.kind
        self.limiter = trio.CapacityLimiter(settings.max_concurrency)
        self.authorization = f"Bearer {api_key}" if api_key else None
        self._http = httpx.AsyncClient(
            base_url=settings.url,
            headers={"authorization": self.authorization} if self.authorization else None,
            timeout=httpx.Timeout(settings.timeout, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=4),
            # A proxy of the environment has no business between this machine and itself.
            trust_env=not is_local(settings.url),
            # Loading the certificates takes time and memory, which http:// has no use for.
            verify=settings.url.startswith("https:"),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._http.aclose()

    async def retire(self) -> None:
        """Close the connections when the requests that use them are over."""
        with trio.move_on_after(self.settings.timeout):
            for _ in range(self.settings.max_concurrency):
                await self.limiter.acquire_on_behalf_of(object())
        await self.aclose()

    async def probe(self) -> Probe:
        """Ask ``/v1/models``: is the server up, and what does it run? Raises nothing."""
        try:
            status, body = await self._get("/v1/models")
        except httpx.ConnectError:
            return Probe("down", "refuses connections")
        except httpx.TimeoutException:
            return Probe("down", "does not answer in time")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Probe("down", _reason(error))
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

    async def has_chat_template(self) -> bool | None:
        """Whether the loaded model has one; None where the server does not tell. Raises nothing."""
        if self.kind != "llama.cpp":
            return None
        try:
            status, body = await self._get("/props")
        except httpx.HTTPError:
            return None
        return question.has_chat_template(body) if status == 200 else None

    async def _get(self, path: str) -> tuple[int, bytes]:
        async with self._http.stream("GET", path, timeout=_PROBE) as response:
            body = bytearray()
            async with _pieces(response) as pieces:
                async for data in pieces:
                    body += data
                    if len(body) > _MAX_PROBE_BODY:
                        break
        return response.status_code, bytes(body)

    async def ask(
        self, asked: Question, exchange: Exchange, publish: Publish, *, chat: bool
    ) -> None:
        """Ask and publish what comes until the answer is over.

        Waits for its turn first. Retries 503 while the model loads, and once a 400 without asking
        for logprobs: both before the first byte of the answer. Raises :class:`UpstreamError`;
        unless ``exchange.has_answer`` another upstream may be asked.
        Leaving it early closes the connection, which ends the work upstream.
        """
        waiting = self.limiter.statistics()
        if waiting.borrowed_tokens >= waiting.total_tokens:
            await publish(exchange.queued(waiting.tasks_waiting, trio.current_time()))
        async with self.limiter:
            delay = RETRY_DELAY
            logprobs = True
            retries = 0
            while True:
                request = question.compose(asked, chat=chat, kind=self.kind, logprobs=logprobs)
                status = await self._attempt(
                    request,
                    exchange,
                    publish,
                    pass_400=not logprobs,
                    pass_503=retries >= MAX_RETRIES,
                )
                if status == 503:
                    await trio.sleep(delay)
                    delay *= 2
                    retries += 1
                elif status == 400:
                    logprobs = False
                else:
                    return

    async def _attempt(
        self,
        request: question.Request,
        exchange: Exchange,
        publish: Publish,
        *,
        pass_400: bool,
        pass_503: bool,
    ) -> int | None:
        """One POST: None when its answer was published, else the status that calls for a retry."""
        try:
            async with self._http.stream("POST", request.path, json=request.body) as response:
                status = response.status_code
                if (status == 503 and not pass_503) or (status == 400 and not pass_400):
                    return status
                kind = response.headers.get("content-type", "")
                await publish(exchange.answered(status, kind, trio.current_time()))
                async with _pieces(response) as pieces:
                    async for data in pieces:
                        payloads = exchange.receive(data, trio.current_time())
                        if payloads:
                            await publish(payloads)
        except httpx.ConnectError as error:
            raise self._failure("upstream_unavailable", "reach", _reason(error)) from None
        except httpx.TimeoutException:
            reason = f"no answer within {self.settings.timeout:g} s"
            raise self._failure("upstream_timeout", "read", reason) from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._failure("upstream_unavailable", "read", _reason(error)) from None
        return None

    def _failure(self, code: str, verb: str, reason: str) -> UpstreamError:
        where = f"{self.settings.id} at {self.settings.url}"
        return UpstreamError(code, f"cannot {verb} {where}: {reason}")


@asynccontextmanager
async def _pieces(response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body as it comes; leaving early closes the connection.

    httpx nests generators that only their own end closes: once the connection is closed, reading
    on ends them all.
    """
    pieces = response.aiter_bytes()
    try:
        yield pieces
    finally:
        with (
            trio.move_on_after(_CLOSE_SECONDS, shield=True),
            suppress(httpx.HTTPError, httpx.StreamError),
        ):
            await response.aclose()
            async for _ in pieces:
                pass


def _reason(error: Exception) -> str:
    """httpx's reason in one line; some of its errors have no text."""
    return str(error).strip().lower() or type(error).__name__


def is_local(url: str) -> bool:
    """Whether *url* is on this machine's loopback."""
    return config.Address(httpx.URL(url).host, 0).is_loopback


def read_api_key(settings: config.Upstream) -> str | None:
    """The key that the credential of *settings* holds (systemd.exec(5), CREDENTIALS_DIRECTORY).

    Raises :class:`ConfigError` where a credential is named but not there.
    """
    name = settings.api_key_credential
    if name is None:
        return None
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigError(
            f"cannot use upstream {settings.id}: api_key_credential is {name!r} but "
            "CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit, or point it at a "
            f"directory that holds the file {name}"
        )
    if "/" in name or name in ("", ".", ".."):
        raise ConfigError(f"cannot use upstream {settings.id}: {name!r} is not a credential's name")
    try:
        return (Path(directory) / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(
            f"cannot use upstream {settings.id}: credential {name}: {reason}"
        ) from None
