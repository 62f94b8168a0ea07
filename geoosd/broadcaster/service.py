"""The broadcaster service: feed in; page, API and viewers out; all on one port."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import compress
from math import ceil

import trio

from geoosd import startable
from geoosd.broadcaster.adapters.api import Api
from geoosd.broadcaster.adapters.canary import CanaryViewer
from geoosd.broadcaster.adapters.fanout import Fanout
from geoosd.broadcaster.adapters.feed import Feed
from geoosd.broadcaster.adapters.http import Admission, Router
from geoosd.broadcaster.adapters.insight import Insight, Parts
from geoosd.broadcaster.adapters.mjpeg import Mjpeg
from geoosd.broadcaster.adapters.port import Port
from geoosd.broadcaster.adapters.static import load_page
from geoosd.broadcaster.adapters.websocket import Viewers
from geoosd.broadcaster.adapters.workers import PORT, Workers, check_reload
from geoosd.broadcaster.core.hub import Hub, Limits
from geoosd.config import Address, Config
from geoosd.runtime.files import allow_files
from geoosd.runtime.service import Report, Runtime, Service, ServiceSpec
from geoosd.runtime.watchdog import ask_handler, ask_http
from geoosd.wire.access import Doorkeeper
from geoosd.wire.messages import Hello
from geoosd.wire.pictures import VIEWS

FILL_SECONDS = 1.0
"""How long to wait for a compositor before viewers are let in all the same."""
_HTTP_CONNECTIONS = 256
_OTHER_FILES = 64


class Broadcaster:
    """Wires the parts together; see the modules in ``adapters``."""

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.config.broadcaster
        self._runtime = runtime
        self._shares_port = runtime.is_handed(PORT)
        max_viewers, max_per_address = self._places(runtime.config)
        self._addresses: list[str] = []
        self.hub = Hub(Limits(max_lag=settings.max_lag))
        self.fanout = Fanout(
            self.hub, max_stall_seconds=settings.max_stall_seconds, now=runtime.now
        )
        self.feed = Feed(
            runtime.paths.socket("feed.sock"),
            self.fanout,
            restarted=self._restarted,
            show=self._show,
            now=runtime.now,
            log=runtime.log,
        )
        self.mjpegs = {view: Mjpeg(self._wants_changed) for view in VIEWS}
        self.hub.wants_changed = self._wants_changed
        self.viewers = Viewers(
            self.fanout,
            self.feed.snapshot,
            max_viewers=max_viewers,
            max_per_address=max_per_address,
            default_tick=settings.tick,
        )
        self._guard = _guard(runtime.config, runtime.now)
        self.port = Port(
            Router([], self._door(runtime.config), self._guard),
            self.viewers.serve,
            max_connections=max_viewers + _HTTP_CONNECTIONS,
            max_per_address=max_per_address,
            now=runtime.now,
            log=runtime.log,
            on_bug=runtime.budget.spend,
        )
        self.canary = CanaryViewer(
            self.viewers,
            is_open=lambda: self.feed.link.connected and self.feed.filled.is_set(),
            now=runtime.now,
            registry=runtime.registry,
        )
        self._nursery: trio.Nursery | None = None
        self._api: Api | None = None
        self._insight = Insight(
            Parts(self.hub, self.fanout, self.feed, self.viewers, self.port), runtime
        )
        runtime.health.add_probe("canary", self.canary.probe)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Fill the ring, then serve until draining."""
        address = self._runtime.config.broadcaster_listen
        page = await trio.to_thread.run_sync(load_page)
        listeners = await self._runtime.listen_tcp(address, "broadcaster.listen", PORT)
        self._addresses = [_url(listener) for listener in listeners]
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._serve_api(Api(self._runtime.paths, page, self.mjpegs, nursery))
            await nursery.start(self.fanout.run)
            nursery.start_soon(self.feed.run)
            nursery.start_soon(self.canary.run)
            with trio.move_on_after(FILL_SECONDS):
                await self.feed.filled.wait()
            accepting = trio.CancelScope()
            connections = await nursery.start(self._connections)
            nursery.start_soon(self._accept, listeners, connections, accepting)
            self._runtime.proofs["page"] = partial(self._prove, listeners[0])
            task_status.started()
            await self._runtime.draining.wait()
            accepting.cancel()
            await self.viewers.drain()
            nursery.cancel_scope.cancel()

    async def _prove(self, listener: trio.SocketListener) -> None:
        """What the watchdog tries: the port answers. A full house is no reason to end it."""
        if self.port.connections >= self.port.max_connections:
            return
        if self._shares_port:
            await ask_handler(self.port.serve, "/favicon.svg")
        else:
            await ask_http(listener, "/favicon.svg")

    @staticmethod
    async def _connections(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """A nursery that outlives the listeners, so that a drain can say goodbye."""
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()

    async def _accept(
        self,
        listeners: list[trio.SocketListener],
        connections: trio.Nursery,
        scope: trio.CancelScope,
    ) -> None:
        with scope:
            await trio.serve_listeners(self.port.serve, listeners, handler_nursery=connections)

    def _serve_api(self, api: Api) -> None:
        self._api = api
        self.port.router = Router(api.routes(), self._door(self._runtime.config), self._guard)

    def _places(self, config: Config) -> tuple[int, int]:
        """``max_viewers`` and ``max_per_address``; of several workers each has its share.

        No more viewers than there may be open files: to be turned away is better than to wait.
        """
        settings, health = config.broadcaster, self._runtime.health
        sharing = settings.workers if self._shares_port else 1
        viewers = ceil(settings.max_viewers / sharing)
        beside = _HTTP_CONNECTIONS + _OTHER_FILES
        files = allow_files(viewers + beside)
        room = max(1, files - beside)
        if room < viewers:
            text = f"room for {room} viewers instead of {viewers}: at most {files} open files"
            remedy = (
                "raise LimitNOFILE= of the unit, or ulimit -n; then: geoosctl restart broadcaster"
            )
            health.set("files", "warning", text, remedy)
        else:
            health.remove("files")
        return min(viewers, room), ceil(settings.max_per_address / sharing)

    @staticmethod
    def _door(config: Config) -> Doorkeeper:
        return Doorkeeper.of(config.broadcaster_listen.host, config.broadcaster.origins)

    def _wants_changed(self) -> None:
        first, *others = [
            view in self.hub.wanted or self.mjpegs[view].clients > 0 for view in VIEWS
        ]
        self.feed.want_pictures(first, list(compress(VIEWS[1:], others)))

    def _show(self, picture: bytes, view: int) -> None:
        if view < len(VIEWS):
            self.hub.show(picture, VIEWS[view])
            self.mjpegs[VIEWS[view]].show(picture)

    def _restarted(self, hello: Hello) -> None:
        """The compositor counts from a new epoch: everybody starts again from its scene."""
        self._runtime.log.info("new epoch", epoch=hello.epoch, seq=hello.seq)
        waiting = self.hub.restart(hello, self._runtime.now())
        for viewer in waiting:
            stream = self.fanout.stream_of(viewer)
            if stream is not None and self._nursery is not None:
                stream.catch_up()
                self._nursery.start_soon(self.viewers.let_in, stream)

    async def reload(self, config: Config) -> None:
        """Limits and origins take effect at once; another address needs a restart."""
        check_reload(self._runtime.config, config)
        self._take_guard(_guard(config, self._runtime.now))
        settings = config.broadcaster
        self.hub.limits = self.hub.limits._replace(max_lag=settings.max_lag)
        self.fanout.max_stall_seconds = settings.max_stall_seconds
        max_viewers, max_per_address = self._places(config)
        self.viewers.max_viewers = max_viewers
        self.viewers.default_tick = settings.tick
        self.viewers.census.limit = self.port.census.limit = max_per_address
        self.port.max_connections = max_viewers + _HTTP_CONNECTIONS
        self.port.router.door = self._door(config)

    def _take_guard(self, guard: Admission | None) -> None:
        """Another key ends all tokens, those of who is here already too."""
        before, self._guard = self._guard, guard
        self.port.router.guard = guard
        if guard is not None and (before is None or guard.key != before.key):
            self.viewers.turn_out("the key of the tokens is another one")
            for mjpeg in self.mjpegs.values():
                mjpeg.turn_out()

    def report(self) -> Report:
        """What :mod:`.adapters.insight` finds."""
        prompts = self._api.prompts if self._api is not None else 0
        return self._insight.report(self._addresses, prompts)


def _guard(config: Config, now: Callable[[], float]) -> Admission | None:
    """Who looks at tokens; None on loopback without a key. Raises :class:`ConfigError`."""
    startable.broadcaster(config)
    name = config.broadcaster.token_key
    if not name:
        return None
    from geoosd.broadcaster.adapters.guard import Guard, read_key  # jwt: only where it is used

    return Guard(read_key(name), now)


def _url(listener: trio.SocketListener) -> str:
    host, port, *_ = listener.socket.getsockname()
    return f"http://{Address(host, port)}/"


def create(runtime: Runtime) -> Service:
    """The broadcaster; or who keeps several, each of which is handed its sockets."""
    if runtime.config.broadcaster.workers > 1 and not runtime.is_handed(PORT):
        return Workers(runtime)
    return Broadcaster(runtime)


SPEC = ServiceSpec(
    name="broadcaster",
    summary="Serve WebSocket, page and pictures on one port, to any number of viewers.",
    create=create,
)
