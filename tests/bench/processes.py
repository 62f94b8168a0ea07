"""Helpers of a benchmark as processes of their own: started, paused, and ended by us alone."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import cpu_seconds, resident_bytes
from measure import percentile

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "bench"
_START_SECONDS = 20.0
_COUNTERS = struct.Struct("=6Q")
_BINS = 200_000
_BIN_MS = 0.01


class Missing(Exception):
    """This machine lacks what a benchmark needs; says what, and where it comes from."""


def compiled(name: str) -> Path:
    """The program of native/*name*.c, compiled when it is newer. Raises :class:`Missing`."""
    source, program = HERE / "native" / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("no C compiler: sudo apt install gcc libc6-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [compiler, "-O2", "-Wall", "-Wextra", "-o", program, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{source.name} does not compile: {done.stderr.strip()[:200]}")
    return program


def installed(name: str, requirement: str, *, make: bool) -> Path:
    """The interpreter of a virtual environment with *requirement*, for a peer whose dependencies
    are not ours: build/bench/peers/*name*, made once, and only if *make*. Raises :class:`Missing`.
    """
    directory = BUILD / "peers" / name
    interpreter, whole = directory / "bin" / "python", directory / "installed"
    if whole.exists() and whole.read_text(encoding="utf-8") == requirement:
        return interpreter
    if not make:
        raise Missing(f"{requirement} is not installed: a whole run of make bench does it")
    shutil.rmtree(directory, ignore_errors=True)
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", directory], [*pip, requirement]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(directory, ignore_errors=True)
            why = [line for line in done.stderr.splitlines() if "rror" in line]
            raise Missing(f"{requirement}: {why[-1][:200] if why else 'cannot be installed'}")
    whole.write_text(requirement, encoding="utf-8")
    return interpreter


class Server:
    """A server that prints its port, and that can be paused while others take their turn."""

    def __init__(self, command: Sequence[str | Path], environ: dict[str, str] | None = None):
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environ or {})},
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said.strip().isdigit():
            end(self._process)
            self._errors.seek(0)
            why = self._errors.read().decode(errors="replace").strip().splitlines()
            self.stop()
            raise Missing(why[-1][:200] if why else "it ended without a word")
        self.port = int(said)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def cpu_seconds(self) -> float:
        """CPU time it has used."""
        return cpu_seconds(self.pid)

    @property
    def resident_bytes(self) -> int:
        """Memory it holds."""
        return resident_bytes([self._process.pid])

    def pause(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        end(self._process)
        self._errors.close()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Viewers:
    """Viewers of one server: native/viewers.c and its counters."""

    def __init__(self, port: int, count: int, path: str, *, latency: bool = False) -> None:
        program = compiled("viewers")
        descriptor, name = tempfile.mkstemp(prefix="geoos-bench-")
        self._file = Path(name)
        os.truncate(descriptor, _COUNTERS.size + 8 * _BINS)
        command: list[str | Path] = [program, str(port), str(count), name, path]
        command += ["latency"] if latency else []
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._memory = mmap.mmap(descriptor, 0)
        os.close(descriptor)
        deadline = time.monotonic() + _START_SECONDS
        # Until the broadcaster has let a viewer in, tokens reach it within its Snapshot.
        while self._counters()[5 if latency else 0] < count:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Missing(f"only some of {count} viewers could connect")
            time.sleep(0.01)

    def _counters(self) -> tuple[int, ...]:
        return _COUNTERS.unpack_from(self._memory)

    @property
    def bytes(self) -> int:
        """Bytes they have read."""
        return self._counters()[1]

    @property
    def closed(self) -> int:
        """Viewers that were disconnected."""
        return self._counters()[2]

    @property
    def tokens(self) -> int:
        """Tokens they have seen, all together; with ``latency``."""
        return self._counters()[3]

    def forget(self) -> None:
        """Begin the histogram anew."""
        self._memory[_COUNTERS.size :] = bytes(8 * _BINS)

    def latency_ms(self, *shares: float) -> list[float]:
        """Percentiles of the time from a token's own "@SECONDS" to its viewers, in ms."""
        histogram = struct.unpack_from(f"={_BINS}Q", self._memory, _COUNTERS.size)
        return [(percentile(histogram, share) + 0.5) * _BIN_MS for share in shares]

    def stop(self) -> None:
        """Disconnect them all."""
        end(self._process)
        self._memory.close()
        self._file.unlink(missing_ok=True)


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process that we started; a paused one too."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path], environ: dict[str, str] | None = None
) -> Iterator[Server]:
    """A server that is gone afterwards. Raises :class:`Missing`."""
    server = Server(command, environ)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def watching(port: int, count: int, path: str, *, latency: bool = False) -> Iterator[Viewers]:
    """Viewers that are gone afterwards. Raises :class:`Missing`."""
    viewers = Viewers(port, count, path, latency=latency)
    try:
        yield viewers
    finally:
        viewers.stop()
