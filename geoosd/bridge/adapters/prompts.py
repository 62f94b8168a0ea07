"""``io.geoos.Bridge``: asks one model or several and streams what happens (Varlink).

A session here lives as long as its answer: whoever called may go away at any time, which ends the
work upstream. The asking itself is :mod:`.asking`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
import trio
from msgspec import Meta, Struct

from geoosd.bridge.adapters.asking import Asker, Batches
from geoosd.bridge.adapters.directory import Directory
from geoosd.bridge.core.capabilities import CAPABILITIES
from geoosd.bridge.core.question import Question
from geoosd.bridge.core.router import Route, Upstream
from geoosd.errors import VarlinkError
from geoosd.runtime.varlink import IncomingCall, VarlinkServer, invalid_argument, unavailable
from geoosd.wire import messages
from geoosd.wire import varlink as wire
from geoosd.wire.messages import Payload, SessionEnded

INTERFACE: Final = "io.geoos.Bridge"
_NO_UPSTREAM: Final = "start a model server, or see: geoosctl health"


class PromptCall(Struct, forbid_unknown_fields=True):
    """Parameters of ``Prompt``: at most one of *model*, *models* and *all*.

    *client* tells who asks where that is not the caller itself.
    """

    prompt: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    models: list[str] | None = None
    all: bool | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None
    client: Annotated[str, Meta(max_length=64)] | None = None


class Prompts:
    """Answers ``Prompt`` and ``ListModels``.

    *system_prompt* tells the configured one; *now* is the wall clock.
    """

    def __init__(
        self,
        directory: Directory,
        asker: Asker,
        *,
        system_prompt: Callable[[], str],
        draining: trio.Event,
        now: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._asker = asker
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
        question = Question(asked.prompt, asked.model, system, asked.parameters or {})
        client = asked.client or f"{call.peer.uid}:{call.peer.pid}"
        last: Mapping[str, Any] | None = None
        try:
            async with self._asker.stream_from_all(question, plans, client=client) as batches:
                last = await self._pass_on(call, batches, sessions=len(plans))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            last = None  # nobody is there to hear it
        return last

    async def _pass_on(
        self, call: IncomingCall, batches: Batches, sessions: int
    ) -> Mapping[str, Any] | None:
        """Send all messages but the last, which is the end of the last session, as the reply."""
        async for payloads in batches:
            for payload in payloads:
                if isinstance(payload, SessionEnded):
                    sessions -= 1
                    if not sessions:
                        return self._reply(payload)
                await call.reply(self._reply(payload))
        return None

    def _reply(self, payload: Payload) -> dict[str, Any]:
        # Encoded once already, by the rules of the feed; the reply takes it as it is.
        return {"message": msgspec.Raw(messages.encode(payload, self._now()))}

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
            raise unavailable(f"cannot ask a model: {self._why_none()}; {_NO_UPSTREAM}")
        return plans

    def _why_none(self) -> str:
        rows = self._directory.router.rows()
        if any(row.state == "loading" for row in rows):
            return "the model is loading"
        where = ", ".join(f"{row.id} {row.url}" for row in rows)
        return f"no upstream answers for it ({where})"

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
        known = self._directory.capabilities.known(row.id, model)
        chat = known.get("chat")
        return {
            "id": model,
            "upstream": row.id,
            "upstream_url": row.url,
            "state": row.state,
            "circuit": row.circuit,
            "retry_in": self._directory.retry_in(row.id),
            "chat": chat is None or chat.can,
            "capabilities": {
                each: known[each].can if each in known else None for each in CAPABILITIES
            },
            "learnt": {each: known[each].how for each in CAPABILITIES if each in known},
        }
