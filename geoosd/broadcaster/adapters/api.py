"""What the port serves over HTTP, as a route table; most of it is asked of other daemons."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import trio
from msgspec import Meta

from geoosd.broadcaster.adapters.http import (
    Request,
    Response,
    Route,
    Streamed,
    as_json,
    body_of,
    failure,
    query_of,
    refusal,
)
from geoosd.broadcaster.adapters.mjpeg import Mjpeg
from geoosd.broadcaster.adapters.recorded import Recorded
from geoosd.broadcaster.adapters.static import File
from geoosd.broadcaster.adapters.themes import Themes
from geoosd.broadcaster.core.pictures import MEDIA_TYPE
from geoosd.config import Paths
from geoosd.errors import VarlinkError
from geoosd.runtime import varlink
from geoosd.wire.pictures import VIEWS
from geoosd.wire.varlink import UNAVAILABLE

ASK_SECONDS = 5.0
START_SECONDS = 30.0
"""A prompt's first session starts at once unless all of the upstream's places are taken."""
OTHERS_SECONDS = 0.5
MAX_PROMPTS = 16

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_NO_STORE = ("cache-control", "no-store")
_Format: TypeAlias = Literal["png", "jpeg", "webp"]
_FORMATS: dict[str, _Format] = {"png": "png", "jpg": "jpeg", "webp": "webp"}


class PromptRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``POST /api/prompt``; the parameters of ``io.geoos.Bridge.Prompt``."""

    prompt: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    models: Annotated[list[str], Meta(min_length=1, max_length=16)] | None = None
    all: bool | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None


class PictureRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The query of ``/snapshot.*``; what ``io.geoos.Compositor.Render`` takes."""

    width: Annotated[int, Meta(ge=16, le=4096)] | None = None
    height: Annotated[int, Meta(ge=16, le=4096)] | None = None
    theme: Annotated[str, Meta(max_length=64)] | None = None
    view: Annotated[str, Meta(max_length=256)] | None = None
    zoom: Annotated[float, Meta(gt=0)] | None = None
    center_x: float | None = None
    center_y: float | None = None
    labels: bool | None = None
    dpr: Annotated[float, Meta(ge=1, le=4)] | None = None


class StreamRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The query of ``/stream.mjpg``; *fps* pictures a second at most, of *view*."""

    fps: Annotated[float, Meta(ge=0.1, le=60)] = 30.0
    view: Annotated[str, Meta(max_length=256)] = VIEWS[0]


class Api:
    """The handlers. Prompts run on in *nursery* after they were answered."""

    def __init__(
        self,
        paths: Paths,
        page: Mapping[str, File],
        mjpegs: Mapping[str, Mjpeg],
        nursery: trio.Nursery,
    ) -> None:
        self._paths = paths
        self._page = page
        self._mjpegs = mjpegs
        self._nursery = nursery
        self.prompts = 0

    def routes(self) -> list[Route]:
        """The route table: path, method, access class, handler."""
        return [
            *(Route("GET", path, "read", self._file) for path in self._page),
            Route("GET", "/healthz", "read", self._healthz),
            Route("GET", "/metrics", "read", self._metrics),
            Route("GET", "/neural", "read", self._neural),
            *(
                Route("GET", f"/snapshot.{ending}", "read", partial(self._picture, format_))
                for ending, format_ in _FORMATS.items()
            ),
            Route("GET", "/stream.mjpg", "read", self._mjpeg_stream),
            Route("GET", "/api/status", "read", self._status),
            Route("POST", "/api/prompt", "change", self._prompt),
            *Themes(self._paths).routes(),
            *Recorded(self._paths).routes(),
        ]

    async def _file(self, request: Request) -> Response:
        return await self._page[request.path].respond(request)

    async def _healthz(self, _request: Request) -> Response:
        """200 while healthy or warning; of this daemon alone when control does not answer."""
        health = await self._all_or_own("GetHealth")
        return as_json(health, 200 if health["status"] in ("healthy", "warning") else 503)

    async def _metrics(self, _request: Request) -> Response:
        text = str((await self._all_or_own("GetMetrics"))["text"])
        return Response(200, text.encode(), _PROMETHEUS, (_NO_STORE,))

    async def _status(self, _request: Request) -> Response:
        return as_json(await self._control("GetStatus"))

    async def _neural(self, _request: Request) -> Response:
        """Whoever comes here without an upgrade has no WebSocket (RFC 9110 §15.5.22)."""
        text = "cannot serve this but as a WebSocket; see docs/client.md"
        wanted = ("upgrade", "websocket"), ("connection", "upgrade")
        return failure(426, "upgrade_required", text, *wanted)

    async def _picture(self, format_: _Format, request: Request) -> Response:
        wanted = query_of(request, PictureRequest)
        picture = await self._render({**msgspec.to_builtins(wanted), "format": format_})
        body, media_type = base64.b64decode(picture["image"]), str(picture["media_type"])
        return Response(200, body, media_type, (_NO_STORE,))

    async def _mjpeg_stream(self, request: Request) -> Response | Streamed:
        wanted = query_of(request, StreamRequest)
        mjpeg = self._mjpegs.get(wanted.view)
        if mjpeg is None:
            listed = ", ".join(self._mjpegs)
            reason = f"cannot stream view {wanted.view!r}: there are {listed}"
            return failure(400, "bad_request", reason)
        return Streamed(mjpeg.parts(wanted.fps), MEDIA_TYPE)

    async def _prompt(self, request: Request) -> Response:
        wanted = body_of(request, PromptRequest)
        if self.prompts >= MAX_PROMPTS:
            return failure(429, "too_many", "cannot start another prompt yet", ("retry-after", "5"))
        return await self._start(wanted)

    async def _start(self, wanted: PromptRequest) -> Response:
        """Run the prompt in the service's nursery; answer once its sessions have started."""
        running = _Running(None if wanted.all else len(wanted.models or [""]))
        self._nursery.start_soon(self._run, msgspec.to_builtins(wanted), running)
        with trio.move_on_after(START_SECONDS):
            await running.first.wait()
        if running.sessions:
            with trio.move_on_after(OTHERS_SECONDS):
                await running.complete.wait()
            return as_json({"sessions": running.sessions}, 202)
        if running.error is not None:
            return refusal(running.error)
        return failure(504, "timeout", "cannot wait any longer for the bridge to start the session")

    async def _run(self, parameters: dict[str, Any], running: _Running) -> None:
        """Keep the bridge's stream of one prompt open until it ends."""
        self.prompts += 1
        path = self._paths.varlink("bridge")
        try:
            async with varlink.stream(path, "io.geoos.Bridge.Prompt", parameters) as replies:
                async for reply in replies:
                    running.hear(reply.get("message"))
        except VarlinkError as error:
            running.error = error
            # What the bridge itself says is whole; that it says nothing names its socket.
            if error.error == UNAVAILABLE and str(path) in str(error) and not running.sessions:
                running.error = varlink.unavailable(
                    f"cannot ask the bridge: {error}; see geoosctl status"
                )
        finally:
            running.first.set()
            running.complete.set()
            self.prompts -= 1

    async def _control(self, method: str) -> dict[str, Any]:
        path = self._paths.varlink("control")
        return await varlink.call(path, f"io.geoos.Control.{method}", timeout=ASK_SECONDS)

    async def _all_or_own(self, method: str) -> dict[str, Any]:
        """What control says of all daemons; without it what this one says of itself, on the socket
        where everybody asks: whoever answers there speaks for all workers.
        """
        try:
            return await self._control(method)
        except VarlinkError:
            path = self._paths.varlink("broadcaster")
            return await varlink.call(path, f"io.geoos.Daemon.{method}", timeout=ASK_SECONDS)

    async def _render(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        path = self._paths.varlink("compositor")
        method = "io.geoos.Compositor.Render"
        return await varlink.call(path, method, parameters, timeout=ASK_SECONDS)


class _Running:
    """A prompt on its way; *expected* sessions, None when only the bridge knows how many."""

    def __init__(self, expected: int | None) -> None:
        self.sessions: list[str] = []
        self.error: VarlinkError | None = None
        self.first = trio.Event()
        self.complete = trio.Event()
        self._expected = expected

    def hear(self, message: Any) -> None:
        """Note the ids of sessions that start."""
        if not isinstance(message, dict) or message.get("message_type") != "SessionStarted":
            return
        self.sessions.append(str(message["payload"]["session"]))
        self.first.set()
        if len(self.sessions) == self._expected:
            self.complete.set()
