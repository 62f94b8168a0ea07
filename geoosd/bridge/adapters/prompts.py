"""``io.geoos.Bridge``: asks one model or several and streams what happens (Varlink).

A session here lives as long as its answer: whoever called may go away at any time, which ends the
work upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol

import msgspec
import trio
from msgspec import Meta, Struct

from geoosd.bridge.adapters.directory import STARTING_SECONDS, Directory
from geoosd.bridge.adapters.upstream import Publish
from geoosd.bridge.core import question
from geoosd.bridge.core.exchange import Dialect, Exchange
from geoosd.bridge.core.question import Question
from geoosd.bridge.core.router import Route, Upstream
from geoosd.errors import UpstreamError, VarlinkError
from geoosd.runtime.varlink import IncomingCall, VarlinkServer, invalid_argument, unavailable
from geoosd.wire import messages
from geoosd.wire import varlink as wire
from geoosd.wire.messages import Payload

INTERFACE: Final = "io.geoos.Bridge"
NO_UPSTREAM_REMEDY: Final = "start LM Studio's server, or: geoosd engine"


class PromptCall(Struct, forbid_unknown_fields=True):
    """Parameters of ``Prompt``: at most one of *model*, *models* and *all*."""

    prompt: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    models: list[str] | None = None
    all: bool | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None


class OpenExchange(Protocol):
    """Makes an exchange with a session id of its own."""

    def __call__(
        self, *, model: str | None, upstream: str | None, dialect: Dialect, choices: int
    ) -> Exchange: ...


class Prompts:
    """Answers ``Prompt`` and ``ListModels``.

    *publish* takes every message on to the compositor; *system_prompt* tells the configured one;
    *now* is the wall clock.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        open_exchange: OpenExchange,
        publish: Callable[[list[Payload]], None],
        system_prompt: Callable[[], str],
        draining: trio.Event,
        now: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._open = open_exchange
        self._publish = publish
        self._system_prompt = system_prompt
        self._draining = draining
        self._now = now

    def register(self, server: VarlinkServer) -> None:
        """Offer the interface."""
        server.add_interface(wire.interface(INTERFACE))
        server.add(f"{INTERFACE}.Prompt", self._prompt, "use")
        server.add(f"{INTERFACE}.ListModels", self._list_models)

    async def _prompt(self, call: IncomingCall) -> Mapping[str, Any] | None:
        asked = call.convert(PromptCall)
        if not call.more:
            raise VarlinkError(f"{wire.SERVICE}.ExpectedMore")
        if self._draining.is_set():
            raise unavailable("cannot ask a model: the bridge is stopping")
        plans = self._plan(asked)
        system = self._system_prompt() if asked.system is None else asked.system
        ask = Question(asked.prompt, asked.model, system, asked.parameters or {})
        conversation = _Conversation(call, self._now, sessions=len(plans))
        try:
            async with trio.open_nursery() as nursery:
                for routes in plans:
                    nursery.start_soon(self._ask, ask, routes, conversation)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            conversation.last = None  # nobody is there to hear it
        return conversation.last

    def _plan(self, asked: PromptCall) -> list[list[Route]]:
        """For each session the routes to try. Raises :class:`VarlinkError`."""
        router = self._directory.router
        if sum((asked.model is not None, asked.models is not None, bool(asked.all))) > 1:
            raise invalid_argument("cannot ask: give one of model, models and all")
        if asked.models is not None and not asked.models:
            raise invalid_argument("cannot ask: models is empty")
        if asked.all:
            plans = [[route] for route in router.everywhere()]
        elif asked.models is not None:
            plans = [router.candidates(model) for model in asked.models]
        else:
            plans = [router.candidates(asked.model)]
        if not any(plans):
            raise unavailable(f"cannot ask a model: {self._why_none()}; {NO_UPSTREAM_REMEDY}")
        return plans

    def _why_none(self) -> str:
        rows = self._directory.router.rows()
        if any(row.state == "loading" for row in rows):
            return "the model is loading"
        where = ", ".join(f"{row.id} {row.url}" for row in rows)
        return f"no upstream answers for it ({where})"

    async def _ask(self, asked: Question, routes: list[Route], conversation: _Conversation) -> None:
        """One session, from its start to its end, whatever happens in between."""
        exchange = self._open(
            model=routes[0].model if routes else None,
            upstream=routes[0].upstream if routes else None,
            dialect="chat",
            choices=question.choices_of(asked.parameters),
        )

        async def publish(payloads: list[Payload]) -> None:
            self._publish(payloads)
            await conversation.tell(payloads)

        error: str | None = "the client went away"
        try:
            await publish(exchange.started(trio.current_time()))
            error = await self._try(asked, routes, exchange, publish)
        finally:
            ending = exchange.finish(trio.current_time(), error)
            self._publish(ending)
        await conversation.end(ending)

    async def _try(
        self, asked: Question, routes: list[Route], exchange: Exchange, publish: Publish
    ) -> str | None:
        """Ask the routes in turn until one answers; the error of the last, or None."""
        error = "no upstream answers for this model"
        for route in routes:
            row = self._directory.router.get(route.upstream)
            exchange.upstream = route.upstream
            if row is not None and row.state == "loading":
                await publish(exchange.queued(0, trio.current_time()))
                with trio.move_on_after(STARTING_SECONDS):
                    await self._directory.wait_loaded(route.upstream)
            chat = row is None or row.chat is not False
            try:
                client = self._directory.client(route.upstream)
                await client.ask(asked._replace(model=route.model), exchange, publish, chat=chat)
            except UpstreamError as failure:
                error = str(failure)
                if exchange.has_answer or failure.code != "upstream_unavailable":
                    return error
                self._directory.refused(route.upstream, "refuses connections")
            else:
                return None
        return error

    async def _list_models(self, _call: IncomingCall) -> Mapping[str, Any]:
        return {
            "models": [
                self._model(row, model)
                for row in self._directory.router.rows()
                if row.answered
                for model in row.models
            ]
        }

    def _model(self, row: Upstream, model: str) -> dict[str, Any]:
        native = self._directory.client(row.id).kind == "llama.cpp"
        chat = row.chat is not False
        return {
            "id": model,
            "upstream": row.id,
            "upstream_url": row.url,
            "state": row.state,
            "chat": chat,
            "capabilities": {"chat": chat, "completions": True, "token_ids": native},
        }


class _Conversation:
    """The replies to one ``Prompt``: the end of its last session is the last reply."""

    def __init__(self, call: IncomingCall, now: Callable[[], float], sessions: int) -> None:
        self.last: Mapping[str, Any] | None = None
        self._call = call
        self._now = now
        self._sessions = sessions
        self._turn = trio.Lock()

    async def tell(self, payloads: list[Payload]) -> None:
        """Send messages in order; sessions take turns."""
        async with self._turn:
            for payload in payloads:
                await self._call.reply(self._reply(payload))

    async def end(self, ending: list[Payload]) -> None:
        """Send a session's last messages; the very last is kept for the handler to return."""
        self._sessions -= 1
        if self._sessions:
            await self.tell(ending)
        else:
            await self.tell(ending[:-1])
            self.last = self._reply(ending[-1])

    def _reply(self, payload: Payload) -> dict[str, Any]:
        # Encoded once already, by the rules of the feed; the reply takes it as it is.
        return {"message": msgspec.Raw(messages.encode(payload, self._now()))}
