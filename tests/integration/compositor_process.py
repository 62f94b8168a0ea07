"""One compositor as a process of its own, and blocking clients for its sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoosd.wire import framing
from geoosd.wire.messages import Ack, FeedRequest, Message, Payload, ProducerHello, decode, encode
from geoosd.wire.varlink import Call, Reply, Splitter, decode_reply
from geoosd.wire.varlink import encode as encode_call

from .stack import until

CONFIG = """
[bridge]
record = "full"
[compositor]
backend = "numpy"
snapshot_interval = {interval}
"""


class CompositorProcess:
    """Started and killed any number of times over one pair of directories."""

    def __init__(self, directory: Path, *, interval: float = 60.0) -> None:
        self.run_dir, self.state = directory / "run", directory / "state"
        self.config = directory / "geoos.toml"
        self.config.write_text(CONFIG.format(interval=interval))
        self.log = directory / "compositor.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def scene(self) -> Path:
        return self.state / "compositor" / "scene.npz"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Return when it takes messages."""
        environ = {
            **os.environ,
            "GEOOS_RUNTIME_DIR": str(self.run_dir),
            "GEOOS_STATE_DIR": str(self.state),
        }
        command = [sys.executable, "-m", "geoosd.compositor", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            try:
                self.call("io.geoos.Daemon.GetHealth")
                self.connect("feed.sock").close()  # the last one that it opens
            except (OSError, EOFError):
                return False
            return True

        until(ready, 30, "the compositor's start")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; SIGKILL as well."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def connect(self, name: str) -> socket.socket:
        return connect(self.run_dir, name)

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> Reply:
        """One Varlink call."""
        with self.connect("compositor.varlink") as made:
            made.sendall(encode_call(Call(method, parameters or {})))
            splitter = Splitter()
            while chunk := made.recv(1 << 16):
                for reply in splitter.receive(chunk):
                    return decode_reply(reply)
        raise EOFError


def connect(run_dir: Path, name: str) -> socket.socket:
    """One of the sockets of a running geoos."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    try:
        made.connect(str(run_dir / name))
    except OSError:
        made.close()
        raise
    return made


class Producer:
    """Says hello and numbers its messages."""

    def __init__(self, run_dir: Path, name: str, following: int = 0) -> None:
        self.following = following
        self.through = -1
        self.socket = connect(run_dir, "ingest.sock")
        self._decoder = framing.FrameDecoder()
        self.socket.sendall(framing.encode_frame(encode(ProducerHello(name, following), 1.0)))

    def say(self, *payloads: Payload) -> None:
        frames = []
        for payload in payloads:
            frames.append(framing.encode_frame(encode(payload, 1.0, n=self.following)))
            self.following += 1
        self.socket.sendall(b"".join(frames))

    def wait_acknowledged(self) -> None:
        """Return when everything has been taken."""
        while self.through < self.following - 1:
            chunk = self.socket.recv(1 << 16)
            if not chunk:
                raise EOFError
            for frame in self._decoder.receive(chunk):
                payload = decode(frame, 0.0).payload
                if isinstance(payload, Ack):
                    self.through = payload.through

    def close(self) -> None:
        self.socket.close()


def feed(compositor: CompositorProcess, *requests: Payload) -> Iterator[Message]:
    """The feed from its oldest message on; *requests* are sent after the first one."""
    with contextlib.closing(compositor.connect("feed.sock")) as made:
        for request in (FeedRequest("oldest"), *requests):
            made.sendall(framing.encode_feed_frame(framing.KIND_JSON, encode(request, 1.0)))
        decoder = framing.FrameDecoder(framing.MAX_FEED_FRAME)
        while chunk := made.recv(1 << 18):
            for frame in decoder.receive(chunk):
                if frame[0] == framing.KIND_JSON:
                    yield decode(frame[1:], 0.0)


def resident_kib(pid: int) -> int:
    """Memory it holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def cpu_seconds(pid: int) -> float:
    """CPU time it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
