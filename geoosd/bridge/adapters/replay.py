"""Shows recorded sessions again: reads them from the database and feeds the pipeline.

A replay is a session of its own that says what it is (``SessionStarted.replay_of``). It is neither
recorded nor counted among the tokens that a server made, it waits while the compositor is behind,
and it ends when it is stopped, when its caller goes away or when the bridge stops. The pace is
:mod:`..core.replay`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import msgspec
import trio

from geoosd.bridge.adapters import store_sessions
from geoosd.bridge.adapters.recorder import Recorder
from geoosd.bridge.core.replay import Replay
from geoosd.errors import VarlinkError
from geoosd.runtime.varlink import invalid_argument, unavailable
from geoosd.wire import varlink as wire
from geoosd.wire.messages import Payload
from geoosd.wire.sessions import Session

MAX_REPLAYS: Final = 8
PATIENCE_SECONDS: Final = 30.0
"""For which a replay waits until the compositor has room for it."""

_POLL_SECONDS: Final = 0.05

Tell: TypeAlias = Callable[[Payload], Awaitable[None]]


class Replays:
    """The replays of one bridge. *put* takes messages for the compositor, *has_room* says whether
    it is up with them."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        put: Callable[[list[Payload]], None],
        has_room: Callable[[], bool],
        draining: trio.Event,
    ) -> None:
        self._recorder = recorder
        self._put = put
        self._has_room = has_room
        self._draining = draining
        self._running: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()

    def details(self) -> dict[str, str]:
        """For ``GetStatus``: how many run, if any."""
        return {"replays": str(len(self._running))} if self._running else {}

    async def run(self) -> None:
        """Where replays that nobody waits for run; until the bridge drains."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._draining.wait()
            self._nursery = None
            for scope in self._running.values():
                scope.cancel()

    async def wait_ended(self) -> None:
        """Wait until no replay runs; once the bridge drains, that is soon."""
        while self._running:
            self._ended = trio.Event()
            await self._ended.wait()

    async def prepare(self, session: str, speed: float) -> Replay:
        """A replay of *session* that can begin. Raises :class:`VarlinkError`."""
        if self._nursery is None:
            raise unavailable("cannot replay: the bridge is stopping")
        if len(self._running) >= MAX_REPLAYS:
            raise unavailable(f"cannot replay: {MAX_REPLAYS} replays run already; stop one of them")
        recorded = await self._recorder.ask(partial(store_sessions.find, session=session))
        if recorded is None:
            raise not_found(session)
        if not recorded.messages:
            raise invalid_argument(f"cannot replay {session}: {_why_not(recorded)}")
        return Replay(
            recorded, f"r{secrets.token_urlsafe(8)}", speed=speed, now=trio.current_time()
        )

    def start(self, replay: Replay) -> None:
        """Run *replay* by itself."""

        async def nobody(_payload: Payload) -> None:
            """Nobody waits for it."""

        if self._nursery is not None:
            self._nursery.start_soon(self.play, replay, nobody)

    def stop(self, session: str) -> bool:
        """End the replay that runs as *session*; False where there is none."""
        scope = self._running.get(session)
        if scope is not None:
            scope.cancel()
        return scope is not None

    async def play(self, replay: Replay, tell: Tell) -> None:
        """Run *replay* to its end; *tell* hears each message after the map."""
        error: str | None = "the replay was stopped"
        self._put([replay.started()])
        try:
            with trio.CancelScope() as scope:
                self._running[replay.session] = scope
                await tell(replay.started())
                error = await self._play(replay, tell)
        finally:
            del self._running[replay.session]
            self._put([replay.ended(error)])
            self._ended.set()
        await tell(replay.ended(error))

    async def _play(self, replay: Replay, tell: Tell) -> str | None:
        """Each message in its time; why it ended early, or None."""
        at: int | None = 0
        while at is not None:
            read = partial(store_sessions.read, session=replay.recorded.id, after=at)
            part = await self._recorder.ask(read)
            if part is None:
                return "the recording was deleted"
            for timed in part.messages:
                await trio.sleep_until(replay.due(timed))
                if not self._has_room() and not await self._wait_for_room(replay):
                    return "the compositor does not take the replay"
                try:
                    payload = replay.message(timed)
                except msgspec.MsgspecError:
                    return "the recording is damaged"
                if payload is not None:
                    self._put([payload])
                    await tell(payload)
            at = part.next
        return None

    async def _wait_for_room(self, replay: Replay) -> bool:
        began = trio.current_time()
        with trio.move_on_after(PATIENCE_SECONDS):
            while not self._has_room():  # noqa: ASYNC110 - the outbox has no event for it
                await trio.sleep(_POLL_SECONDS)
        replay.hold(trio.current_time() - began)
        return self._has_room()


def not_found(session: str) -> VarlinkError:
    """No such recorded session."""
    reason = f"cannot find session {session}: it is not recorded; see: geoosctl sessions"
    return VarlinkError(wire.NOT_FOUND, {"reason": reason})


def _why_not(recorded: Session) -> str:
    if recorded.state == "running":
        return "it has only begun"
    if recorded.record == "full":
        return "nothing came in it"
    return 'its messages are not recorded; that needs record = "full" in [bridge] of geoos.toml'
