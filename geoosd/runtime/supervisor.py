"""Child processes, kept running as systemd would keep them; ``geoosd up`` is made of them.

Each child gets its listening sockets by name (``LISTEN_FDS``), reports readiness and signs of life
on its own ``NOTIFY_SOCKET``, is restarted with backoff when it dies or falls silent, and stays down
after exit code 78 (``RestartPreventExitStatus=78``). Its output comes line by line to *on_line*.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from geoosd.errors import EX_CONFIG, reason_of
from geoosd.runtime import activate

_WATCHDOG_SECONDS = 10.0
_MIN_DELAY = 0.2
_MAX_DELAY = 10.0
_GOOD_RUN = 10.0
"""Seconds after which a run counts as good and the restart delay starts afresh."""
_ABORT_SECONDS = 2.0
_LAST_WORDS_SECONDS = 0.5
_MAX_LINE = 64 * 1024


@dataclass(frozen=True)
class ChildSpec:
    """A program to keep running: its arguments, its sockets by name, where it notifies."""

    name: str
    argv: Sequence[str]
    notify_path: Path
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    inherit_output: bool = False
    """Write where we write, instead of to *on_line*."""


@dataclass(frozen=True)
class Events:
    """Who wants to hear of a child: a line of its output; a change in its life; its STATUS=."""

    on_line: Callable[[str, str], None]
    on_change: Callable[[str, str], None]
    on_status: Callable[[str, str], None]


class Child:
    """One supervised process.

    ``ready`` is set once it has said READY=1; ``gave_up`` is set, with ``exit_code``, when it ended
    in a way that a restart would not mend.
    """

    def __init__(self, spec: ChildSpec, events: Events) -> None:
        self.spec = spec
        self.name = spec.name
        self.ready = trio.Event()
        self.gave_up = trio.Event()
        self.exit_code: int | None = None
        self.restarts = 0
        self._events = events
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = trio.Event()
        self._last_sign = 0.0

    @property
    def pid(self) -> int | None:
        """The running process, None between two lives."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keep the child running until :meth:`stop`, or until it gives up."""
        async with (
            _notify_socket(self.spec.notify_path) as notify,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._hear, notify)
            await self._live()
            nursery.cancel_scope.cancel()

    async def _live(self) -> None:
        delay = _MIN_DELAY
        while not self._stop.is_set():
            began = trio.current_time()
            try:
                code = await self._one_life()
            except OSError as error:  # no memory, no process or no file to be had just now
                ended = f"cannot be started: {reason_of(error)}"
            else:
                ended = _cause(code)
                if code == EX_CONFIG and not self._stop.is_set():
                    self.exit_code = code
                    self._events.on_change(self.name, "cannot run: stays down (exit code 78)")
                    self.gave_up.set()
                    return
            if self._stop.is_set():
                return
            if trio.current_time() - began > _GOOD_RUN:
                delay = _MIN_DELAY
            self._events.on_change(self.name, f"{ended}; restarting in {delay:.1f} s")
            with trio.move_on_after(delay):
                await self._stop.wait()
            delay = min(delay * 2, _MAX_DELAY)
            self.restarts += 1

    async def _one_life(self) -> int:
        """Spawn, wait for the end; its return code as :mod:`subprocess` gives it.

        Raises OSError when there is nothing to wait for.
        """
        process = self._spawn()
        self._process = process
        self._last_sign = trio.current_time()
        try:
            with _pidfd_of(process) as pidfd:
                async with trio.open_nursery() as nursery:
                    output_ended = await nursery.start(self._read_output, process)
                    nursery.start_soon(self._watch, process)
                    await trio.lowlevel.wait_readable(pidfd)
                    # What it said last is still in the pipe; a grandchild may hold it for ever.
                    with trio.move_on_after(_LAST_WORDS_SECONDS):
                        await output_ended.wait()
                    nursery.cancel_scope.cancel()
        except BaseException:
            process.kill()  # cancelled: nobody would stop it any more
            raise
        finally:
            self._process = None
            code = process.wait()
        return code

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process from this very thread: its death signal follows the thread."""
        sockets = [f"{name}={sock.fileno()}" for name, sock in self.spec.sockets.items()]
        shim = [sys.executable, "-I", "-S", str(activate.__file__), str(os.getpid())]
        return subprocess.Popen(
            [*shim, *sockets, "--", *self.spec.argv],
            stdin=subprocess.DEVNULL,
            stdout=None if self.spec.inherit_output else subprocess.PIPE,
            stderr=None if self.spec.inherit_output else subprocess.STDOUT,
            pass_fds=[sock.fileno() for sock in self.spec.sockets.values()],
            start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
            env={
                **os.environ,
                **self.spec.environ,
                "NOTIFY_SOCKET": str(self.spec.notify_path),
                "WATCHDOG_USEC": str(int(_WATCHDOG_SECONDS * 1e6)),
            },
        )

    async def _read_output(
        self, process: subprocess.Popen[bytes], *, task_status: trio.TaskStatus[trio.Event]
    ) -> None:
        """Pass lines on; hands out an event that is set at the end of the output."""
        ended = trio.Event()
        task_status.started(ended)
        if process.stdout is None:
            ended.set()
            return
        async with trio.lowlevel.FdStream(os.dup(process.stdout.fileno())) as stream:
            process.stdout.close()
            rest = b""
            try:
                async for chunk in stream:
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > _MAX_LINE:
                        lines, rest = [*lines, rest], b""
                    for line in lines:
                        self._events.on_line(self.name, line.decode(errors="replace"))
            finally:
                if rest:  # whoever dies in the middle of a line has most to say in it
                    self._events.on_line(self.name, rest.decode(errors="replace"))
        ended.set()

    async def _hear(self, notify: trio.socket.SocketType) -> None:
        """Take the child's notifications (sd_notify(3))."""
        while True:
            for line in (await notify.recv(4096)).decode(errors="replace").splitlines():
                key, _, value = line.partition("=")
                if key == "READY":
                    self.ready.set()
                elif key == "STATUS":
                    self._events.on_status(self.name, value)
                elif key == "WATCHDOG":
                    self._last_sign = trio.current_time()

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End a process that has given no sign of life for too long."""
        while True:
            silence = trio.current_time() - self._last_sign
            if silence >= _WATCHDOG_SECONDS:
                break
            await trio.sleep(_WATCHDOG_SECONDS - silence)
        self._events.on_change(self.name, f"silent for {_WATCHDOG_SECONDS:g} s: aborting it")
        process.send_signal(signal.SIGABRT)  # faulthandler prints where it hangs
        process.send_signal(signal.SIGCONT)
        await trio.sleep(_ABORT_SECONDS)
        process.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """Ask the process to end, and do not start it again."""
        self._stop.set()
        self.signal(signal.SIGTERM)


@contextlib.contextmanager
def _pidfd_of(process: subprocess.Popen[bytes]) -> Iterator[int]:
    pidfd = os.pidfd_open(process.pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


@contextlib.asynccontextmanager
async def _notify_socket(path: Path) -> AsyncIterator[trio.socket.SocketType]:
    path.unlink(missing_ok=True)
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        await notify.bind(os.fspath(path))
        try:
            yield notify
        finally:
            path.unlink(missing_ok=True)


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name
        return f"killed by signal {-code}"


async def stop_all(children: Sequence[Child], seconds: float) -> None:
    """Ask all to end; what is still there after *seconds* is killed."""
    for child in children:
        child.stop()
    with trio.move_on_after(seconds):
        while any(child.pid is not None for child in children):  # noqa: ASYNC110
            await trio.sleep(0.02)
    for child in children:
        child.signal(signal.SIGKILL)


class Signals:
    """What the process was asked: ``stop`` (SIGINT, SIGTERM), or *on_reload* (SIGHUP)."""

    def __init__(self) -> None:
        self.stop = trio.Event()
        self.on_reload: Callable[[], None] = lambda: None

    async def _obey(self, received: AsyncIterator[int]) -> None:
        async for number in received:
            if number == signal.SIGHUP:
                self.on_reload()
            else:
                self.stop.set()


def run_with_signals(main: Callable[[Signals], Awaitable[int]]) -> int:
    """``trio.run`` *main*, whose result is the exit code, with signals turned into events."""

    async def run() -> int:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            async with trio.open_nursery() as nursery:
                signals = Signals()
                nursery.start_soon(signals._obey, received)
                code = await main(signals)
                nursery.cancel_scope.cancel()
        return code

    return trio.run(run)
