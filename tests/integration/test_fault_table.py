"""What ``geoosctl health`` says of each fault, and the way back: docs/health/faults.md, held true.

Every fault is injected into a geoos of its own: real processes, sockets and signals. The table has
each verdict, exit code and root cause; a test fails when one is not as it stands there. After a
change that is meant: ``GEOOS_WRITE_FAULTS=1 make soak ARGS="-k fault_table"`` writes it anew.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from .stack import BIN, Stack, until

ROOT = Path(__file__).parent.parent.parent
TABLE = ROOT / "docs/health/faults.md"
WRITE = bool(os.environ.get("GEOOS_WRITE_FAULTS"))
MODEL = Path(os.environ.get("GEOOS_CACHE_DIR") or Path.home() / ".cache/geoos")
MODEL /= "gemma-3-270m-q4_k_m.gguf"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")

Injection = Iterator[None]
"""Injects, yields, and undoes it where nothing else does."""


class Server:
    """A model server that can be made to fail in many ways: ``mode`` says how."""

    def __init__(self) -> None:
        self.mode = "well"
        self.hold = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                models = [] if outer.mode == "empty" else [{"id": "m", "object": "model"}]
                body = json.dumps({"object": "list", "data": models}).encode()
                status = {"error": 500, "loading": 503}.get(outer.mode, 200)
                if outer.mode == "lying":
                    body = b"<html>Welcome to nginx!</html>"
                if outer.mode == "loading":
                    body = b'{"error":{"code":503,"message":"Loading model"}}'
                if outer.mode == "hanging":
                    outer.hold.wait(60)
                if self.path != "/v1/models":
                    status, body = 404, b"{}"
                self._answer(status, body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                if outer.mode == "breaking":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self._answer(200, b'{"choices":[]}')

            def _answer(self, status: int, body: bytes) -> None:
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

        self._handler = Handler
        self._start(0)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _start(self, port: int) -> None:
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def again(self) -> None:
        self._start(self.port)


def command_of(remedy: str) -> str:
    """What is to be typed: there may be words before it."""
    return re.split("then: |else: ", remedy)[-1]


class Bench:
    """A geoos under test and its model server."""

    def __init__(self, directory: Path, *, engine: bool = False) -> None:
        self.directory = directory
        self.server = Server()
        upstream = None if engine else self.server.url
        self.stack = Stack(directory, engine=engine, upstream=upstream)
        # Remedies are typed as they are printed: by name, as root without sudo.
        self.stack.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
        self.flag = directory / "flag"
        self.found: dict[str, Any] = {}

    def configure(self, section: str) -> None:
        with self.stack.config.open("a") as config:
            config.write(section)

    def preload(self, daemon: str, code: str) -> None:
        """Have *daemon* run *code* at its start; what it patches acts while ``flag`` exists."""
        hooks = self.directory / "hooks"
        hooks.mkdir(exist_ok=True)
        guard = f"import sys\nif sys.orig_argv[2:4] == ['geoosd', {daemon!r}]:\n"
        body = f"import os\ndef acts(): return os.path.exists({str(self.flag)!r})\n{code}"
        indented = "".join(f"    {line}\n" for line in body.splitlines())
        (hooks / "sitecustomize.py").write_text(guard + indented)
        self.path_first(hooks)

    def path_first(self, directory: Path) -> None:
        old = self.stack.environ.get("PYTHONPATH", "")
        self.stack.environ["PYTHONPATH"] = f"{directory}:{old}" if old else str(directory)

    def socket(self, name: str) -> Path:
        return self.directory / "run" / name

    def signal(self, daemon: str, number: int) -> int:
        pid = self.stack.pids()[daemon]
        assert pid is not None
        os.kill(pid, number)
        return pid

    def health(self) -> tuple[int, dict[str, Any]]:
        """The exit code and the answer of ``geoosctl health``."""
        done = self.stack.ctl("--json", "health")
        assert done.stdout, done.stderr
        self.found = json.loads(done.stdout)
        return done.returncode, self.found

    def is_well(self) -> bool:
        return self.health()[0] == 0

    def is_back(self) -> bool:
        """Healthy, or with nothing left to tell but that something was restarted."""
        code, found = self.health()
        return code == 0 or (code == 1 and "restarted" in (found["root_cause"] or ""))

    def run(self, remedy: str) -> None:
        """Type the command of a printed remedy; it must do what it says."""
        command = command_of(remedy)
        if command.endswith("geoosd up"):
            before = self.stack.process
            # By ``exec`` it gets the signals that the test sends later.
            again = command.replace("geoosd up", "exec geoosd up")
            self.stack.start(command=("bash", "-c", again))
            if before is not None:
                before.wait(10)
            return
        self._bash(command, check=True)

    def look(self, remedy: str) -> None:
        """Type one that only shows something, for as long as somebody would look."""
        command = command_of(remedy)
        if command.startswith("kill "):
            return  # it is to come back by itself
        if command.endswith("--watch"):
            command = f"timeout --preserve-status -s INT 2 {command}"
        done = self._bash(command, check=False)
        assert done.returncode not in (126, 127), done.stderr  # bash finds no such command
        assert done.stdout, done.stderr
        assert "Error" not in done.stderr, done.stderr  # no wrong usage

    def _bash(self, command: str, *, check: bool) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            env=self.stack.environ,
            stdin=subprocess.DEVNULL,
            check=check,
            timeout=60,
            capture_output=True,
            text=True,
        )

    def close(self) -> None:
        self.server.mode = "well"
        self.stack.kill()
        self.server.stop()


# -- the faults ------------------------------------------------------------------------------------


def dead(daemon: str) -> Callable[[Bench], Injection]:
    def inject(bench: Bench) -> Injection:
        bench.signal(daemon, signal.SIGKILL)
        yield

    return inject


def hung(*daemons: str) -> Callable[[Bench], Injection]:
    def inject(bench: Bench) -> Injection:
        for pid in [bench.stack.pids()[name] for name in daemons]:
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        yield

    return inject


def hung_while_tokens_come(bench: Bench) -> Injection:
    """The compositor takes nothing, and what the bridge has for it grows."""
    bench.signal("compositor", signal.SIGSTOP)
    body = {"model": "m", "stream": False, "messages": []}
    for _ in range(8):
        httpx.post(f"{bench.stack.openai}/chat/completions", json=body, timeout=30)
    yield


def patched(bench: Bench) -> Injection:
    bench.flag.touch()
    yield
    bench.flag.unlink()


BLOCKING = """
import time
from geoosd.runtime.daemon import DaemonInterface
answer = DaemonInterface._get_status
async def slowly(self, call):
    if acts(): time.sleep(0.6)
    return await answer(self, call)
DaemonInterface._get_status = slowly
"""
SLOW_COMPOSITOR = """
import trio
from geoosd.compositor.service import Compositor
take = Compositor._take
async def slowly(self, batch):
    if acts(): await trio.sleep(1.5)
    return await take(self, batch)
Compositor._take = slowly
"""
SLOW_BROADCASTER = """
import trio
from geoosd.broadcaster.adapters.fanout import Fanout
flush = Fanout.flush
async def slowly(self, lane):
    if acts(): await trio.sleep(1.5)
    await flush(self, lane)
Fanout.flush = slowly
"""
SILENT_BROADCASTER = """
from geoosd.broadcaster.core.hub import Hub
publish = Hub.publish
Hub.publish = lambda self, message, data: acts() or publish(self, message, data)
"""
SILENT_COMPOSITOR = """
from geoosd.compositor.adapters.feed import SocketFeed
publish = SocketFeed.publish
SocketFeed.publish = lambda self, *message: None if acts() else publish(self, *message)
"""


def removed(name: str) -> Callable[[Bench], Injection]:
    def inject(bench: Bench) -> Injection:
        bench.socket(name).unlink()
        yield

    return inject


def mode(name: str, bits: int) -> Callable[[Bench], Injection]:
    def inject(bench: Bench) -> Injection:
        bench.socket(name).chmod(bits)
        yield

    return inject


def upstream(failure: str) -> Callable[[Bench], Injection]:
    def inject(bench: Bench) -> Injection:
        bench.server.mode = failure
        yield
        bench.server.mode = "well"
        bench.server.hold.set()

    return inject


def upstream_away(bench: Bench) -> Injection:
    bench.server.stop()
    yield
    bench.server.again()


def upstream_breaks(bench: Bench) -> Injection:
    """It says that it is ready, and breaks every request before a byte."""
    bench.server.mode = "breaking"
    body = {"model": "m", "stream": True, "messages": []}
    for _ in range(3):
        httpx.post(f"{bench.stack.openai}/chat/completions", json=body, timeout=30)
    yield
    bench.server.mode = "well"


def disk_full(bench: Bench) -> Injection:
    state = bench.directory / "state"
    filler = state / "filler"
    subprocess.run(["fallocate", "-l", "580M", filler], check=True)
    yield
    filler.unlink()


@contextlib.contextmanager
def small_disk(bench: Bench) -> Iterator[None]:
    state = bench.directory / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", state], check=True)
    try:
        yield
    finally:
        bench.stack.kill()
        subprocess.run(["umount", "-l", state], check=True)


@contextlib.contextmanager
def own_clock(bench: Bench) -> Iterator[None]:
    """Wall-clock time from a file, for all daemons; the monotonic clock stays."""
    (bench.directory / "time").write_text("+0")
    bench.stack.environ |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(bench.directory / "time"),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    yield


def clock_set(bench: Bench) -> Injection:
    (bench.directory / "time").write_text("+3600")
    yield


def bad_configuration(bench: Bench) -> Injection:
    good = bench.stack.config.read_text()
    bench.stack.config.write_text(good.replace("[broadcaster]", "[broadcaster]\nlisen = 1"))
    assert bench.stack.ctl("reload").returncode == 78
    yield
    bench.stack.config.write_text(good)


def port_taken(bench: Bench) -> Injection:
    """Somebody takes the bridge's port in the moment that it is restarted."""
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bench.signal("bridge", signal.SIGKILL)

        def taken() -> bool:
            with contextlib.suppress(OSError):
                thief.bind(("127.0.0.1", bench.stack.bridge))
                thief.listen()
                return True
            return False

        until(taken, 2, "the port")
        yield


@contextlib.contextmanager
def own_code(bench: Bench) -> Iterator[None]:
    """A copy of the package, which an upgrade may change under running daemons."""
    copy = bench.directory / "release"
    shutil.copytree(ROOT / "geoosd", copy / "geoosd")
    (copy / "geoosd" / "share").mkdir(exist_ok=True)
    shutil.copytree(ROOT / "etc", copy / "etc")
    bench.path_first(copy)
    bench.stack.environ["PYTHONSAFEPATH"] = "1"  # not the code of where the test was started
    yield


def upgraded(bench: Bench) -> Injection:
    """The code is another version now, and one daemon has been restarted since."""
    version = bench.directory / "release/geoosd/__init__.py"
    version.write_text(re.sub('"[0-9][^"]*"', '"99.0"', version.read_text()))
    bench.signal("broadcaster", signal.SIGKILL)
    yield


@contextlib.contextmanager
def watched_tree(bench: Bench) -> Iterator[None]:
    tree = bench.directory / "tree"
    tree.mkdir()
    for number in range(12):
        (tree / f"part{number}.py").write_text('"""A part."""\n')
    bench.configure(f'[control]\nstructure_root = "{tree}"\nstructure_in_health = true\n')
    yield


def tree_breaks(bench: Bench) -> Injection:
    part = bench.directory / "tree" / "part0.py"
    good = part.read_text()
    part.write_text("def\n")
    analyze = ("call", "io.geoos.Control.AnalyzeStructure")
    assert bench.stack.ctl(*analyze).returncode == 0
    yield
    part.write_text(good)
    assert bench.stack.ctl(*analyze).returncode == 0


def viewer_stalls(bench: Bench) -> Injection:
    """A viewer takes nothing more, while much is said."""
    upgrade = (
        b"GET /neural HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.socket() as viewer, socket.socket(socket.AF_UNIX) as producer:
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.connect(("127.0.0.1", bench.stack.broadcaster))
        viewer.sendall(upgrade)
        assert b"101" in viewer.recv(20)
        producer.connect(str(bench.socket("ingest.sock")))
        payload = {"current_token": "x" * 900, "sequence_position": 1, "model": "m"}
        text = json.dumps({"message_type": "TokenVisualizationUpdate", "payload": payload})
        frame = len(text).to_bytes(4, "little") + text.encode()
        producer.sendall(frame * 900)
        yield


@contextlib.contextmanager
def two_workers(bench: Bench) -> Iterator[None]:
    config = bench.stack.config.read_text()
    bench.stack.config.write_text(config.replace("[broadcaster]", "[broadcaster]\nworkers = 2"))
    yield


def workers_hang(count: int) -> Callable[[Bench], Injection]:
    def inject(bench: Bench) -> Injection:
        parent = bench.stack.pids()["broadcaster"]
        workers = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for worker in sorted(workers, key=int)[:count]:
            os.kill(int(worker), signal.SIGSTOP)
        yield

    return inject


def stopped(bench: Bench) -> Injection:
    bench.stack.stop()
    yield


def ring_overrun(bench: Bench) -> Injection:
    """More is said than the feed keeps, while its reader takes nothing."""
    pid = bench.signal("broadcaster", signal.SIGSTOP)
    payload = {"current_token": "x" * 4000, "sequence_position": 1, "model": "m"}
    text = json.dumps({"message_type": "TokenVisualizationUpdate", "payload": payload})
    frame = len(text).to_bytes(4, "little") + text.encode()
    with socket.socket(socket.AF_UNIX) as producer:
        producer.connect(str(bench.socket("ingest.sock")))
        producer.sendall(frame * 6000)
    os.kill(pid, signal.SIGCONT)
    yield


def outbox_overrun(bench: Bench) -> Injection:
    """More is said than the bridge keeps, while the compositor takes nothing."""
    pid = bench.signal("compositor", signal.SIGSTOP)
    body = {"model": "m", "stream": False, "messages": []}
    for _ in range(20):
        httpx.post(f"{bench.stack.openai}/chat/completions", json=body, timeout=30)
    os.kill(pid, signal.SIGCONT)
    yield


@contextlib.contextmanager
def small_outbox(bench: Bench) -> Iterator[None]:
    config = bench.stack.config.read_text()
    bench.stack.config.write_text(config.replace("[bridge]", "[bridge]\noutbox = 10"))
    yield


def model_server_hangs(bench: Bench) -> Injection:
    pid = bench.stack.pids()["engine"]
    (server,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(server), signal.SIGSTOP)
    yield


def model_server_dies(bench: Bench) -> Injection:
    """Again and again, until nobody can say that it runs."""
    for _ in range(4):
        pid = bench.stack.pids()["engine"]
        children = Path(f"/proc/{pid}/task/{pid}/children")
        os.kill(int(until(children.read_text, 20, "a model server").split()[0]), signal.SIGKILL)
    yield


@contextlib.contextmanager
def own_model(bench: Bench) -> Iterator[None]:
    """A model file that somebody can take away."""
    shutil.copy(MODEL, bench.directory / "model.gguf")
    config = bench.stack.config.read_text()
    named = f'[engine]\nmodel = "{bench.directory}/model.gguf"'
    bench.stack.config.write_text(config.replace("[engine]", named))
    yield


def model_gone(bench: Bench) -> Injection:
    model = bench.directory / "model.gguf"
    model.rename(bench.directory / "away")
    bench.signal("engine", signal.SIGKILL)
    yield
    (bench.directory / "away").rename(model)


# -- the table -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """``says`` is part of the root cause; ``remedy``: whether the printed command mends it."""

    name: str
    inject: Callable[[Bench], Injection]
    says: str
    back: str = "by itself"
    preload: tuple[str, str] | None = None
    around: Callable[[Bench], contextlib.AbstractContextManager[None]] | None = None
    seconds: float = 20.0
    missing: Callable[[], str | None] = lambda: None
    engine: bool = False


REMEDY = "by the printed remedy"
UNDONE = "when the cause was gone"
RESTART = "by a restart, as printed"


def needs_root() -> str | None:
    return None if os.getuid() == 0 else "mounting needs root"


def needs_engine() -> str | None:
    if importlib.util.find_spec("xllamacpp") is None:
        return "the extra is not installed: pip install 'geoos[engine]'"
    return None if MODEL.exists() else "the shipped model has not been unpacked yet"


def needs_faketime() -> str | None:
    return None if FAKETIME.exists() else "apt install libfaketime"


FAULTS = (
    Fault("the compositor is killed", dead("compositor"), "the compositor restarted"),
    Fault("the bridge is killed", dead("bridge"), "the bridge restarted"),
    Fault("the broadcaster is killed", dead("broadcaster"), "the broadcaster restarted"),
    Fault("control is killed", dead("control"), "control restarted"),
    Fault("the compositor hangs", hung("compositor"), "the compositor does not answer", REMEDY),
    Fault("the bridge hangs", hung("bridge"), "the bridge does not answer", REMEDY),
    Fault("the broadcaster hangs", hung("broadcaster"), "the broadcaster does not answer", REMEDY),
    Fault("control hangs", hung("control"), "control does not answer", REMEDY),
    Fault(
        "compositor and broadcaster hang",
        hung("compositor", "broadcaster"),
        "the compositor does not answer, nor does the broadcaster",
        seconds=40,
    ),
    Fault(
        "the compositor hangs while answers come",
        hung_while_tokens_come,
        "the compositor does not answer",
        REMEDY,
    ),
    Fault(
        "the compositor is slow",
        patched,
        "of them to the compositor",
        UNDONE,
        ("compositor", SLOW_COMPOSITOR),
    ),
    Fault(
        "the broadcaster is slow",
        patched,
        "of them to the viewer",
        UNDONE,
        ("broadcaster", SLOW_BROADCASTER),
        seconds=120,  # the alert on slow flushes looks back a minute
    ),
    Fault("the bridge is slow", patched, "the bridge is slow", UNDONE, ("bridge", BLOCKING)),
    Fault("control is slow", patched, "control is slow", UNDONE, ("control", BLOCKING)),
    Fault(
        "the compositor publishes nothing",
        patched,
        "do not reach the broadcaster",
        UNDONE,
        ("compositor", SILENT_COMPOSITOR),
        seconds=30,
    ),
    Fault(
        "the broadcaster sends nothing",
        patched,
        "do not reach the viewer",
        UNDONE,
        ("broadcaster", SILENT_BROADCASTER),
        seconds=30,
    ),
    Fault("a daemon's socket is gone", removed("bridge.varlink"), "no socket", RESTART),
    Fault("ingest.sock is gone", removed("ingest.sock"), "ingest.sock is gone", RESTART),
    Fault("feed.sock is gone", removed("feed.sock"), "feed.sock is gone", RESTART),
    Fault("ingest.sock lets nobody in", mode("ingest.sock", 0), "ingest.sock has mode", REMEDY),
    Fault("a socket lets everybody in", mode("feed.sock", 0o666), "feed.sock has mode", REMEDY),
    Fault("the model server refuses", upstream_away, "no upstream", UNDONE),
    Fault("the model server is slow", upstream("hanging"), "no upstream", UNDONE, seconds=40),
    Fault("the model server fails", upstream("error"), "no upstream", UNDONE),
    Fault("the model server is another one", upstream("lying"), "no upstream", UNDONE),
    Fault("the model server has no model", upstream("empty"), "upstream", UNDONE),
    Fault("the model is loading", upstream("loading"), "model loading", UNDONE),
    Fault("the model server breaks off", upstream_breaks, "refuses requests", UNDONE, seconds=40),
    Fault(
        "the disk is full",
        disk_full,
        "disk:",
        UNDONE,
        around=small_disk,
        missing=needs_root,
    ),
    Fault(
        "the clock is set",
        clock_set,
        "the clock was set by",
        around=own_clock,
        seconds=90,
        missing=needs_faketime,
    ),
    Fault(
        "a bad configuration is reloaded",
        bad_configuration,
        "configuration",
        REMEDY,
    ),
    Fault(
        "the bridge's port is taken",
        port_taken,
        "the bridge does not answer: it cannot start: cannot listen",
        RESTART,
    ),
    Fault(
        "daemons of two versions",
        upgraded,
        "versions",
        RESTART,
        around=own_code,
        seconds=60,
    ),
    Fault("the watched tree breaks", tree_breaks, "structure", UNDONE, around=watched_tree),
    Fault(
        "one of two workers hangs",
        workers_hang(1),
        "no answer from worker",
        around=two_workers,
    ),
    Fault(
        "all workers hang",
        workers_hang(2),
        "no answer from worker",
        around=two_workers,
    ),
    Fault("the feed's ring overruns", ring_overrun, "feed consumer", seconds=45),
    Fault(
        "the bridge's outbox overruns",
        outbox_overrun,
        "outbox",
        seconds=90,
        around=small_outbox,
    ),
    Fault(
        "the engine is killed",
        dead("engine"),
        "the engine restarted",
        engine=True,
        missing=needs_engine,
    ),
    Fault(
        "the engine hangs",
        hung("engine"),
        "the engine does not answer",
        REMEDY,
        engine=True,
        missing=needs_engine,
    ),
    Fault(
        "the engine's model server hangs",
        model_server_hangs,
        "engine: ",
        seconds=60,
        engine=True,
        missing=needs_engine,
    ),
    Fault(
        "the engine's model server keeps ending",
        model_server_dies,
        "keeps ending",
        seconds=60,
        engine=True,
        missing=needs_engine,
    ),
    Fault(
        "the engine's model file is gone",
        model_gone,
        "the engine does not answer: it cannot start",
        RESTART,
        around=own_model,
        engine=True,
        missing=needs_engine,
    ),
    Fault("a viewer stalls", viewer_stalls, "viewers", UNDONE),
    Fault("nothing runs", stopped, "not running", RESTART),
)


QUICK = (
    "the bridge hangs",
    "the compositor hangs while answers come",
    "the compositor is slow",
    "ingest.sock lets nobody in",
    "the model server has no model",
)


def plain(text: str | None, bench: Bench) -> str:
    """Without what differs from run to run: numbers, and where the test runs."""
    text = (text or "–").replace(str(bench.directory), "DIR").replace("|", "\\|")
    text = re.sub(r"https?://127\.0\.0\.1:\d+", "URL", text)
    text = re.sub(r"\bkill \d+", "kill N", text)
    # The signal of a kill and the mode of a socket are no such numbers.
    number = r"[+-]?(?!0?(?:000|660|666)\b)\d+(?:\.\d+)?(?![\w.]*\w)"
    return re.sub(rf"(?<!kill )(?<!kill -)(?<![\w.]){number}", "N", text)


def row(fault: Fault, code: int, found: dict[str, Any], bench: Bench) -> str:
    said, remedy = plain(found["root_cause"], bench), plain(found["remedy"], bench)
    return f"| {fault.name} | {found['status']} | {code} | {said} | `{remedy}` | {fault.back} |"


HEAD = """# Faults, what health says of them, and the way back

Each line is a fault that a test injects into a running geoos in the foreground, by real processes
(`tests/integration/test_fault_table.py`, in `make soak`), what `geoosctl health` then said, with
which exit code, and how it came back to healthy. N stands for numbers, DIR for where the test ran.
A restart is told of for half a minute more. What is printed is typed: a remedy that mends by a test
that waits for health afterwards, one that shows something to see that it does. With the units of
systemd: [faults-systemd.md](faults-systemd.md).

| fault | verdict | exit | root cause | remedy | back |
| --- | --- | --- | --- | --- | --- |
"""


def rows() -> dict[str, str]:
    """The lines of the table by the fault's name."""
    if not TABLE.exists():
        return {}
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")][2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def write(fault: Fault, line: str) -> None:
    known = rows() | {fault.name: line}
    ordered = [known[each.name] for each in FAULTS if each.name in known]
    TABLE.write_text(HEAD + "".join(f"{each}\n" for each in ordered))


def cases() -> Iterator[Any]:
    """All of them in ``make soak``, some in ``make test``."""
    for fault in FAULTS:
        mark = pytest.mark.slow if fault.name in QUICK else pytest.mark.soak
        yield pytest.param(fault, marks=mark, id=fault.name.replace(" ", "-"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", list(cases()))
def test_health_names_the_fault_and_it_heals(fault, tmp_path):
    if missing := fault.missing():
        pytest.skip(missing)
    bench = Bench(tmp_path, engine=fault.engine)
    with contextlib.ExitStack() as around:
        around.callback(bench.close)
        if fault.preload:
            bench.preload(*fault.preload)
        if fault.around:
            around.enter_context(fault.around(bench))
        bench.stack.start()
        until(bench.is_well, 30, "health before the fault")
        injection = fault.inject(bench)
        next(injection)
        wanted = None if WRITE else rows()[fault.name]
        line = ""

        def named() -> bool:
            nonlocal line
            code, found = bench.health()
            line = row(fault, code, found, bench)
            return fault.says in (found["root_cause"] or "") and wanted in (None, line)

        try:
            until(named, fault.seconds, "the root cause")
        except AssertionError:
            raise AssertionError(f"wanted {wanted}\n got   {line}") from None
        if WRITE:
            write(fault, line)
        remedy = bench.found["remedy"]
        if fault.back in (REMEDY, RESTART):
            next(injection, None)  # what has to be mended by hand, such as a file
            bench.run(remedy)
        else:
            bench.look(remedy)
            next(injection, None)
        well = bench.is_well if fault.back == "by itself" else bench.is_back
        try:
            until(well, fault.seconds + 35, "health again")
        except AssertionError:
            raise AssertionError(f"not well again: {bench.found}") from None


def test_the_table_is_complete():
    """Every fault has its line, and every line its fault."""
    assert list(rows()) == [fault.name for fault in FAULTS]
    assert len(FAULTS) >= 25
    for line in rows().values():
        _, _name, verdict, code, said, remedy, _back, _ = re.split(r" ?(?<!\\)\| ?", line)
        assert {"warning": "1", "critical": "2", "unknown": "3"}[verdict] == code
        assert said not in ("–", "")
        assert remedy != "`–`", line
