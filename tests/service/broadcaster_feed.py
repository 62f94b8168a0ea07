"""A compositor's feed for tests of the broadcaster: numbers, epochs, snapshots on request."""

import socket

import trio

from geoosd.wire import framing, messages
from geoosd.wire.messages import After, Demand, FeedRequest, Gap, Hello, Snapshot, SnapshotRequest


class FakeFeed:
    """Listens on ``feed.sock``; ``say`` numbers a message, keeps it and sends it."""

    def __init__(self, path):
        self.path = path
        self.epoch = "e1"
        self.seq = 0
        self.held = []
        self.requests = []
        self.snapshots = True
        self.demand = Demand()
        self._streams = {}
        self._turns = {}

    async def serve(self, task_status=trio.TASK_STATUS_IGNORED):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await sock.bind(str(self.path))
        sock.listen()
        listener = trio.SocketListener(sock)
        await trio.serve_listeners(self._serve, [listener], task_status=task_status)

    def restart(self, epoch):
        """A new epoch, and every connection is cut."""
        self.epoch, self.seq, self.held = epoch, 0, []
        for scope in list(self._streams.values()):
            scope.cancel()

    def cut(self):
        for scope in list(self._streams.values()):
            scope.cancel()

    async def say(self, payload, count=1):
        for _ in range(count):
            self.seq += 1
            data = messages.encode(payload, 1.0, seq=self.seq)
            self.held.append((self.seq, data))
            for stream in list(self._streams):
                await self._send(stream, data)

    async def show(self, picture):
        """Send a picture to whoever reads the feed."""
        for stream in list(self._streams):
            await self._send(stream, picture, framing.KIND_PICTURE)

    async def _send(self, stream, data, kind=framing.KIND_JSON):
        """One thing at a time, for a snapshot may be asked for while something is said; and nothing
        to one that was cut meanwhile."""
        async with self._turns.get(stream, trio.Lock()):
            if stream in self._turns:
                await stream.send_all(framing.encode_feed_frame(kind, data))

    async def _serve(self, stream):
        decoder = framing.FrameDecoder()
        self._turns[stream] = trio.Lock()
        with trio.CancelScope() as scope:
            try:
                async for chunk in stream:
                    for frame in decoder.receive(chunk):
                        _kind, data = framing.split_feed_frame(frame)
                        payload = messages.decode(data, 1.0).payload
                        await self._answer(stream, payload, scope)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                self._streams.pop(stream, None)
        del self._turns[stream]
        await trio.aclose_forcefully(stream)

    async def _answer(self, stream, payload, scope):
        if isinstance(payload, SnapshotRequest):
            if self.snapshots:
                scene = Snapshot(self.seq, [], [], "")
                await self._send(stream, messages.encode(scene, 1.0))
            return
        if isinstance(payload, Demand):
            self.demand = payload
            return
        assert isinstance(payload, FeedRequest)
        self.requests.append(payload.from_)
        oldest = self.held[0][0] if self.held else None
        hello = Hello(self.epoch, self.seq, oldest)
        await self._send(stream, messages.encode(hello, 1.0))
        after = 0
        if isinstance(payload.from_, After) and payload.from_.epoch == self.epoch:
            after = payload.from_.after
            if oldest is not None and after < oldest - 1:
                gap = Gap(after + 1, oldest - 1, oldest - 1 - after, "too old")
                await self._send(stream, messages.encode(gap, 1.0))
        sent = after
        while sent < self.seq:
            for seq, data in list(self.held):
                if seq > sent:
                    await self._send(stream, data)
                    sent = seq
        self._streams[stream] = scope
