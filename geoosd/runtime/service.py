"""The life of a daemon: start → READY=1 → serve → drain → stop (sd_notify(3), systemd.service(5)).

Every daemon's ``__main__`` calls :func:`main` with its :class:`ServiceSpec`; tests run the same
service inside a nursery by :func:`serve`. Exit codes: 0 stopped as asked, 64 usage, 78 cannot start
(the unit does not restart on it), 70 anything else.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import trio

from geoosd import __version__, config
from geoosd.config import Address, Config, Paths
from geoosd.errors import EX_CONFIG, EX_SOFTWARE, EX_USAGE, ConfigError, StartError, reason_of
from geoosd.runtime import journal, logs, metrics, sockets
from geoosd.runtime.daemon import DaemonInterface
from geoosd.runtime.export import Export, nothing
from geoosd.runtime.health import HealthRegistry
from geoosd.runtime.logs import Log
from geoosd.runtime.notify import Notifier
from geoosd.runtime.varlink import VarlinkServer
from geoosd.runtime.watchdog import ErrorBudget, Proof, feed_watchdog
from geoosd.wire import events, reports


@dataclass
class Report:
    """A service's own part of its :class:`geoosd.wire.reports.DaemonStatus`."""

    status: str = ""
    addresses: list[str] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    queues: list[reports.Queue] = field(default_factory=list)
    links: list[reports.Link] = field(default_factory=list)
    requests: list[reports.Request] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    """Of processes that this one keeps, beside its own."""


class Service(Protocol):
    """What a daemon adds to the runtime."""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Open sockets, call ``task_status.started()`` when ready, then serve.

        When ``runtime.draining`` is set: stop accepting, finish what is in flight and return; what
        is still running after the spec's ``drain_seconds`` is cancelled. Raises
        :class:`ConfigError` or
        :class:`StartError` if it cannot start.
        """
        ...

    def report(self) -> Report:
        """What there is to say for ``GetStatus``; quick, no I/O."""
        ...

    async def reload(self, config: Config) -> None:
        """Use *config* from now on, or raise :class:`ConfigError` and keep the old one."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """What the runtime needs to know to run a daemon."""

    name: str
    summary: str
    create: Callable[[Runtime], Service]
    drain_seconds: float = 2.5
    """What is in flight may take this long; the whole stop has 3 s."""
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None


class Runtime:
    """What the runtime gives a service.

    A service that keeps others behind it sets ``refresh``, which brings up to date what it says of
    itself before it is asked, and ``pass_on_level``, which is told a new log level.
    """

    def __init__(
        self,
        name: str,
        config: Config,
        paths: Paths,
        *,
        log_book: logs.Logs,
        args: argparse.Namespace | None = None,
        activated: Mapping[str, list[socket.socket]] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.paths = paths
        self.args = args or argparse.Namespace()
        self.logs = log_book
        self.log: Log = log_book.logger()
        self.registry = metrics.new_registry()
        self.health = HealthRegistry()
        self.notifier = Notifier()
        self.budget = ErrorBudget(self.log)
        self.varlink = VarlinkServer(f"geoos {name}", on_bug=self.budget.spend)
        self.draining = trio.Event()
        self.proofs: dict[str, Proof] = {}
        self.state: reports.State = "starting"
        self.crashed_before = False
        self.since = time.time()
        self.status_text = "starting"
        self.reload: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.refresh: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.pass_on_level: Callable[[reports.Level], Awaitable[None]] = _keep_to_itself
        self.export: Export = nothing
        """What of this daemon belongs into a backup; a service with state sets it."""
        self._activated = dict(activated or {})
        self._bound: list[Path] = []

    def now(self) -> float:
        """Wall-clock seconds since the epoch: for timestamps, never for order or decay."""
        return time.time()

    @property
    def state_dir(self) -> Path:
        """This daemon's own state directory, mode 0700; systemd's ``STATE_DIRECTORY`` where set.

        Raises :class:`StartError` when it cannot be made, or is not ours to look into.
        """
        given = os.environ.get("STATE_DIRECTORY")
        path = Path(given.split(":")[0]) if given else self.paths.state_dir / self.name
        _make_directory(path)
        if not os.access(path, os.R_OK | os.X_OK):
            owner = f"give it to the user that runs the {self.name}"
            raise StartError(f"cannot read {path}: permission denied; {owner}")
        return path

    @contextlib.contextmanager
    def marked(self) -> Iterator[None]:
        """Leave a mark while running, and note in ``crashed_before`` whether one was left there."""
        mark = self.state_dir / "running"
        self.crashed_before = mark.exists()
        with contextlib.suppress(OSError):  # a full disk must not keep us from running
            mark.write_text(f"{os.getpid()}\n", encoding="ascii")
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)

    def listen_unix(self, fd_name: str, file_name: str) -> trio.SocketListener:
        """The socket handed over as *fd_name*, else *file_name* bound in the runtime directory.

        Raises :class:`StartError` when there can be none.
        """
        if handed := self._activated.pop(fd_name, None):
            sock, *surplus = handed
            for other in surplus:
                other.close()
        else:
            path = self.paths.socket(file_name)
            _make_directory(path.parent)
            sock = sockets.bind_unix(path)
            self._bound.append(path)
        sock.setblocking(False)
        return trio.SocketListener(trio.socket.from_stdlib_socket(sock))

    def is_handed(self, fd_name: str) -> bool:
        """Whether sockets were handed over as *fd_name*, or as *fd_name*-0, -1 and so on."""
        return any(name.partition("-")[0] == fd_name for name in self._activated)

    async def listen_tcp(
        self, address: Address, key: str, fd_name: str = "port"
    ) -> list[trio.SocketListener]:
        """The sockets handed over as *fd_name*, as in :meth:`is_handed`; else listen on *address*,
        whose configuration key is *key*.
        """
        names = [name for name in self._activated if name.partition("-")[0] == fd_name]
        if not names:
            return await sockets.bind_tcp(address, key)
        handed = [sock for name in names for sock in self._activated.pop(name)]
        return [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in handed]

    def set_status(self, text: str) -> None:
        """The one line of state that ``systemctl status`` and ``geoosctl status`` show."""
        self.status_text = text
        self.notifier.status(text)

    def close(self) -> None:
        """Remove the socket files that we bound ourselves, and close what was never used."""
        for path in self._bound:
            path.unlink(missing_ok=True)
        for sock in (each for handed in self._activated.values() for each in handed):
            sock.close()
        self.notifier.close()


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot make {path}: {reason_of(error)}") from None


async def _keep_to_itself(_level: reports.Level) -> None:
    """What a service does that keeps no others."""


async def serve(
    spec: ServiceSpec,
    runtime: Runtime,
    *,
    reload_config: Callable[[], Config] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a daemon's service until ``runtime.draining`` is set and it has drained.

    ``task_status.started()`` is called when it is ready. *reload_config* loads the configuration
    anew.
    """
    try:
        service = spec.create(runtime)
        daemon = DaemonInterface(runtime, service, reload_config or (lambda: runtime.config))
        daemon.register()
        runtime.reload = daemon.reload
        socket_name = runtime.paths.varlink(spec.name).name
        async with runtime.listen_unix("varlink", socket_name) as listener:
            with runtime.marked():
                if runtime.crashed_before:
                    runtime.log.warning(
                        "the last run did not end as it should", **events.ENDED_BADLY.fields
                    )
                await _serve_until_drained(
                    spec, service, runtime, daemon, listener, task_status=task_status
                )
    finally:
        runtime.close()
    runtime.log.info("stopped", **events.STOPPED.fields)


async def _serve_until_drained(
    spec: ServiceSpec,
    service: Service,
    runtime: Runtime,
    daemon: DaemonInterface,
    listener: trio.SocketListener,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Start, say READY=1, wait to be asked to stop, drain."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runtime.varlink.serve, listener)
        nursery.start_soon(
            feed_watchdog, runtime.notifier, runtime.proofs, runtime.log, runtime.health
        )
        nursery.start_soon(_end_with_budget, runtime.budget)
        finished = await nursery.start(_run_service, service, runtime)
        runtime.state = "active"
        runtime.since = time.time()
        if runtime.status_text == "starting":
            runtime.status_text = "active"
        runtime.notifier.ready(runtime.status_text)
        runtime.log.info("ready", pid=os.getpid(), version=__version__, **events.READY.fields)
        daemon.started(nursery)
        task_status.started()
        await runtime.draining.wait()
        runtime.state = "draining"
        runtime.proofs.clear()  # what no longer accepts cannot prove that it lives
        runtime.notifier.stopping()
        with trio.move_on_after(spec.drain_seconds) as deadline:
            await finished.wait()
        if deadline.cancelled_caught:
            runtime.log.warning("drain deadline passed", seconds=spec.drain_seconds)
        nursery.cancel_scope.cancel()


async def _run_service(
    service: Service, runtime: Runtime, *, task_status: trio.TaskStatus[trio.Event]
) -> None:
    """Run the service; hands out an event that is set when it has returned."""
    finished = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        task_status.started(finished)
    if not runtime.draining.is_set():
        raise RuntimeError(f"the {runtime.name} service ended without being asked to")
    finished.set()


async def _end_with_budget(budget: ErrorBudget) -> None:
    await budget.exhausted.wait()
    raise RuntimeError("too many bugs in a short while; starting afresh")


# -- the process -----------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Exits with EX_USAGE instead of argparse's 2."""

    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def argument_parser(name: str, summary: str) -> argparse.ArgumentParser:
    """The options that every daemon takes."""
    parser = _Parser(prog=f"geoosd {name}", description=summary)
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one key, such as broadcaster.listen=127.0.0.1:9000",
    )
    parser.add_argument("--log-level", choices=reports.LEVELS, help="overrides [log] level")
    parser.add_argument(
        "--log-format", choices=("auto", "json", "console"), help="overrides [log] format"
    )
    parser.add_argument("--version", action="version", version=f"geoosd {__version__}")
    return parser


def parser(spec: ServiceSpec) -> argparse.ArgumentParser:
    """The options of one daemon."""
    made = argument_parser(spec.name, spec.summary)
    if spec.add_arguments is not None:
        spec.add_arguments(made)
    return made


def load_config(args: argparse.Namespace) -> Config:
    """The configuration that the options name."""
    return config.load(args.config, _overrides(args))


def _overrides(args: argparse.Namespace) -> list[str]:
    overrides = list(args.overrides)
    if args.log_level:
        overrides.append(f"log.level={args.log_level}")
    if args.log_format:
        overrides.append(f"log.format={args.log_format}")
    return overrides


def main(spec: ServiceSpec, argv: Sequence[str] | None = None) -> int:
    """Run a daemon as this process; returns its exit code."""
    faulthandler.enable()
    args = parser(spec).parse_args(argv)
    try:
        loaded = load_config(args)
    except ConfigError as error:
        return _refuse(spec.name, str(error), config.log_format(args.config, _overrides(args)))
    log_book = logs.configure(spec.name, loaded.log.level, loaded.log.format)
    runtime = Runtime(
        spec.name,
        loaded,
        config.paths(),
        log_book=log_book,
        args=args,
        activated=sockets.take_listen_fds(),
    )
    try:
        trio.run(_with_signals, spec, runtime, args)
    except BaseExceptionGroup as group:
        return _say_why(runtime, _flatten(group))
    except Exception as error:  # noqa: BLE001 - the last line: say it, let the manager restart us
        return _say_why(runtime, [error])
    return 0


def _refuse(name: str, reason: str, log_format: config.LogFormat) -> int:
    """Say why there is no configuration to run with."""
    Notifier().status(reason)
    if journal.stderr_is_journal() or log_format == "json":
        log = logs.configure(name, "info", log_format).logger()
        log.critical(reason, **events.CANNOT_START.fields)
    else:
        print(f"geoosd {name}: {reason}", file=sys.stderr)  # noqa: T201
    return EX_CONFIG


def _say_why(runtime: Runtime, errors: list[BaseException]) -> int:
    """Log why the daemon ends, once; its exit code."""
    reason = "; ".join(dict.fromkeys(str(error) or type(error).__name__ for error in errors))
    if all(isinstance(error, ConfigError | StartError) for error in errors):
        runtime.log.critical(reason, **events.CANNOT_START.fields)
        Notifier().status(reason)  # the runtime's own is closed by now
        return EX_CONFIG
    runtime.log.critical("crashed", error=reason, exc_info=errors[0], **events.CRASHED.fields)
    return EX_SOFTWARE


def _flatten(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _flatten(part)]
    return [error]


async def _with_signals(spec: ServiceSpec, runtime: Runtime, args: argparse.Namespace) -> None:
    """Run the service; SIGTERM and SIGINT drain, a second one cancels, SIGHUP reloads."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, signals, runtime, nursery)
            await serve(spec, runtime, reload_config=lambda: load_config(args))
            nursery.cancel_scope.cancel()


async def _obey(signals: AsyncIterator[int], runtime: Runtime, everything: trio.Nursery) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            everything.start_soon(_reload, runtime)  # which may take long: a stop need not wait
        elif runtime.draining.is_set() or runtime.state == "starting":
            everything.cancel_scope.cancel()
        else:
            runtime.log.info("stopping", signal=signal.Signals(number).name)
            runtime.draining.set()


async def _reload(runtime: Runtime) -> None:
    with contextlib.suppress(ConfigError):  # already logged
        await runtime.reload()
