"""``geoosd up``: every daemon under one foreground supervisor; no root, no systemd.

It does what systemd does for the units: makes the runtime directory, binds the Unix sockets and
hands them over by name, waits for readiness, restarts what dies, and leaves nothing behind. The
embedded model server is started when no other one answers (``[engine] enabled = "auto"``).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TextIO

import httpx
import trio

from geoosd.config import DAEMONS, SYSTEM_RUNTIME_DIR, Config, Paths, paths, well_known
from geoosd.errors import EX_CONFIG, EX_SOFTWARE, ConfigError, StartError, reason_of
from geoosd.runtime.logs import Lossy
from geoosd.runtime.service import argument_parser, load_config
from geoosd.runtime.sockets import bind_tcp, bind_unix
from geoosd.runtime.supervisor import (
    Child,
    ChildSpec,
    Events,
    Signals,
    run_with_signals,
    stop_all,
)

_STOP_SECONDS = 4.0
_STOPPING = "stopping"
_PROBE_SECONDS = 1.0
_COLORS = {"compositor": 35, "bridge": 36, "broadcaster": 32, "control": 34, "engine": 33}
_WIDTH = max(map(len, DAEMONS))


def parser() -> argparse.ArgumentParser:
    """The options of ``geoosd up``."""
    return argument_parser("up", "Run all daemons in the foreground, without systemd.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        return run_with_signals(lambda signals: _up(args, signals))
    except (ConfigError, StartError) as error:
        _say(f"geoosd up: {error}", error=True)
        return EX_CONFIG
    except BaseExceptionGroup as group:
        known, others = group.split((ConfigError, StartError))
        if known is None or others is not None:
            raise
        _say(f"geoosd up: {_first(known)}", error=True)
        return EX_CONFIG


async def _up(args: argparse.Namespace, signals: Signals) -> int:
    config = load_config(args)
    where = Paths(*(path.absolute() for path in paths()))
    async with _runtime_dir(where) as lock:
        await _check_ports(config)
        servers = await _answering(config)
        names = [*DAEMONS[:-1], *(["engine"] if _wants_engine(config, servers) else [])]
        console = _Console(_prefixed(config), where)
        with contextlib.ExitStack() as sockets:
            children = [
                Child(_child_spec(name, args, where, sockets), console.events) for name in names
            ]
            lock.record(str(os.getpid()))
            code = await _run(children, config, servers, console, signals, lock)
    _say("stopped")
    return code


async def _run(
    children: Sequence[Child],
    config: Config,
    servers: Sequence[str],
    console: _Console,
    signals: Signals,
    lock: _Lock,
) -> int:
    """Start all, say when they are ready, wait to be stopped; the exit code."""

    def reload() -> None:
        for child in children:
            child.signal(signal.SIGHUP)

    signals.on_reload = reload
    code = 0
    async with trio.open_nursery() as nursery:
        for child in children:
            nursery.start_soon(child.run)
            nursery.start_soon(console.note_end, child)
        if await _all_ready(children, signals.stop):
            _welcome(config, servers, [child.name for child in children])
            await signals.stop.wait()
        elif not signals.stop.is_set():
            code = next((child.exit_code for child in children if child.exit_code), EX_SOFTWARE)
        _say("stopping")
        lock.record(_STOPPING)
        await stop_all(children, _STOP_SECONDS)
        nursery.cancel_scope.cancel()
    return code


async def _all_ready(children: Sequence[Child], stop: trio.Event) -> bool:
    """Whether all became ready; False when one gave up, or we are to stop, before that."""
    ready = True

    async def fail_by(event: trio.Event, scope: trio.CancelScope) -> None:
        nonlocal ready
        await event.wait()
        ready = False
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for event in (stop, *(child.gave_up for child in children)):
            nursery.start_soon(fail_by, event, nursery.cancel_scope)
        for child in children:
            await child.ready.wait()
        nursery.cancel_scope.cancel()
    return ready


# -- the runtime directory and its lock ------------------------------------------------------------


class _Lock:
    """Holds the runtime directory for one ``geoosd up``."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+", encoding="utf-8")
        self.path = path

    def take(self) -> str | None:
        """Take it; None, or what its holder wrote down."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "?"
            self._file.close()
            return holder
        if not self.path.exists() or not self.path.samefile(f"/proc/self/fd/{self._file.fileno()}"):
            self._file.close()  # its last holder has just taken it away
            return _STOPPING
        return None

    def record(self, holder: str) -> None:
        """Write down who holds it."""
        self._file.truncate(0)
        self._file.write(f"{holder}\n")
        self._file.flush()

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        self._file.close()


async def _locked(path: Path) -> _Lock:
    """The lock; waits for one that is on its way out, as ``kill -INT PID; geoosd up`` wants."""
    deadline = trio.current_time() + 2 * _STOP_SECONDS
    while True:
        lock = _Lock(path)
        holder = lock.take()
        if holder is None:
            return lock
        if holder != _STOPPING or trio.current_time() > deadline:
            raise StartError(
                f"cannot start: geoosd up already runs in {path.parent} (pid {holder}); stop "
                f"it with Ctrl-C in its terminal or with: kill {holder}; or set GEOOS_RUNTIME_DIR "
                "and other ports to run a second one"
            )
        await trio.sleep(0.05)


@contextlib.asynccontextmanager
async def _runtime_dir(where: Paths) -> AsyncIterator[_Lock]:
    """Make the runtime directory, private to us, and hold it."""
    directory = where.runtime_dir
    if directory == SYSTEM_RUNTIME_DIR:
        raise StartError(f"cannot use {directory}: it belongs to the systemd units")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise StartError(f"cannot make {directory}: {reason_of(error)}") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise StartError(
            f"cannot use {directory}: it is not a directory of ours; set GEOOS_RUNTIME_DIR"
        )
    if status.st_mode & 0o077:
        raise StartError(f"cannot use {directory}: others may enter it; chmod 700 {directory}")
    lock = await _locked(directory / "up.lock")
    try:
        yield lock
    finally:
        lock.release()


# -- what to run -----------------------------------------------------------------------------------


async def _check_ports(config: Config) -> None:
    """Say at once which port is taken, before anything is started."""
    wanted = [
        (config.bridge_listen, "bridge.listen"),
        (config.broadcaster_listen, "broadcaster.listen"),
    ]
    for address, key in wanted:
        for listener in await bind_tcp(address, key):
            await listener.aclose()


async def _answering(config: Config) -> list[str]:
    """Ids of the model servers that answer now, best first."""
    upstreams = config.upstreams or well_known(config.engine_listen)[:-1]
    answered: set[str] = set()

    async def probe(client: httpx.AsyncClient, name: str, url: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            await client.get(f"{url}/v1/models")
            answered.add(name)

    async with (
        httpx.AsyncClient(timeout=_PROBE_SECONDS, trust_env=False) as client,
        trio.open_nursery() as nursery,
    ):
        for upstream in upstreams:
            nursery.start_soon(probe, client, upstream.id, upstream.url)
    return [upstream.id for upstream in upstreams if upstream.id in answered]


def _wants_engine(config: Config, servers: Sequence[str]) -> bool:
    if config.engine.enabled != "auto":
        return config.engine.enabled == "yes"
    if servers:
        return False
    if importlib.util.find_spec("xllamacpp") is None:
        _say(
            "no model server answers, and the embedded one is not installed: start one (LM Studio: "
            "port 1234), or: pip install 'geoos[engine]'"
        )
        return False
    return True


def _child_spec(
    name: str, args: argparse.Namespace, where: Paths, opened: contextlib.ExitStack
) -> ChildSpec:
    """How to start a daemon; its sockets are bound here and closed with *opened*."""
    files = {"varlink": where.varlink(name)}
    if name == "compositor":
        files |= {each: where.socket(f"{each}.sock") for each in ("ingest", "feed")}
    bound: dict[str, socket.socket] = {}
    for fd_name, path in files.items():
        bound[fd_name] = bind_unix(path)
        opened.callback(path.unlink, missing_ok=True)
        opened.enter_context(bound[fd_name])
    opened.callback(where.last_words(name).unlink, missing_ok=True)
    argv = [sys.executable, "-m", "geoosd", name]
    for override in args.overrides:
        argv += ["--set", override]
    for option, value in (
        ("--config", args.config and args.config.resolve()),
        ("--log-level", args.log_level),
        ("--log-format", args.log_format),
    ):
        argv += [option, str(value)] if value else []
    environ = {
        "GEOOS_RUNTIME_DIR": str(where.runtime_dir),
        "GEOOS_STATE_DIR": str(where.state_dir),
        "PYTHONUNBUFFERED": "1",
    }
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        environ["FORCE_COLOR"] = "1"
    return ChildSpec(name, argv, where.socket(f"{name}.notify"), bound, environ)


# -- what people see -------------------------------------------------------------------------------


class _Console:
    """Prints what the children say, each line under its daemon's name."""

    def __init__(self, prefixed: bool, where: Paths) -> None:
        self._prefixed = prefixed
        self._where = where
        self._status: dict[str, str] = {}
        self.events = Events(self._on_line, self._on_change, self._on_status)

    def _on_line(self, name: str, line: str) -> None:
        if self._prefixed:
            line = f"{_paint(f'{name:>{_WIDTH}}', _COLORS.get(name, 37))} │ {line}"
        _print(line)

    def _on_change(self, name: str, what: str) -> None:
        _say(f"{name} {what}", error=True)

    def _on_status(self, name: str, text: str) -> None:
        """The engine's progress is worth a line; the others' status is for ``geoosctl status``."""
        before, self._status[name] = self._status.get(name), text
        if name == "engine" and text not in ("active", before):
            self._on_line(name, text)

    async def note_end(self, child: Child) -> None:
        """Leave the reason why *child* stays down where control finds it."""
        await child.gave_up.wait()
        self._where.last_words(child.name).write_text(self._status.get(child.name, ""))


def _prefixed(config: Config) -> bool:
    """Lines of JSON name their daemon themselves, and must stay JSON."""
    return config.log.format != "json"


def _say(text: str, *, error: bool = False) -> None:
    label = _paint(f"{'geoos':>{_WIDTH}}", 31 if error else 1)
    _print(f"{label} │ {text}")


def _print(line: str, to: TextIO | None = None) -> None:
    stream = Lossy(sys.stderr if to is None else to)
    stream.write(f"{line}\n")
    stream.flush()


def _paint(text: str, code: int) -> str:
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def _welcome(config: Config, servers: Sequence[str], names: Sequence[str]) -> None:
    """The page's address, and what to do with it."""
    if servers:
        model = f"{servers[0]} (answers now)"
    elif "engine" in names:
        model = "the embedded one, loading (a few seconds)"
    else:
        model = "none yet: start LM Studio's server (port 1234); it is found within 10 s"
    _print(
        f"""
  Geometry OS is ready.

    page      http://{config.broadcaster_listen}/
    model     {model}
    OpenAI    http://{config.bridge_listen}/v1   (point your client here)
    prompt    geoosctl prompt "The geometry of thought is"
    stop      Ctrl-C
""",
        sys.stdout,
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
