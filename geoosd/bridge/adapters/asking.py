"""geoos's own prompts: one session each, over as many upstreams as it takes, and many at once.

``stream_from_all`` asks several models at the same time and gives what they say as it comes; one
that fails ends its own session and no other. A caller without a daemon uses it like this::

    asker = Asker(directory, open_exchange=..., publish=..., on_asked=..., on_bug=...)
    plans = [[route] for route in directory.router.everywhere()]
    async with asker.stream_from_all(Question("hello"), plans, client="me") as batches:
        async for payloads in batches: ...

Leaving the ``async with`` early hangs up on all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeAlias

import trio

from geoosd.bridge.adapters.directory import Directory
from geoosd.bridge.adapters.tap import OUR_FAULT
from geoosd.bridge.adapters.upstream import Refused
from geoosd.bridge.adapters.watched import STARTING_SECONDS
from geoosd.bridge.core import question
from geoosd.bridge.core.capabilities import Capability, Evidence
from geoosd.bridge.core.exchange import Dialect, Exchange
from geoosd.bridge.core.question import Question
from geoosd.bridge.core.ratelimit import RateLimits
from geoosd.bridge.core.router import Route
from geoosd.errors import UpstreamError
from geoosd.wire.messages import Payload

RATE_SECONDS: Final = 1.0
"""How long a prompt sleeps at most that waits for its upstream's rate: a reload may raise that."""

Batches: TypeAlias = "trio.MemoryReceiveChannel[list[Payload]]"


class OpenExchange(Protocol):
    """Makes an exchange with a session id of its own."""

    def __call__(
        self, *, model: str | None, upstream: str | None, dialect: Dialect, choices: int
    ) -> Exchange: ...


class _Session:
    """One prompt on its way: everything it says goes to the map and to whoever asked."""

    def __init__(
        self,
        exchange: Exchange,
        publish: Callable[[list[Payload]], None],
        caller: trio.MemorySendChannel[list[Payload]],
    ) -> None:
        self.exchange = exchange
        self.evidence = Evidence()
        self._publish = publish
        self._caller = caller

    async def say(self, payloads: list[Payload]) -> None:
        """To the map first: it does not wait for the caller."""
        self._publish(payloads)
        for payload in payloads:
            self.evidence.take(payload)
        await self._caller.send(payloads)

    async def queued(self, position: int) -> None:
        """It waits for its turn."""
        await self.say(self.exchange.queued(position, trio.current_time()))

    async def end(self, error: str | None) -> None:
        """The last word, which the map gets even where the caller is gone."""
        ending = self.exchange.finish(trio.current_time(), error)
        if ending:
            await self.say(ending)


class Asker:
    """Asks the upstreams of *directory*; *publish* takes every message for the map, *on_asked*
    hears what was asked in a session."""

    def __init__(
        self,
        directory: Directory,
        *,
        open_exchange: OpenExchange,
        publish: Callable[[list[Payload]], None],
        on_asked: Callable[[str, Question], None],
        on_bug: Callable[[str, BaseException], None],
        rates: RateLimits | None = None,
    ) -> None:
        self._rates = rates or RateLimits()
        self._on_asked = on_asked
        self._directory = directory
        self._open = open_exchange
        self._publish = publish
        self._on_bug = on_bug

    @asynccontextmanager
    async def stream_from_all(
        self, asked: Question, plans: Sequence[Sequence[Route]], *, client: str
    ) -> AsyncIterator[Batches]:
        """Ask once for each of *plans*, all at the same time.

        A plan is the routes to try in turn. *client* is who asks: clients take turns at an upstream
        that is busy. Gives the messages in batches, each of one session; after the last session's
        ``SessionEnded`` it ends.
        """
        send, receive = trio.open_memory_channel[list[Payload]](0)
        async with trio.open_nursery() as nursery:
            async with send:
                for routes in plans:
                    nursery.start_soon(self._run, asked, routes, client, send.clone())
            async with receive:
                try:
                    yield receive
                finally:
                    nursery.cancel_scope.cancel()

    async def _run(
        self,
        asked: Question,
        routes: Sequence[Route],
        client: str,
        caller: trio.MemorySendChannel[list[Payload]],
    ) -> None:
        """One session, from its start to its end, whatever happens in between."""
        exchange = self._open(
            model=routes[0].model if routes else None,
            upstream=routes[0].upstream if routes else None,
            dialect="chat",
            choices=question.choices_of(asked.parameters),
        )
        self._on_asked(exchange.session, asked)
        session = _Session(exchange, self._publish, caller)
        error: str | None = "the client went away"
        async with caller:
            try:
                await session.say(exchange.started(trio.current_time()))
                error = await self._try(asked, routes, client, session)
            except Exception as bug:  # noqa: BLE001 - one session's bug is no other's end
                self._on_bug(f"prompt of session {exchange.session}", bug)
                error = OUR_FAULT
            finally:
                # Where the caller is gone, saying it raises at once, after the map was told.
                await session.end(error)

    async def _try(
        self, asked: Question, routes: Sequence[Route], client: str, session: _Session
    ) -> str | None:
        """Ask the routes in turn until one answers; the error of the last, or None."""
        error = "no upstream answers for this model"
        for route in routes:
            session.exchange.upstream = route.upstream
            try:
                await self._wait_loaded(route, session)
                await self._ask(asked, self._named(route), client, session)
            except Refused as failure:
                error = str(failure)
                if not failure.stale:
                    self._directory.failed(route.upstream, error)
            except UpstreamError as failure:
                self._directory.failed(route.upstream, str(failure))
                return str(failure)
            else:
                return None
        return error

    async def _wait_loaded(self, route: Route, session: _Session) -> None:
        row = self._directory.router.get(route.upstream)
        if row is not None and row.state == "loading":
            await session.queued(0)
            with trio.move_on_after(STARTING_SECONDS):
                await self._directory.wait_loaded(route.upstream)

    def _named(self, route: Route) -> Route:
        """*route* with its model's name, which may be known only now that it is loaded."""
        model = route.model or self._directory.router.own_name(route.upstream, None)
        return Route(route.upstream, model)

    def _can_chat(self, route: Route) -> bool:
        """Whether the model is to be asked as one that chats: where nothing else is known, yes.

        A server that does not list the asked one, and answers all the same, does so with its own.
        """
        capabilities, own_name = self._directory.capabilities, self._directory.router.own_name
        known = capabilities.can(*route, "chat")
        if known is None and own_name(*route) is None:
            known = capabilities.can(route.upstream, own_name(route.upstream, None), "chat")
        return known is not False

    async def _ask(self, asked: Question, route: Route, client: str, session: _Session) -> None:
        directory = self._directory
        upstream = directory.client(route.upstream)
        async with upstream.turns.turn(client, session.queued):
            while wait := self._rates.upstream(route.upstream, trio.current_time()):
                await session.queued(0)
                await trio.sleep(min(wait, RATE_SECONDS))
            session.exchange.sent()
            # Known only now: what an earlier prompt taught while this one waited counts.
            asks = directory.asks(route, asked.parameters)
            chat = self._can_chat(route)
            session.evidence = Evidence(asks)
            outcome = await upstream.ask(
                asked._replace(model=route.model),
                session.exchange,
                session.say,
                chat=chat,
                asks=asks,
            )
        directory.answered(route.upstream)
        # Here already, so that the next prompt knows; the end is said when it is over.
        await session.end(None)
        if outcome.ok:
            path: Capability = "chat" if chat else "completions"
            directory.capabilities.learn(*route, path, True, "answer")
        directory.learn(route, session.evidence, outcome)
