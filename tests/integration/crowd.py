"""Hundreds of viewers in one process, each of which comes back by the rules of ``geoosctl watch``.

``python crowd.py PORT COUNT``: prints ``ready`` when all have had their first Hello, reads lines on
standard input and answers each with a line of JSON, a :class:`Report`; ends at the input's end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import trio

from geoosctl.course import Course
from geoosd.wire.framing import encode_frame
from geoosd.wire.messages import TokenVisualizationUpdate, encode

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_WINDOW = 0.1
_RESTART = 1001
_HEAD = (
    "GET /neural?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass
class Report:
    """What the crowd has seen.

    ``texts`` counts the viewers for each digest of (seq, text) of all tokens that came after the
    first Hello; ``tokens`` is how many of them every viewer has. ``back`` has for every return the
    time (of this host's monotonic clock) of its Hello; ``attempts`` counts connections tried.
    ``waits`` are the seconds that a restarting server told each of them to wait.
    """

    connected: int = 0
    tokens: int = 0
    texts: dict[str, int] = field(default_factory=dict)
    gaps: int = 0
    snapshots: int = 0
    out_of_order: int = 0
    back: list[float] = field(default_factory=list)
    attempts: int = 0
    waits: list[float] = field(default_factory=list)

    def peak_per_second(self) -> float:
        """The most viewers let in within a tenth of a second, as a rate."""
        return peak_per_second(self.back)


def peak_per_second(times: list[float]) -> float:
    """The most of *times* (in seconds) within a tenth of a second, as a rate."""
    ordered = sorted(times)
    first = most = 0
    for index, at in enumerate(ordered):
        while at - ordered[first] > _WINDOW:
            first += 1
        most = max(most, index - first + 1)
    return most / _WINDOW


class _Payload(msgspec.Struct):
    current_token: str = ""
    epoch: str = ""
    at_seq: int = 0
    to_seq: int | None = None
    dropped: int = 0


class _Message(msgspec.Struct):
    message_type: str
    payload: _Payload
    seq: int | None = None


_decode = msgspec.json.Decoder(_Message).decode


class _Viewer:
    def __init__(self, port: int, report: Report, greeted: trio.Event) -> None:
        self.course = Course()
        self.digest = hashlib.blake2b(digest_size=8)
        self.connected = False
        self.tokens = 0
        self._port = port
        self._report = report
        self._greeted = greeted

    async def run(self) -> None:
        while True:
            code, reason = await self._connection()
            self.connected = False
            wait = self.course.lose(code, reason, random.random())
            if code == _RESTART:
                self._report.waits.append(wait)
            await trio.sleep(wait)

    async def _connection(self) -> tuple[int, str]:
        """One connection; the close code and reason it ended with."""
        self._report.attempts += 1
        try:
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                query = urlencode({**self.course.query(), "tick": "33"})
                await stream.send_all(_HEAD.format(query=query, port=self._port).encode())
                return await self._read(stream)
        except (OSError, trio.BrokenResourceError):
            return 1006, ""

    async def _read(self, stream: trio.SocketStream) -> tuple[int, str]:
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            if not (more := await stream.receive_some(65536)):
                return 1006, ""
            buffer += more
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            return 1006, ""
        while True:
            for opcode, payload in (frames := list(_frames(buffer))):
                if opcode == _TEXT:
                    self._take(_decode(payload))
                elif opcode == _PING:
                    await stream.send_all(_masked(_PONG, payload))
                elif opcode == _CLOSE:
                    await stream.send_all(_masked(_CLOSE, payload))
                    return int.from_bytes(payload[:2], "big"), payload[2:].decode()
            buffer = buffer[sum(_size(payload) for _opcode, payload in frames) :]
            if not (more := await stream.receive_some(65536)):
                return 1006, ""
            buffer += more

    def _take(self, message: _Message) -> None:
        seq, payload, course = message.seq, message.payload, self.course
        if seq is not None:
            # What Course.take does with it, without the dict: there are 50,000 a second.
            self._report.out_of_order += course.after is not None and seq <= course.after
            course.after = seq
            if message.message_type == "TokenVisualizationUpdate":
                self.tokens += 1
                self.digest.update(b"%d %s\n" % (seq, payload.current_token.encode()))
            return
        if message.message_type == "Hello":
            if course.epoch is not None:
                self._report.back.append(time.monotonic())
            self.connected = True
            self._greeted.set()
        self._report.snapshots += message.message_type == "Snapshot"
        self._report.gaps += message.message_type == "Gap"
        fields = msgspec.structs.asdict(payload)
        course.take({"message_type": message.message_type, "payload": fields})


def _size(payload: bytes) -> int:
    size = len(payload)
    return size + (2 if size < 126 else 4 if size < 1 << 16 else 10)


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole frames that *data* begins with; a server's are not masked."""
    at = 0
    while len(data) - at >= 2:
        size, start = data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(data) < start:
                return
            size = int.from_bytes(data[at + 2 : start], "big")
        if len(data) < start + size:
            return
        yield data[at] & 0x0F, data[start : start + size]
        at = start + size


def _masked(opcode: int, payload: bytes) -> bytes:
    return struct.pack("!BB4x", 0x80 | opcode, 0x80 | len(payload)) + payload


async def _main(port: int, count: int) -> None:
    report = Report()
    events = [trio.Event() for _ in range(count)]
    viewers = [_Viewer(port, report, event) for event in events]
    async with trio.open_nursery() as nursery:
        for viewer in viewers:
            nursery.start_soon(viewer.run)
        for event in events:
            await event.wait()
        print("ready", flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            report.connected = sum(viewer.connected for viewer in viewers)
            report.tokens = min(viewer.tokens for viewer in viewers)
            report.texts = dict(Counter(viewer.digest.hexdigest() for viewer in viewers))
            print(json.dumps(asdict(report)), flush=True)
        nursery.cancel_scope.cancel()


# -- the side of the test --------------------------------------------------------------------------


class Crowd:
    """The process; :meth:`ask` says what it has seen until now."""

    def __init__(self, port: int, count: int) -> None:
        command = [sys.executable, __file__, str(port), str(count)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if self._line() != "ready\n":
            self.close()
            raise AssertionError(f"only some of {count} viewers could connect")

    def ask(self) -> Report:
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        return Report(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(10)


class Load:
    """Tokens, *rate* a second, from a thread of its own, until :meth:`stop`."""

    def __init__(self, path: Path, rate: float) -> None:
        self.sent = 0
        self._path = path
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._path))
            while not self._stop.wait(1 / self._rate):
                token = TokenVisualizationUpdate(
                    f" {self.sent}", self.sent, token_id=self.sent, session="load", model="m"
                )
                sock.sendall(encode_frame(encode(token, time.time())))
                self.sent += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def crowd(port: int, count: int) -> Iterator[Crowd]:
    """*count* viewers that are there, and that are gone afterwards."""
    made = Crowd(port, count)
    try:
        yield made
    finally:
        made.close()


if __name__ == "__main__":
    trio.run(_main, int(sys.argv[1]), int(sys.argv[2]))
