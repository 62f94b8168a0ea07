"""``io.geoos.Bridge``: recorded sessions and feedback over Varlink (``io.geoos.Bridge.varlink``).

Access as docs/interfaces.md has it: looking is ``read``, feedback is ``use``, and what changes the
records or everybody's screen is ``admin``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from geoosd.bridge.adapters import store_feedback, store_sessions
from geoosd.bridge.adapters.recorder import Recorder
from geoosd.bridge.adapters.replay import Replays, not_found
from geoosd.bridge.core.replay import MAX_SPEED
from geoosd.errors import VarlinkError
from geoosd.runtime.varlink import IncomingCall, VarlinkServer, invalid_argument
from geoosd.wire import messages
from geoosd.wire import varlink as wire
from geoosd.wire.messages import Payload, SessionEnded

INTERFACE: Final = "io.geoos.Bridge"


class _One(Struct, forbid_unknown_fields=True):
    session: str


class _Part(Struct, forbid_unknown_fields=True):
    session: str
    after: Annotated[int, Meta(ge=0)] | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] | None = None


class _Replay(Struct, forbid_unknown_fields=True):
    session: str
    speed: Annotated[float, Meta(gt=0, le=MAX_SPEED)] | None = None


class Sessions:
    """Answers for the records of one bridge. *now* is the wall clock."""

    def __init__(self, recorder: Recorder, replays: Replays, now: Callable[[], float]) -> None:
        self._recorder = recorder
        self._replays = replays
        self._now = now

    def register(self, server: VarlinkServer) -> None:
        """Offer the methods; :mod:`.prompts` declares the interface."""
        server.add(f"{INTERFACE}.ListSessions", self._list)
        server.add(f"{INTERFACE}.GetSession", self._get)
        server.add(f"{INTERFACE}.DeleteSession", self._delete, "admin")
        server.add(f"{INTERFACE}.ReplaySession", self._replay, "admin")
        server.add(f"{INTERFACE}.StopReplay", self._stop, "admin")
        server.add(f"{INTERFACE}.AddFeedback", self._add_feedback, "use")
        server.add(f"{INTERFACE}.ListFeedback", self._list_feedback)

    async def _list(self, call: IncomingCall) -> Mapping[str, Any]:
        query = call.convert(store_sessions.SessionQuery)
        found = await self._recorder.ask(partial(store_sessions.list_sessions, query=query))
        sessions, more = found or ([], None)
        return {"sessions": msgspec.to_builtins(sessions), "next": more}

    async def _get(self, call: IncomingCall) -> Mapping[str, Any]:
        asked = call.convert(_Part)
        read = partial(
            store_sessions.read,
            session=asked.session,
            after=asked.after or 0,
            limit=asked.limit or store_sessions.PART,
        )
        part = await self._recorder.ask(read)
        if part is None:
            raise not_found(asked.session)
        return msgspec.structs.asdict(part)

    async def _delete(self, call: IncomingCall) -> Mapping[str, Any]:
        session = call.convert(_One).session
        recorded = await self._recorder.ask(partial(store_sessions.find, session=session))
        if recorded is not None and recorded.state == "running":
            raise invalid_argument(f"cannot delete session {session}: it still runs")
        if not await self._recorder.ask(partial(store_sessions.delete, session=session)):
            raise not_found(session)
        return {}

    async def _add_feedback(self, call: IncomingCall) -> Mapping[str, Any]:
        given = call.convert(store_feedback.FeedbackCall)
        if given.first is not None and given.last is not None and given.first > given.last:
            raise invalid_argument(f"cannot rate tokens {given.first} to {given.last}: none")
        add = partial(store_feedback.add, given=given, at=self._now())
        feedback = await self._recorder.ask(add)
        if feedback is None:
            raise not_found(given.session)
        return {"feedback": msgspec.to_builtins(feedback)}

    async def _list_feedback(self, call: IncomingCall) -> Mapping[str, Any]:
        query = call.convert(store_feedback.FeedbackQuery)
        found = await self._recorder.ask(partial(store_feedback.list_feedback, query=query))
        feedback, models, more = found or ([], [], None)
        return {
            "feedback": msgspec.to_builtins(feedback),
            "models": msgspec.to_builtins(models),
            "next": more,
        }

    async def _replay(self, call: IncomingCall) -> Mapping[str, Any]:
        """At once, or message by message to who takes several replies."""
        asked = call.convert(_Replay)
        replay = await self._replays.prepare(asked.session, asked.speed or 1.0)
        if not call.more:
            self._replays.start(replay)
            return {"session": replay.session}
        last: dict[str, Any] = {}

        async def tell(payload: Payload) -> None:
            envelope = msgspec.Raw(messages.encode(payload, self._now()))
            reply = {"session": replay.session, "message": envelope}
            if isinstance(payload, SessionEnded):
                last.update(reply)
            else:
                await call.reply(reply)

        await self._replays.play(replay, tell)
        return last

    async def _stop(self, call: IncomingCall) -> Mapping[str, Any]:
        session = call.convert(_One).session
        if not self._replays.stop(session):
            raise VarlinkError(
                wire.NOT_FOUND, {"reason": f"cannot stop {session}: no replay of that name runs"}
            )
        return {}
