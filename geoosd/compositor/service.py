"""The compositor: takes messages, places tokens, keeps the scene, draws it, numbers the feed.

``ingest.sock`` → validate (:mod:`.core.intake`) → place (:mod:`.core.places`) → apply
(:mod:`.core.scene`) → ring (:mod:`.adapters.feed`) → ``feed.sock``. Pictures are drawn only when
somebody asks (``io.geoos.Compositor``), frames (:mod:`.adapters.frames`) only while a consumer of
the feed demands them; what draws them is :mod:`.adapters.backends`' choice.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct
from prometheus_client import Counter

from geoosd.compositor.adapters import gpu_profile
from geoosd.compositor.adapters.backends import Backends
from geoosd.compositor.adapters.encode import MEDIA_TYPES, Format
from geoosd.compositor.adapters.feed import SocketFeed
from geoosd.compositor.adapters.frames import Frames
from geoosd.compositor.adapters.ingest import Ingest
from geoosd.compositor.adapters.keeper import Keeper
from geoosd.compositor.adapters.lettering import lettered
from geoosd.compositor.adapters.looking import LayoutQuery, RenderQuery
from geoosd.compositor.adapters.painter import Painter, Sketch
from geoosd.compositor.adapters.themes import Themes
from geoosd.compositor.core import views
from geoosd.compositor.core.feed import Feed
from geoosd.compositor.core.layouts import Layout, Parts
from geoosd.compositor.core.look import Drawing, Look
from geoosd.compositor.core.moment import moment
from geoosd.compositor.core.pacing import Pacer
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.plan import FramePlan
from geoosd.compositor.core.scene import Scene
from geoosd.config import Config
from geoosd.errors import MessageError, reason_of
from geoosd.runtime import sockets
from geoosd.runtime.health import Finding
from geoosd.runtime.metrics import RateMeter
from geoosd.runtime.service import Report, Runtime, ServiceSpec
from geoosd.runtime.varlink import (
    Access,
    Handler,
    IncomingCall,
    invalid_argument,
    unavailable,
)
from geoosd.runtime.watchdog import ask_unix
from geoosd.wire import framing, messages, pictures
from geoosd.wire import varlink as wire
from geoosd.wire.canary import passed
from geoosd.wire.messages import (
    Canary,
    Message,
    NeuralStateUpdate,
    ProducerHello,
    Snapshot,
    Theme,
    ThemeChanged,
    TokenVisualizationUpdate,
)

_INTERFACE: Final = "io.geoos.Compositor"
_FRAME_SIZE: Final = 1280, 720
_WATCHDOG: Final = "watchdog"
"""The name of the producer that only tries whether it is answered."""


class _ThemeName(Struct, forbid_unknown_fields=True):
    name: str


class _ThemeToSave(Struct, forbid_unknown_fields=True):
    theme: Theme


class _MaybeThemeName(Struct, forbid_unknown_fields=True):
    name: str | None = None


class Compositor:
    """The service."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._scene = Scene(runtime.config.compositor.decay_seconds)
        self._places = Places()
        self._themes = Themes(runtime.state_dir)
        self._keeper = Keeper(runtime, self._scene, self._themes)
        self._tokens, self._messages, self._drawn = RateMeter(), RateMeter(), RateMeter()
        self._ingest = Ingest(self._take, now=runtime.now)
        self._carrier = SocketFeed(
            secrets.token_hex(8),
            snapshot=self._snapshot,
            theme=lambda: self._themes.current,
            now=runtime.now,
            on_demand=self._ingest.pass_on,
            on_watcher=lambda: self._frames.changed(),
            listen=partial(runtime.listen_unix, "feed", "feed.sock"),
        )
        self._feed: Feed = self._carrier
        self._painter = Painter(runtime.registry, Backends(runtime.log))
        settings = runtime.config.compositor
        self._frames = Frames(
            Pacer(settings.fps),
            is_watched=lambda: bool(self._feed.views),
            fades_until=self._fades_until,
            draw=self._draw_frame,
            registry=runtime.registry,
        )
        self._taken = Counter(
            "geoos_compositor_messages",
            "Messages taken from producers, by type",
            ["type"],
            registry=runtime.registry,
        )
        self._layout_parts = Parts()
        self._restored = False
        self._canary: float | None = None
        self._register()

    def _register(self) -> None:
        server, health = self._runtime.varlink, self._runtime.health
        server.add_interface(wire.interface(_INTERFACE))
        for name, handler, access in self._methods():
            server.add(f"{_INTERFACE}.{name}", partial(self._once_restored, handler), access)
        health.add_probe("ingest", self._probe_ingest)
        health.add_probe("drawing", self._painter.backends.health)

    def _methods(self) -> Iterator[tuple[str, Handler, Access]]:
        yield "Render", self._render, "use"
        yield "ListThemes", self._list_themes, "read"
        yield "GetTheme", self._get_theme, "read"
        yield "SetTheme", self._set_theme, "admin"
        yield "SaveTheme", self._save_theme, "use"
        yield "AdoptLayout", self._adopt_layout, "admin"
        yield "Save", self._save, "admin"

    async def _once_restored(
        self, handler: Handler, call: IncomingCall
    ) -> Mapping[str, Any] | None:
        """The socket is open before the state is there: what is saved now would replace it."""
        if not self._restored:
            raise unavailable("cannot do this yet: the compositor is starting; try again")
        return await handler(call)

    # -- life --------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Restore the state, open the sockets, warm the renderer up; then serve."""
        runtime = self._runtime
        keeper = self._keeper
        await keeper.load_themes()
        self._places = await keeper.restore()
        self._restored = True
        runtime.health.add_probe("state", keeper.probe)
        runtime.export = lambda: keeper.export(self._places)
        ingest = runtime.listen_unix("ingest", "ingest.sock")
        await self._painter.paint(self._first_picture, "png")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._ingest.serve, [ingest])
            await nursery.start(self._carrier.run)
            if path := runtime.config.compositor.legacy_socket:
                nursery.start_soon(self._serve_legacy, _bind_legacy(Path(path)), Path(path))
            nursery.start_soon(keeper.run)
            nursery.start_soon(self._frames.run)
            self._add_proofs()
            nursery.start_soon(
                self._painter.backends.seek, runtime.config.compositor, runtime.state_dir
            )
            task_status.started()
            await runtime.draining.wait()
            nursery.cancel_scope.cancel()
        await self._painter.backends.close()
        await keeper.save()

    def _add_proofs(self) -> None:
        """What the watchdog tries: a producer's hello is acknowledged, a consumer is answered."""
        paths, proofs = self._runtime.paths, self._runtime.proofs
        hello = framing.encode_frame(messages.encode(ProducerHello(_WATCHDOG, 1), 0.0))
        proofs["ingest"] = partial(ask_unix, paths.socket("ingest.sock"), hello)
        proofs["feed"] = self._carrier.prove

    async def _serve_legacy(self, listener: trio.SocketListener, path: Path) -> None:
        """The predecessor's socket: the same framing, and no hello."""
        try:
            await trio.serve_listeners(self._ingest.serve, [listener])
        finally:
            path.unlink(missing_ok=True)

    async def reload(self, config: Config) -> None:
        """Take over decay, record and themes; sockets stay as they are."""
        before = self._themes.current
        await self._keeper.load_themes()
        if self._themes.current != before:
            self._tell_theme()
        settings = config.compositor
        self._scene.activation.set_decay(settings.decay_seconds, trio.current_time())
        self._frames.pacer.set_pace(settings.fps)
        self._frames.changed()

    # -- the data path -----------------------------------------------------------------------------

    async def _take(self, batch: list[Message]) -> list[MessageError]:
        """Place, apply, publish; no token of a new district is shown before that is on disk."""
        refused: list[MessageError] = []
        good: list[Message] = []
        for message in batch:
            payload = message.payload
            if type(payload) is Canary:
                payload.hops["compositor"] = self._canary = self._runtime.now()
                good.append(message)
                continue
            if type(payload) is TokenVisualizationUpdate:
                try:
                    self._places.place(payload)
                except MessageError as error:
                    refused.append(error)
                    continue
            good.append(message)
        await self._keeper.secure(self._places)
        # From here on without a pause: a frame shows exactly the messages up to its seq.
        now = trio.current_time()
        counts: dict[type, int] = {}
        for message in good:
            payload = message.payload
            self._scene.apply(payload, message.timestamp, now)
            self._feed.publish(payload, message.timestamp)
            counts[type(payload)] = counts.get(type(payload), 0) + 1
        self._feed.wake()
        for kind, count in counts.items():
            self._taken.labels(kind.__name__).inc(count)
        self._tokens.add(counts.get(TokenVisualizationUpdate, 0), now)
        self._messages.add(sum(counts.values()), now)
        if counts.get(TokenVisualizationUpdate) or counts.get(NeuralStateUpdate):
            self._frames.changed()
        return refused

    def _snapshot(self, at_seq: int) -> Snapshot:
        return self._scene.snapshot(at_seq, self._places.districts, trio.current_time())

    # -- what is told ------------------------------------------------------------------------------

    def report(self) -> Report:
        """Rates, queues, and what there is on the map."""
        now = trio.current_time()
        scene = self._scene
        sessions = len(scene.in_flight)
        rate = self._tokens.per_second(now)
        return Report(
            status=f"{rate:.0f} tokens/s, {sessions} session{'' if sessions == 1 else 's'}, "
            f"feed consumers {self._feed.consumers}; {self._painter.status()}",
            addresses=[str(self._runtime.paths.socket("ingest.sock")), *self._carrier.addresses],
            rates={
                "tokens": round(rate, 2),
                "messages": round(self._messages.per_second(now), 2),
                "frames": round(self._drawn.per_second(now), 2),
            },
            queues=[*self._feed.queues(), self._painter.queue()],
            details={
                **self._painter.details(),
                "frames": str(self._frames.count),
                "theme": self._themes.in_use,
                "epoch": self._feed.epoch,
                "seq": str(self._feed.newest),
                "producers": ", ".join(self._ingest.connected) or "none",
                "districts": str(len(self._places)),
                "active_cells": str(scene.activation.alive(now)),
                "remembered_cells": str(scene.memory.alive(now)),
                "refused_messages": str(self._ingest.errors + self._feed.errors),
                "repeated_messages": str(self._ingest.repeats),
                **passed(self._canary),
            },
        )

    def _probe_ingest(self) -> Finding:
        """Having no producer is no fault: the map then stands still."""
        if names := [name for name in self._ingest.connected if name != _WATCHDOG]:
            return "healthy", f"messages come from {', '.join(names)}", None
        return "healthy", "no producer is connected; the map stands still", None

    def _first_picture(self) -> Sketch:
        """A small one, with words: what drawing needs is loaded before anybody waits for it."""
        taken = moment(self._scene, self._places, trio.current_time())
        return lambda: lettered(views.draw(taken, Look("layers", 64, 64), self._themes.current))

    # -- io.geoos.Compositor -----------------------------------------------------------------------

    async def _render(self, call: IncomingCall) -> Mapping[str, Any]:
        query = call.convert(RenderQuery)
        theme = self._themed(query.theme)
        look = query.look()
        drawn: list[Drawing] = []

        def take() -> Sketch:
            taken = moment(self._scene, self._places, trio.current_time())

            def sketch() -> FramePlan:
                drawn.append(views.draw(taken, look, theme))
                return lettered(drawn[-1])

            return sketch

        picture_format: Format = query.format or "png"
        picture = await self._painter.paint(take, picture_format)
        view = drawn[-1].view
        return {
            "image": b64encode(picture).decode(),
            "media_type": MEDIA_TYPES[picture_format],
            "width": look.width,
            "height": look.height,
            "center_x": view.center_x,
            "center_y": view.center_y,
            "scale": view.scale,
        }

    def _fades_until(self, now: float) -> float:
        return self._scene.activation.dark_at(now) if views.FADING & set(self._feed.views) else now

    async def _draw_frame(self) -> None:
        """A picture of each view that somebody watches."""
        for view in self._feed.views:
            await self._draw_view(view)

    async def _draw_view(self, view: str) -> None:
        width, height = _FRAME_SIZE
        look = Look(view, width, height)
        seq = 0

        def take() -> Sketch:
            nonlocal seq
            seq, theme = self._feed.newest, self._themes.current
            taken = moment(self._scene, self._places, trio.current_time())
            return lambda: lettered(views.draw(taken, look, theme))

        data = await self._painter.paint(take, "jpeg")
        self._drawn.add(1, trio.current_time())
        number = pictures.VIEWS.index(view)
        self._feed.show(pictures.Picture(width, height, seq, data, number))

    async def _list_themes(self, _call: IncomingCall) -> Mapping[str, Any]:
        return {
            "themes": msgspec.to_builtins(self._themes.all),
            "current": self._themes.in_use,
        }

    async def _get_theme(self, call: IncomingCall) -> Mapping[str, Any]:
        theme = self._themed(call.convert(_MaybeThemeName).name)
        return {"theme": msgspec.to_builtins(theme)}

    async def _set_theme(self, call: IncomingCall) -> Mapping[str, Any]:
        theme = self._themes.find(call.convert(_ThemeName).name)
        self._themes.chosen = theme.name
        self._tell_theme()
        await self._keeper.save_choice(self._places)
        return {"theme": msgspec.to_builtins(theme)}

    async def _save_theme(self, call: IncomingCall) -> Mapping[str, Any]:
        theme = call.convert(_ThemeToSave).theme
        created = await self._themes.save(theme)
        if theme is self._themes.current:
            self._tell_theme()
        return {"created": created}

    async def _adopt_layout(self, call: IncomingCall) -> Mapping[str, Any]:
        query = call.convert(LayoutQuery)
        try:
            layout = None
            if query.tokens:
                whole = query.whole(self._layout_parts)
                if whole is None:
                    return {"layout": None, "changed": False}
                layout = await trio.to_thread.run_sync(Layout, whole)
            changed = await self._keeper.adopt(self._places, query.model, layout)
        except ValueError as error:
            raise invalid_argument(f"cannot adopt the layout of {query.model}: {error}") from None
        except OSError as error:
            raise unavailable(
                f"cannot keep the layout of {query.model}: {reason_of(error)}"
            ) from None
        return {"layout": 0 if layout is None else layout.version, "changed": changed}

    async def _save(self, _call: IncomingCall) -> Mapping[str, Any]:
        if not await self._keeper.save():
            raise unavailable("cannot save the state; geoosctl health says why")
        return {}

    def _themed(self, name: str | None) -> Theme:
        return self._themes.current if name is None else self._themes.find(name)

    def _tell_theme(self) -> None:
        """Viewers and pictures show the current theme from now on."""
        self._feed.publish(ThemeChanged(self._themes.current), self._runtime.now())
        self._feed.wake()
        self._frames.changed()


def _bind_legacy(path: Path) -> trio.SocketListener:
    sock = sockets.bind_unix(path)
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


SPEC = ServiceSpec(
    name="compositor",
    summary="Place tokens on the map, keep the neural state, draw it.",
    create=Compositor,
    add_arguments=gpu_profile.add_arguments,
)
