"""Varlink server and client on trio (https://varlink.org).

The server knows its peers by SO_PEERCRED and SO_PEERGROUPS and gives each method an access class
(docs/interfaces.md): ``read`` and ``use`` for group geoos, ``admin`` for root and group
geoos-admin; our own user may do everything. A call is cancelled when its caller goes away.
"""

from __future__ import annotations

import array
import grp
import os
import re
import select
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
import trio

from geoosd import __version__
from geoosd.errors import FrameTooLarge, MessageError, VarlinkError, reason_of
from geoosd.runtime.pace import Paces
from geoosd.wire import varlink as wire

_SO_PEERGROUPS = 59
_MAX_GROUPS_BYTES = 1024  # CPython's limit of a getsockopt buffer: 256 groups
_MAX_CONNECTIONS = 256
_MAX_OF_ONE = 192
"""Connections of one process, such as control on behalf of many: some are left for the others."""
_CALLS_PER_SECOND, _CALLS_AT_ONCE = 500.0, 500.0
"""Of one process, over all its connections; it is read more slowly beyond that."""
_MAX_WAITING_CALLS = 16
_HANGUP_POLL = 0.5
_READ_GROUP = "geoos"
_ADMIN_GROUP = "geoos-admin"

Access: TypeAlias = Literal["read", "use", "admin"]
T = TypeVar("T")


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a Unix socket, as of its connect(2)."""

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, stream: trio.SocketStream) -> Peer:
        """The peer's credentials by the kernel's word; no /proc, no race, no name service."""
        sock = stream.socket
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = struct.unpack("3i", credentials)
        try:
            raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_BYTES)
            groups = frozenset(array.array("I", raw))
        except OSError:
            # More groups than fit: then none counts, which can only refuse.
            groups = frozenset()
        return cls(pid, uid, groups | {gid})


def _gid(name: str) -> set[int]:
    try:
        return {grp.getgrnam(name).gr_gid}
    except KeyError:
        return set()


@dataclass(frozen=True)
class Policy:
    """Which groups may do what."""

    read_gids: frozenset[int]
    admin_gids: frozenset[int]

    @classmethod
    def of_system(cls) -> Policy:
        """The groups ``geoos`` and ``geoos-admin``, where they exist."""
        admin = _gid(_ADMIN_GROUP)
        return cls(frozenset(_gid(_READ_GROUP) | admin), frozenset(admin))

    def allows(self, peer: Peer, access: Access) -> bool:
        """Whether *peer* may call a method of class *access*."""
        if peer.uid in (0, os.getuid()):
            return True
        return bool(peer.groups & (self.admin_gids if access == "admin" else self.read_gids))


class IncomingCall:
    """One call: its parameters, its caller, and the way to send replies before the last one."""

    def __init__(
        self, call: wire.Call, peer: Peer, send: Callable[[wire.Reply], Awaitable[None]]
    ) -> None:
        self.method = call.method
        self.parameters: dict[str, Any] = call.parameters or {}
        self.more = call.more
        self.peer = peer
        self._send = send

    def convert(self, kind: type[T]) -> T:
        """The parameters as *kind*; InvalidArgument that names the field otherwise."""
        try:
            return msgspec.convert(self.parameters, kind)
        except msgspec.ValidationError as error:
            reason = re.sub(r" - at `\$\.?([^`]*)`$", r" at \1", str(error))
            raise invalid_argument(f"cannot call {self.method}: {reason}") from None

    async def reply(self, parameters: Mapping[str, Any]) -> None:
        """Send one reply that another one follows."""
        if not self.more:
            raise VarlinkError(f"{wire.SERVICE}.ExpectedMore")
        await self._send(wire.Reply(dict(parameters), continues=True))


Handler: TypeAlias = Callable[[IncomingCall], Awaitable[Mapping[str, Any] | None]]


def invalid_argument(reason: str) -> VarlinkError:
    """``io.geoos.InvalidArgument``."""
    return VarlinkError(wire.INVALID_ARGUMENT, {"reason": reason})


def unavailable(reason: str) -> VarlinkError:
    """``io.geoos.Unavailable``."""
    return VarlinkError(wire.UNAVAILABLE, {"reason": reason})


class VarlinkServer:
    """Interfaces, their methods and the connections on which they are called.

    *on_bug* hears of an exception that a handler should not have raised; its caller gets
    ``Unavailable`` and everything else goes on.
    """

    def __init__(
        self,
        product: str,
        *,
        policy: Policy | None = None,
        on_bug: Callable[[str, BaseException], None],
    ) -> None:
        self._product = product
        self._policy = policy or Policy.of_system()
        self._on_bug = on_bug
        self._descriptions: dict[str, str] = {}
        self._declared: set[str] = set()
        self._methods: dict[str, tuple[Access, Handler]] = {}
        self._connections: Counter[int] = Counter()
        self._paces = Paces(_CALLS_PER_SECOND, _CALLS_AT_ONCE)
        self.add_interface(wire.interface(wire.SERVICE))
        self.add_interface(wire.interface("io.geoos"))
        self.add(f"{wire.SERVICE}.GetInfo", self._get_info)
        self.add(f"{wire.SERVICE}.GetInterfaceDescription", self._get_description)

    def add_interface(self, description: str) -> None:
        """Declare an interface, so that clients can introspect it."""
        name = wire.interface_name(description)
        self._descriptions[name] = description
        self._declared.update(f"{name}.{method}" for method in wire.method_names(description))

    def add(self, method: str, handler: Handler, access: Access = "read") -> None:
        """Have *handler* answer *method*, which a declared interface must contain."""
        if method not in self._declared:
            raise ValueError(f"no declared interface has {method}")
        self._methods[method] = (access, handler)

    async def serve(self, listener: trio.SocketListener) -> None:
        """Serve every connection of *listener*; runs until cancelled."""
        await trio.serve_listeners(self._serve_connection, [listener])

    async def _get_info(self, _call: IncomingCall) -> Mapping[str, Any]:
        return {
            "vendor": "geoos",
            "product": self._product,
            "version": __version__,
            "url": "",
            "interfaces": sorted(self._descriptions),
        }

    async def _get_description(self, call: IncomingCall) -> Mapping[str, Any]:
        name = call.parameters.get("interface")
        if not isinstance(name, str) or name not in self._descriptions:
            raise VarlinkError(f"{wire.SERVICE}.InterfaceNotFound", {"interface": str(name)})
        return {"description": self._descriptions[name]}

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await self._serve_peer(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # it went away; of a nursery's errors, suppress() would let the group through
        except* Exception as group:  # noqa: BLE001 - the firewall: one client never ends the rest
            self._on_bug("varlink connection", group)

    async def _serve_peer(self, stream: trio.SocketStream) -> None:
        connection = _Connection(stream, self._answer, self._paces)
        pid, counts = connection.peer.pid, self._connections
        full = counts.total() >= _MAX_CONNECTIONS
        if full or counts[pid] >= _MAX_OF_ONE:
            await connection.turn_away("of all" if full else f"of process {pid}")
            return
        counts[pid] += 1
        try:
            await connection.run()
        finally:
            counts[pid] -= 1
            if not counts[pid]:
                del counts[pid]

    async def _answer(
        self, call: wire.Call, peer: Peer, send: Callable[[wire.Reply], Awaitable[None]]
    ) -> wire.Reply:
        """The last reply to *call*."""
        try:
            access, handler = self._find(call.method)
            if not self._policy.allows(peer, access):
                raise VarlinkError(wire.PERMISSION_DENIED, {"reason": _denial(call.method, access)})
            parameters = await handler(IncomingCall(call, peer, send))
            return wire.Reply(dict(parameters or {}))
        except VarlinkError as error:
            return wire.Reply(error.parameters, error=error.error)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001 - the firewall of the daemon
            self._on_bug(call.method, error)
            reason = f"cannot answer {call.method}: an internal error; see geoosctl logs"
            return wire.Reply({"reason": reason}, error=wire.UNAVAILABLE)

    def _find(self, method: str) -> tuple[Access, Handler]:
        if found := self._methods.get(method):
            return found
        interface = method.rpartition(".")[0]
        if method in self._declared:
            raise VarlinkError(f"{wire.SERVICE}.MethodNotImplemented", {"method": method})
        if interface in self._descriptions:
            raise VarlinkError(f"{wire.SERVICE}.MethodNotFound", {"method": method})
        raise VarlinkError(f"{wire.SERVICE}.InterfaceNotFound", {"interface": interface})


def _denial(method: str, access: Access) -> str:
    # The sockets open for the first group alone: an administrator is in both.
    groups = f"{_READ_GROUP},{_ADMIN_GROUP}" if access == "admin" else _READ_GROUP
    return (
        f"cannot call {method}: needs root or group {groups.rpartition(',')[2]}; "
        f"use sudo, or: sudo usermod -aG {groups} $USER, and log in again"
    )


Answer: TypeAlias = Callable[
    [wire.Call, Peer, Callable[[wire.Reply], Awaitable[None]]], Awaitable[wire.Reply]
]


_Said: TypeAlias = bytes | FrameTooLarge | MessageError
"""What a client has said: a call, or what cannot be read as one; nothing follows that."""
_NEWLINE = "a call ends in NUL, not in newline: printf '%s\\0'"


class _Connection:
    """One client: reads ahead a little, answers in order, notices when the client goes away."""

    def __init__(self, stream: trio.SocketStream, answer: Answer, paces: Paces) -> None:
        self._stream = stream
        self._answer = answer
        self._paces = paces
        self.peer = Peer.of(stream)

    async def turn_away(self, whose: str) -> None:
        """Say that there are too many connections, and be done."""
        reason = f"cannot serve more connections {whose}; close some and try again"
        with trio.move_on_after(1.0):
            await self._send(wire.Reply({"reason": reason}, error=wire.UNAVAILABLE))

    async def run(self) -> None:
        send, receive = trio.open_memory_channel[_Said](_MAX_WAITING_CALLS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, send, nursery.cancel_scope)
            async with receive:
                async for said in receive:
                    if not await self._one(said):
                        break
            nursery.cancel_scope.cancel()

    async def _read(
        self, calls: trio.MemorySendChannel[_Said], connection: trio.CancelScope
    ) -> None:
        """Read only: one task alone may send, or the stream raises."""
        splitter = wire.Splitter(wire.MAX_CALL)
        async with calls:
            try:
                async for chunk in self._stream:
                    for raw in splitter.receive(chunk):
                        await calls.send(raw)
                    if splitter.unterminated_call():
                        raise MessageError("malformed", _NEWLINE)
            except (FrameTooLarge, MessageError) as error:
                await calls.send(error)
            except trio.BrokenResourceError:
                connection.cancel()
                return
            # A client may close only its sending side and wait for the answer.
            if _hung_up(self._stream):
                connection.cancel()
                return
        # trio can wait for readability alone, which a half-closed stream has for ever.
        while not _hung_up(self._stream):  # noqa: ASYNC110
            await trio.sleep(_HANGUP_POLL)
        connection.cancel()

    async def _one(self, said: _Said) -> bool:
        """Answer one call; False when the connection had better be closed."""
        if wait := self._paces.spend(self.peer.pid, trio.current_time()):
            await trio.sleep(wait)
        try:
            call = _call_of(said)
        except (FrameTooLarge, MessageError) as error:
            await self._send(wire.Reply({"reason": str(error)}, error=wire.INVALID_ARGUMENT))
            return False
        reply = await self._answer(call, self.peer, _discard if call.oneway else self._send)
        if not call.oneway:
            await self._send(reply)
        return True

    async def _send(self, reply: wire.Reply) -> None:
        await self._stream.send_all(wire.encode(reply))


def _call_of(said: _Said) -> wire.Call:
    if isinstance(said, bytes):
        return wire.decode_call(said)
    raise said


async def _discard(_reply: wire.Reply) -> None:
    """Where the replies to a oneway call go."""


def _hung_up(stream: trio.SocketStream) -> bool:
    """Whether the peer has closed both directions (POLLHUP), not only its sending one."""
    fd = stream.socket.fileno()
    if fd < 0:
        return True
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


# -- client ----------------------------------------------------------------------------------------


class Replies:
    """The replies to one call with ``more``, in order."""

    def __init__(self, replies: AsyncGenerator[dict[str, Any], None]) -> None:
        self._replies = replies

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self._replies


async def call(
    path: Path,
    method: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout: float = 5.0,
) -> dict[str, Any]:
    """Call *method* once over the socket *path*.

    Raises :class:`VarlinkError`: the peer's error, or ``io.geoos.Unavailable`` when nobody answers
    within *timeout* seconds.
    """
    with trio.move_on_after(timeout):
        async with _open(path, wire.Call(method, dict(parameters or {}))) as replies:
            async for reply in replies:
                return reply
        raise unavailable(f"cannot call {method}: {path} closed the connection")
    raise unavailable(f"cannot call {method}: no answer from {path} within {timeout:g} s")


@asynccontextmanager
async def stream(
    path: Path, method: str, parameters: Mapping[str, Any] | None = None
) -> AsyncIterator[Replies]:
    """Call *method* with ``more``; leaving the block ends the call.

    Raises :class:`VarlinkError` as :func:`call` does, also from the iteration.
    """
    async with _open(path, wire.Call(method, dict(parameters or {}), more=True)) as replies:
        yield Replies(replies)


@asynccontextmanager
async def _open(
    path: Path, message: wire.Call
) -> AsyncIterator[AsyncGenerator[dict[str, Any], None]]:
    try:
        connection = await trio.open_unix_socket(os.fspath(path))
    except OSError as error:
        reason = reason_of(error)
        raise unavailable(f"cannot reach {path}: {reason.lower()}") from None
    async with connection, aclosing(_replies(connection, message, path)) as replies:
        yield replies


async def _replies(
    connection: trio.SocketStream, message: wire.Call, path: Path
) -> AsyncGenerator[dict[str, Any], None]:
    splitter = wire.Splitter()
    try:
        await connection.send_all(wire.encode(message))
        async for chunk in connection:
            for raw in splitter.receive(chunk):
                reply = wire.decode_reply(raw)
                if reply.error is not None:
                    raise VarlinkError(reply.error, reply.parameters)
                yield reply.parameters or {}
                if not reply.continues:
                    return
    except (trio.BrokenResourceError, FrameTooLarge, MessageError) as error:
        raise unavailable(f"cannot call {message.method} on {path}: {error}") from None
    raise unavailable(f"cannot call {message.method}: {path} closed the connection")
