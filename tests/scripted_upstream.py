"""A model server that says what a test wants, byte by byte, and a proxy in front of it."""

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h11
import trio

from geoosd.bridge.adapters.http_connection import DEFAULT_LIMITS
from geoosd.bridge.adapters.proxy import Proxy
from geoosd.bridge.core.exchange import Exchange, dialect_of
from geoosd.bridge.core.router import Route
from geoosd.config import Upstream

RECORDINGS = Path(__file__).parent / "data" / "sse"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nX-Accel-Buffering: no\r\n"
    b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@dataclass
class Seen:
    """A request as an upstream got it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]

    def get(self, name):
        return next((value for key, value in self.headers if key == name), None)


Script = Callable[[trio.SocketStream, Seen], Awaitable[None]]


@dataclass
class ScriptedUpstream:
    """Plays *script* for each request; it writes raw bytes. The connection is kept after it unless
    the script closed it."""

    script: Script
    id: str = "scripted"
    models: tuple[str, ...] = ()
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    port: int = 0
    key: str | None = None
    timeout: float = 30.0
    path: str = ""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def posts(self):
        return [seen for seen in self.requests if seen.method == b"POST"]

    async def serve(self, stream):
        self.connections += 1
        self.open_connections += 1
        state = h11.Connection(h11.SERVER)
        try:
            while (seen := await _read_request(state, stream)) is not None:
                self.requests.append(seen)
                await self.script(stream, seen)
                state = h11.Connection(h11.SERVER)  # the script wrote the answer past it
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        finally:
            self.open_connections -= 1
            await trio.aclose_forcefully(stream)


async def _read_request(state, stream):
    head, body = None, b""
    while True:
        event = state.next_event()
        if event is h11.NEED_DATA:
            state.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Seen(head.method, head.target, list(head.headers), body, list(event.headers))
        else:
            return None


def chunks_of(body, size):
    """*body* cut into pieces of *size* bytes; 0: whole."""
    return [body[at : at + size] for at in range(0, len(body), size)] if size else [body]


def chunk(data):
    """*data* as one chunk of the chunked coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def answers(raw):
    """A script that writes *raw*."""

    async def script(stream, seen):
        await stream.send_all(raw)

    return script


def streams(pieces, *, head=SSE_HEAD, trailers=b"", pause=trio.lowlevel.checkpoint):
    """A script that writes an event stream piece by piece."""

    async def script(stream, seen):
        await stream.send_all(head)
        for piece in pieces:
            await stream.send_all(chunk(piece))
            await pause()
        await stream.send_all(b"0\r\n" + trailers + b"\r\n")

    return script


def events_of(body):
    """The events of a recorded stream, with their blank lines."""
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


@asynccontextmanager
async def listening(*upstreams):
    """The upstreams, each on a port of its own."""
    async with trio.open_nursery() as nursery:
        for upstream in upstreams:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            upstream.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, upstream.serve, listeners)
        yield
        nursery.cancel_scope.cancel()


class FakeDirectory:
    """Exact id, ``UPSTREAM/model``, else all in order."""

    def __init__(self, upstreams):
        self.upstreams = {upstream.id: upstream for upstream in upstreams}
        self.failures = []
        self.answers = []

    def candidates(self, model=None):
        exact = [Route(each.id, model) for each in self.upstreams.values() if model in each.models]
        if exact:
            return exact
        name, _, rest = (model or "").partition("/")
        if rest and name in self.upstreams:
            return [Route(name, rest)]
        return [Route(each.id, model) for each in self.upstreams.values()]

    def settings(self, upstream):
        each = self.upstreams[upstream]
        return Upstream(each.id, each.url, timeout=each.timeout)

    def authorization(self, upstream):
        key = self.upstreams[upstream].key
        return f"Bearer {key}" if key else None

    def models(self):
        return [
            {"id": model, "object": "model", "owned_by": each.id}
            for each in self.upstreams.values()
            for model in each.models
        ]

    def failed(self, upstream, reason):
        self.failures.append((upstream, reason))

    def answered(self, upstream):
        self.answers.append(upstream)


@dataclass
class Rig:
    """A running proxy, what it published and what it took for bugs."""

    proxy: Proxy
    directory: FakeDirectory
    port: int
    draining: trio.Event
    published: list = field(default_factory=list)
    bugs: list = field(default_factory=list)
    served: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def of(self, kind):
        return [payload for payload in self.published if isinstance(payload, kind)]


@asynccontextmanager
async def proxied(*upstreams, limits=DEFAULT_LIMITS, publish=None, open_tap=None):
    """A proxy in front of *upstreams*; they are started too."""
    numbers = iter(range(1, 10**9))

    def new_tap(asked):
        return Exchange(
            f"session-{next(numbers)}",
            model=asked.model,
            upstream=asked.upstream,
            dialect=dialect_of(asked.path),
            choices=asked.choices,
            replay_of=asked.replay_of,
        )

    async with listening(*upstreams), trio.open_nursery() as nursery:
        directory = FakeDirectory(upstreams)
        published, bugs = [], []
        proxy = Proxy(
            directory,
            open_tap=open_tap or new_tap,
            publish=publish or published.extend,
            on_bug=lambda where, error: bugs.append((where, error)),
            limits=limits,
        )
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        rig = Rig(proxy, directory, port, trio.Event(), published, bugs)

        async def serve(task_status):
            await proxy.serve(listeners, rig.draining, task_status=task_status)
            rig.served.set()

        await nursery.start(serve)
        yield rig
        nursery.cancel_scope.cancel()


@dataclass
class Answer:
    """An answer as a client saw it; ``complete`` is False where it broke off."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False
    informed: list[int] = field(default_factory=list)

    def get(self, name):
        return next((value for key, value in self.headers if key == name), None)


class Client:
    """One client connection on h11, to one port."""

    def __init__(self, stream):
        self.stream = stream
        self.state = h11.Connection(h11.CLIENT)

    async def ask(self, method, target, **how):
        """Send a request and read its answer to the end."""
        await self.send(method, target, **how)
        return await self.answer()

    async def send(
        self,
        method,
        target,
        *,
        headers=(),
        body=None,
        trailers=(),
        chunked=False,
        host="localhost",
    ):
        fields = [("Host", host), *headers]
        if chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        elif body is not None:
            fields.append(("Content-Length", str(len(body))))
        out = self.state.send(h11.Request(method=method, target=target, headers=fields))
        if body:
            out += self.state.send(h11.Data(data=body))
        out += self.state.send(h11.EndOfMessage(headers=list(trailers)))
        await self.stream.send_all(out)

    async def next_event(self):
        while (event := self.state.next_event()) is h11.NEED_DATA:
            try:
                data = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                data = b""
            self.state.receive_data(data)
        return event

    async def answer(self):
        answer = Answer(0, b"", [])
        try:
            while not isinstance(event := await self.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.InformationalResponse):
                    answer.informed.append(event.status_code)
                elif isinstance(event, h11.Response):
                    answer.status, answer.reason = event.status_code, bytes(event.reason)
                    answer.headers = list(event.headers)
                elif isinstance(event, h11.Data):
                    answer.body += event.data
                else:
                    return answer
            answer.trailers = list(event.headers)
            answer.complete = True
        except h11.RemoteProtocolError:
            return answer
        if self.state.our_state is self.state.their_state is h11.DONE:
            self.state.start_next_cycle()
        return answer


@asynccontextmanager
async def client(port):
    """A connection to *port*."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield Client(stream)


async def ask(port, method, target, **how):
    """One request on a connection of its own."""
    async with client(port) as connection:
        return await connection.ask(method, target, **how)


async def until(condition, seconds=5.0):
    """Wait until *condition* holds."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is nothing to be told by
            await trio.sleep(0.002)
