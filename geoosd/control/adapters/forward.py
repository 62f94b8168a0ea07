"""Calls that one daemon alone can answer, passed on to it and back.

Whoever talks to control needs no other socket. A daemon that is away gives ``Unavailable`` that
says which one and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from geoosd.config import Paths
from geoosd.errors import VarlinkError
from geoosd.runtime import varlink
from geoosd.runtime.varlink import Access, Handler, IncomingCall, VarlinkServer, unavailable
from geoosd.wire import varlink as wire

_FORWARDED: Final[tuple[tuple[str, str, str, Access, float], ...]] = (
    ("ListModels", "bridge", "io.geoos.Bridge.ListModels", "read", 10.0),
    ("ListViewers", "broadcaster", "io.geoos.Broadcaster.ListViewers", "read", 5.0),
    ("DisconnectViewer", "broadcaster", "io.geoos.Broadcaster.DisconnectViewer", "admin", 5.0),
    ("Snapshot", "compositor", "io.geoos.Compositor.Render", "use", 30.0),
    ("ListThemes", "compositor", "io.geoos.Compositor.ListThemes", "read", 5.0),
    ("SetTheme", "compositor", "io.geoos.Compositor.SetTheme", "admin", 5.0),
    ("AdoptLayout", "compositor", "io.geoos.Compositor.AdoptLayout", "admin", 30.0),
    ("ListSessions", "bridge", "io.geoos.Bridge.ListSessions", "read", 30.0),
    ("GetSession", "bridge", "io.geoos.Bridge.GetSession", "read", 30.0),
    ("DeleteSession", "bridge", "io.geoos.Bridge.DeleteSession", "admin", 30.0),
    ("StopReplay", "bridge", "io.geoos.Bridge.StopReplay", "admin", 5.0),
    ("AddFeedback", "bridge", "io.geoos.Bridge.AddFeedback", "use", 30.0),
    ("ListFeedback", "bridge", "io.geoos.Bridge.ListFeedback", "read", 30.0),
)
"""Our method, the daemon, its method, the access class, seconds until we give up."""


def register(server: VarlinkServer, interface: str, paths: Paths) -> None:
    """Add the forwarded methods to control's *server*."""
    for ours, daemon, method, access, timeout in _FORWARDED:
        handler = _forwarder(daemon, paths.varlink(daemon), method, timeout)
        server.add(f"{interface}.{ours}", handler, access)
    bridge = paths.varlink("bridge")
    server.add(f"{interface}.Prompt", _prompter(bridge), "use")
    server.add(f"{interface}.ReplaySession", _replayer(bridge), "admin")


def needs_more(call: IncomingCall) -> None:
    """Refuse a call whose answer is a stream when the caller takes one reply only."""
    if not call.more:
        raise VarlinkError(f"{wire.SERVICE}.ExpectedMore")


def _forwarder(daemon: str, path: Path, method: str, timeout: float) -> Handler:
    async def forward(call: IncomingCall) -> Mapping[str, Any]:
        try:
            return await varlink.call(path, method, call.parameters, timeout=timeout)
        except VarlinkError as error:
            raise explained(daemon, path, error) from None

    return forward


def _prompter(path: Path) -> Handler:
    async def prompt(call: IncomingCall) -> Mapping[str, Any]:
        """Pass each message on as it comes; a null message then ends the stream.

        Which message is the last is known only after it: waiting for that would delay each.
        """
        needs_more(call)
        # Who asks is known here alone; at a busy upstream they take turns.
        asked = {**call.parameters, "client": f"{call.peer.uid}:{call.peer.pid}"}
        try:
            async with varlink.stream(path, "io.geoos.Bridge.Prompt", asked) as replies:
                async for reply in replies:
                    if reply.get("message") is not None:
                        await call.reply(reply)
        except VarlinkError as error:
            raise explained("bridge", path, error) from None
        return {"message": None}

    return prompt


def _replayer(path: Path) -> Handler:
    method = "io.geoos.Bridge.ReplaySession"
    start = _forwarder("bridge", path, method, 30.0)

    async def replay(call: IncomingCall) -> Mapping[str, Any] | None:
        """Start it, or pass each message on as in :func:`_prompter`."""
        if not call.more:
            return await start(call)
        session = None
        try:
            async with varlink.stream(path, method, call.parameters) as replies:
                async for reply in replies:
                    session = reply.get("session", session)
                    await call.reply(reply)
        except VarlinkError as error:
            raise explained("bridge", path, error) from None
        return {"session": session, "message": None}

    return replay


def explained(daemon: str, path: Path, error: VarlinkError) -> VarlinkError:
    """The daemon's own error, or which daemon does not answer and where to look."""
    if error.error != wire.UNAVAILABLE or str(path) not in str(error):
        return error
    return unavailable(f"cannot ask the {daemon}: {error}; see: geoosctl status")
