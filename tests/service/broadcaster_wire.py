"""A WebSocket client of raw bytes for tests: it says what no library would let it say."""

import struct
from contextlib import asynccontextmanager

import trio

UPGRADE = (
    b"GET /neural?channels=canary HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG, MORE = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0


def frame(opcode, payload=b"", *, fin=True, reserved=0, masked=True):
    """A client's frame (RFC 6455 §5.2) with the mask 1 2 3 4."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    mask = bytes((1, 2, 3, 4))
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def close(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class RawViewer:
    """One connection after its handshake."""

    def __init__(self, stream):
        self.stream = stream
        self.buffer = b""

    async def send(self, data, chunk=None):
        for start in range(0, len(data), chunk or len(data) or 1):
            await self.stream.send_all(data[start : start + (chunk or len(data))])
            await trio.lowlevel.checkpoint()

    async def _fill(self, size):
        while len(self.buffer) < size:
            more = await self.stream.receive_some()
            if not more:
                raise EOFError
            self.buffer += more

    async def next(self):
        """(opcode, payload) of the next frame; None at the end of the connection."""
        try:
            await self._fill(2)
            first, size = self.buffer[0], self.buffer[1]
            assert first & 0xF0 == 0x80, "servers send whole frames without extensions"
            assert size < 128, "servers do not mask"
            start = {126: 4, 127: 10}.get(size, 2)
            await self._fill(start)
            if size > 125:
                size = int.from_bytes(self.buffer[2:start], "big")
            await self._fill(start + size)
        except (EOFError, trio.BrokenResourceError):
            return None
        payload = self.buffer[start : start + size]
        self.buffer = self.buffer[start + size :]
        return first & 0x0F, payload

    async def until_close(self):
        """All frames up to the end, without what every viewer gets first; and the close code:
        0 for a Close frame without one, None when the connection ended without a Close frame.
        """
        seen = []
        while (found := await self.next()) is not None:
            opcode, payload = found
            if opcode == CLOSE:
                assert await self.next() is None, "nothing follows a Close frame"
                return seen, int.from_bytes(payload[:2], "big")
            if b'"Hello"' not in payload[:40] and b'"Snapshot"' not in payload[:40]:
                seen.append((opcode, payload))
        return seen, None


@asynccontextmanager
async def raw_viewer(port, upgrade=UPGRADE):
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        viewer = RawViewer(stream)
        await stream.send_all(upgrade)
        while b"\r\n\r\n" not in viewer.buffer:
            await viewer._fill(len(viewer.buffer) + 1)
        head, _, viewer.buffer = viewer.buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        yield viewer
