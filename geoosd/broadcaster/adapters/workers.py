"""``workers = N``: several broadcasters that share one port, and this process, which keeps them.

Each worker is the broadcaster as it is with ``workers = 1``, with a feed, a ring and viewers of its
own; the kernel spreads connections over their sockets (socket(7), SO_REUSEPORT). The sockets are
made here and stay open here: what waits in the queue of a worker that dies waits for its successor.
To the outside the workers are one: one status, one health, one set of metrics, one list of viewers.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from geoosd.broadcaster.core import together
from geoosd.broadcaster.core.together import Sample, Totals
from geoosd.config import Config
from geoosd.errors import ConfigError, StartError, VarlinkError
from geoosd.runtime import sockets, varlink
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Report, Runtime
from geoosd.runtime.supervisor import Child, ChildSpec, Events, stop_all
from geoosd.runtime.varlink import IncomingCall
from geoosd.wire import reports
from geoosd.wire import varlink as wire

PORT = "port"
"""The name under which a worker is handed its listening sockets."""
STOP_SECONDS = 2.4
"""Workers that have not drained by then are killed; the whole stop has 3 s."""
_ASK_SECONDS = 1.0
"""Seconds without an answer after which a worker counts as away."""
_WAIT_SECONDS = 0.7
"""How long whoever asks us waits for the workers: one that hangs does not make us look hung."""
_FRESH_SECONDS = 0.2
"""Status, health and metrics are asked for together: the workers answer once for all three."""
_AGAIN_SECONDS = 0.2
_DAEMON = "io.geoos.Daemon"
_INTERFACE = "io.geoos.Broadcaster"
_OWN_FAMILIES = ("process_", "python_", "geoos_build_info")


class _Metrics(NamedTuple):
    """Samples that add up, those of the process itself by name, and the families' help."""

    samples: dict[Sample, float]
    process: dict[str, float]
    help: dict[str, str]


class _Answers(NamedTuple):
    status: reports.DaemonStatus
    health: reports.DaemonHealth
    metrics: _Metrics


class Worker:
    """One worker: its process, its socket, and what it last said; ``answers`` None: nothing."""

    def __init__(self, number: int, child: Child, path: Path) -> None:
        self.number = number
        self.child = child
        self.path = path
        self.answers: _Answers | None = None
        self.away = False
        self.asked = trio.Event()
        self.asked.set()

    async def ask(self) -> None:
        """Have ``answers`` say how the worker is; ``asked`` is set when they do."""
        try:
            status = await self.call(f"{_DAEMON}.GetStatus")
            health = await self.call(f"{_DAEMON}.GetHealth")
            text = str((await self.call(f"{_DAEMON}.GetMetrics"))["text"])
            self.answers = _Answers(
                msgspec.convert(status["status"], reports.DaemonStatus),
                msgspec.convert(health, reports.DaemonHealth),
                _read_metrics(text),
            )
        except (VarlinkError, msgspec.ValidationError):
            self.answers = None
        self.away = self.answers is None
        self.asked.set()

    async def call(self, method: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Call one of its methods. Raises :class:`VarlinkError`."""
        return await varlink.call(self.path, method, parameters, timeout=_ASK_SECONDS)


class Workers:
    """The service of the process that keeps the workers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._count = runtime.config.broadcaster.workers
        self._crew: list[Worker] = []
        self._last_words = ""
        self._totals = Totals()
        self._help: dict[str, str] = {}
        self._checks = set[str]()
        self._nursery: trio.Nursery | None = None
        self._asked_at = float("-inf")
        self._asking = trio.Lock()
        runtime.refresh = self.refresh
        runtime.pass_on_level = self._pass_on_level
        runtime.registry.register(_Insight(self))
        runtime.health.add_probe("workers", self._workers_health)
        runtime.varlink.add_interface(wire.interface(_INTERFACE))
        runtime.varlink.add(f"{_INTERFACE}.ListViewers", self._list_viewers)
        runtime.varlink.add(f"{_INTERFACE}.DisconnectViewer", self._disconnect_viewer, "admin")

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Start all workers, be ready when all are, and stop them when draining."""
        config = self._runtime.config
        with ExitStack() as opened:
            ports = await sockets.bind_shared(
                config.broadcaster_listen, "broadcaster.listen", self._count
            )
            for sock in (each for group in ports for each in group):
                opened.enter_context(sock)
            self._crew = [
                self._worker(number, group, opened) for number, group in enumerate(ports, 1)
            ]
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for worker in self._crew:
                    nursery.start_soon(worker.child.run)
                    nursery.start_soon(self._relay_logs, worker)
                await self._all_ready()
                task_status.started()
                await self._runtime.draining.wait()
                await stop_all([worker.child for worker in self._crew], STOP_SECONDS)
                nursery.cancel_scope.cancel()

    async def _all_ready(self) -> None:
        """Wait for every worker's READY=1. Raises :class:`StartError` when one cannot start."""

        async def fail(worker: Worker) -> None:
            await worker.child.gave_up.wait()
            reason = self._last_words or f"worker {worker.number} cannot start"
            raise StartError(reason)

        async with trio.open_nursery() as nursery:
            for worker in self._crew:
                nursery.start_soon(fail, worker)
            for worker in self._crew:
                await worker.child.ready.wait()
            nursery.cancel_scope.cancel()

    def _worker(self, number: int, ports: list[socket.socket], opened: ExitStack) -> Worker:
        runtime = self._runtime
        # /run/geoos is not ours to write to: under systemd a daemon's own place is its state.
        inside = runtime.state_dir if "STATE_DIRECTORY" in os.environ else runtime.paths.runtime_dir
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = inside / f"worker-{number}.varlink"
        listener = opened.enter_context(sockets.bind_unix(path))
        opened.callback(path.unlink, missing_ok=True)
        state = runtime.state_dir / f"worker-{number}"
        spec = ChildSpec(
            f"worker {number}",
            self._command(),
            inside / f"worker-{number}.notify",
            {"varlink": listener, **{f"{PORT}-{i}": sock for i, sock in enumerate(ports)}},
            {
                "GEOOS_RUNTIME_DIR": str(runtime.paths.runtime_dir),
                "GEOOS_STATE_DIR": str(runtime.paths.state_dir),
                "STATE_DIRECTORY": str(state),
            },
            inherit_output=True,
        )
        events = Events(on_line=_ignore, on_change=self._on_change, on_status=self._on_status)
        return Worker(number, Child(spec, events), path)

    def _command(self) -> list[str]:
        """The program of a worker: ours, with the options that we were given."""
        args = self._runtime.args
        command = [sys.executable, "-m", "geoosd", "broadcaster"]
        for option, value in (
            ("--config", getattr(args, "config", None) and args.config.resolve()),
            ("--log-level", getattr(args, "log_level", None)),
            ("--log-format", getattr(args, "log_format", None)),
        ):
            command += [option, str(value)] if value else []
        for override in getattr(args, "overrides", ()):
            command += ["--set", override]
        return command

    def _on_change(self, name: str, what: str) -> None:
        self._runtime.log.error(f"{name} {what}")

    def _on_status(self, _name: str, text: str) -> None:
        """What a worker that cannot start says last is why."""
        self._last_words = text

    async def _relay_logs(self, worker: Worker) -> None:
        """Keep what the worker logs in our ring too: there ``GetLogs`` looks for it."""
        query = {"lines": 1000, "follow": True}
        while True:
            try:
                async with varlink.stream(worker.path, f"{_DAEMON}.GetLogs", query) as replies:
                    async for reply in replies:
                        if reply.get("record") is not None:
                            record = msgspec.convert(reply["record"], reports.Record)
                            record.fields["worker"] = str(worker.number)
                            self._runtime.logs.ring.append(record)
            except (VarlinkError, msgspec.ValidationError):
                await trio.sleep(_AGAIN_SECONDS)

    # -- what all of them say ----------------------------------------------------------------------

    async def refresh(self) -> None:
        """Ask all workers how they are, unless that was only a moment ago."""
        async with self._asking:
            if trio.current_time() - self._asked_at < _FRESH_SECONDS:
                return
            await self._ask()
            self._asked_at = trio.current_time()
        for worker in self._crew:
            if worker.answers is not None:
                status, _health, metrics = worker.answers
                self._totals.take(worker.number, status.pid, metrics.samples)
                self._help.update(metrics.help)
        self._judge()

    async def _ask(self) -> None:
        """Ask each worker that has answered the last question, and wait for a while."""
        if self._nursery is None:
            return
        for worker in self._crew:
            if worker.asked.is_set():
                worker.asked = trio.Event()
                self._nursery.start_soon(worker.ask)
        with trio.move_on_after(_WAIT_SECONDS):
            for worker in self._crew:
                if not worker.away:
                    await worker.asked.wait()

    def _judge(self) -> None:
        present = {w.number: w.answers.health for w in self._crew if w.answers is not None}
        checks = together.checks_of(present)
        for name in self._checks - {check.name for check in checks}:
            self._runtime.health.remove(name)  # of workers that are away nothing is known
        for check in checks:
            self._runtime.health.set(check.name, check.status, check.summary, check.remedy)
        self._checks = {check.name for check in checks}

    def _workers_health(self) -> Finding:
        away = [str(worker.number) for worker in self._crew if worker.answers is None]
        if away:
            text = f"no answer from worker {', '.join(away)} of {self._count}"
            verdict: reports.Verdict = "critical" if len(away) == self._count else "warning"
            return verdict, text, "geoosctl logs --unit broadcaster"
        return "healthy", f"{self._count} share the port", None

    def report(self) -> Report:
        """As of the last :meth:`refresh`."""
        found = {w.number: w.answers.status for w in self._crew if w.answers is not None}
        workers = f"{len(found)} of {self._count}"
        if not found:
            return Report(status="no worker answers", details={"workers": workers})
        status = together.status_of(found)
        return Report(
            status=f"{status.status}, {workers} workers",
            addresses=status.addresses,
            rates=status.rates,
            queues=status.queues,
            links=status.links,
            details={**status.details, "workers": workers},
            memory_bytes=status.memory_bytes,
        )

    def metrics(self) -> Iterator[Metric]:
        """The sums over all workers, and what each of them costs."""
        present = [worker.number for worker in self._crew if worker.answers is not None]
        families: dict[str, Metric] = {}
        for sample, value in self._totals.all(present).items():
            if sample.family not in families:
                about = self._help[sample.family]
                families[sample.family] = Metric(sample.family, about, sample.kind)
            families[sample.family].add_sample(sample.name, dict(sample.labels), value)
        yield from families.values()
        yield from self._costs()

    def _costs(self) -> Iterator[Metric]:
        memory = Metric("broadcast_worker_resident_bytes", "Memory of each worker", "gauge")
        cpu = Metric("broadcast_worker_cpu_seconds", "CPU time of each worker", "counter")
        restarts = Metric("broadcast_worker_restarts", "Times it was started again", "counter")
        for worker in self._crew:
            labels = {"worker": str(worker.number)}
            restarts.add_sample(f"{restarts.name}_total", labels, worker.child.restarts)
            if worker.answers is not None:
                memory.add_sample(memory.name, labels, worker.answers.status.memory_bytes)
                # Under systemd's ProcSubset=pid prometheus_client cannot tell.
                used = worker.answers.metrics.process.get("process_cpu_seconds_total")
                if used is not None:
                    cpu.add_sample(f"{cpu.name}_total", labels, used)
        yield from (memory, cpu, restarts)

    async def _list_viewers(self, _call: IncomingCall) -> Mapping[str, Any]:
        lists: dict[int, list[dict[str, Any]]] = {}

        async def ask(worker: Worker) -> None:
            try:
                found = (await worker.call(f"{_INTERFACE}.ListViewers"))["viewers"]
            except VarlinkError:
                return  # its viewers are on their way to another one
            number = worker.number
            lists[number] = [{**each, "id": f"{number}-{each['id']}"} for each in found]

        async with trio.open_nursery() as nursery:
            for worker in self._crew:
                nursery.start_soon(ask, worker)
        return {"viewers": [each for number in sorted(lists) for each in lists[number]]}

    async def _disconnect_viewer(self, call: IncomingCall) -> None:
        class Parameters(msgspec.Struct, forbid_unknown_fields=True):
            id: str

        id_ = call.convert(Parameters).id
        number, _, theirs = id_.partition("-")
        for worker in self._crew:
            if str(worker.number) == number:
                try:
                    await worker.call(f"{_INTERFACE}.DisconnectViewer", {"id": theirs})
                except VarlinkError as error:
                    if error.error != wire.NOT_FOUND:
                        raise
                    break
                return
        raise VarlinkError(wire.NOT_FOUND, {"reason": f"cannot find viewer {id_!r}"})

    # -- what all of them are told -----------------------------------------------------------------

    async def reload(self, config: Config) -> None:
        """Have every worker read the same file that we have just read."""
        check_reload(self._runtime.config, config)
        for worker in self._crew:
            try:
                await worker.call(f"{_DAEMON}.Reload")
            except VarlinkError as error:
                raise ConfigError(f"worker {worker.number}: {error}") from None

    async def _pass_on_level(self, level: reports.Level) -> None:
        for worker in self._crew:
            await worker.call(f"{_DAEMON}.SetLogLevel", {"level": level})


class _Insight(Collector):
    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        return self._workers.metrics()


def check_reload(old: Config, new: Config) -> None:
    """Raises :class:`ConfigError` for what only a restart can change."""
    for key, before, after in (
        ("listen", old.broadcaster_listen, new.broadcaster_listen),
        ("workers", old.broadcaster.workers, new.broadcaster.workers),
    ):
        if before != after:
            raise ConfigError(
                f"cannot change broadcaster.{key} while running: restart the broadcaster"
            )


def _read_metrics(text: str) -> _Metrics:
    samples: dict[Sample, float] = {}
    process: dict[str, float] = {}
    about: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        about[family.name] = family.documentation
        for name, labels, value, *_ in family.samples:
            if name.endswith("_created"):
                continue
            if family.name.startswith(_OWN_FAMILIES):
                process[name] = value
            else:
                key = Sample(family.name, family.type, name, tuple(labels.items()))
                samples[key] = value
    return _Metrics(samples, process, about)


def _ignore(_name: str, _line: str) -> None:
    """Workers write to our own standard error."""
