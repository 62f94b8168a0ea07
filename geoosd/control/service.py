"""control: answers for all daemons at once (``io.geoos.Control``), and only ever asks.

Nothing on the data path waits for it. Every daemon is asked at the same time with a deadline, so a
hung one costs a second and is then ``unreachable`` with its reason. :mod:`geoosd.control.adapters`
asks, watches, follows and forwards; :mod:`geoosd.control.core` merges and judges.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import trio
from msgspec import Meta, Struct

from geoosd.config import DAEMONS, Config
from geoosd.control.adapters import forward, host, units
from geoosd.control.adapters.answers import Shared
from geoosd.control.adapters.ask import Daemon
from geoosd.control.adapters.backup import backup
from geoosd.control.adapters.follow import follow_records, newest_records
from geoosd.control.adapters.rounds import Rounds
from geoosd.control.adapters.structure import StructureWatch
from geoosd.control.adapters.watch import watch
from geoosd.control.core.aggregate import merge_metrics, merge_records
from geoosd.control.core.course import Course
from geoosd.control.core.examine import Examiner
from geoosd.control.core.observation import Absence, Observation
from geoosd.control.core.rootcause import Judgement, judge
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Report, Runtime, ServiceSpec
from geoosd.runtime.varlink import IncomingCall, invalid_argument
from geoosd.wire import reports
from geoosd.wire import varlink as wire

_INTERFACE: Final = "io.geoos.Control"
_DEFAULT_LINES: Final = 100
_UP = "# HELP geoos_daemon_up Whether the daemon answered control\n# TYPE geoos_daemon_up gauge\n"

T = TypeVar("T")


class _StatusReply(Struct):
    status: reports.DaemonStatus


class _TextReply(Struct):
    text: str


class _Unit(Struct, forbid_unknown_fields=True):
    unit: str | None = None


class _LevelOfUnit(Struct, forbid_unknown_fields=True):
    level: reports.Level
    unit: str | None = None


class _LogQuery(Struct, forbid_unknown_fields=True):
    lines: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    level: reports.Level | None = None
    session: str | None = None
    unit: str | None = None
    follow: bool | None = None


class _Entry(Struct):
    """``DaemonEntry`` of the interface."""

    name: str
    state: reports.State | Literal["unreachable"] = "unreachable"
    reason: str | None = None
    remedy: str | None = None
    restarts: int = 0
    restarted: float | None = None
    status: reports.DaemonStatus | None = None


class _Outcome(Struct):
    name: str
    error: str | None = None
    reason: str | None = None


class Control:
    """The service: knows every daemon's socket and life."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._place = units.place_of(runtime.paths.runtime_dir)
        self._daemons = {name: Daemon(name, runtime.paths, self._place) for name in DAEMONS}
        self._status = Shared(self._ask_status)
        self._health = Shared(self._ask_health)
        self._text = Shared(self._metrics)
        self._examiner = Examiner()
        self._course = Course()
        self._watching_since: float | None = None
        runtime.health.add_probe("watch", self._probe)
        server = runtime.varlink
        server.add_interface(wire.interface(_INTERFACE))
        server.add(f"{_INTERFACE}.GetStatus", self._get_status)
        server.add(f"{_INTERFACE}.GetHealth", self._get_health)
        server.add(f"{_INTERFACE}.GetMetrics", self._get_metrics)
        server.add(f"{_INTERFACE}.GetLogs", self._get_logs)
        server.add(f"{_INTERFACE}.Reload", self._reload, "admin")
        server.add(f"{_INTERFACE}.SetLogLevel", self._set_log_level, "admin")
        server.add(f"{_INTERFACE}.Backup", self._backup, "admin")
        forward.register(server, _INTERFACE, runtime.paths)
        self._structure = StructureWatch(runtime)
        self._rounds = Rounds(
            runtime, look=self._look, metrics=self._metrics, numbers=self._numbers
        )
        runtime.health.add_probe("alerts", self._rounds.probe)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Watch the daemons until asked to stop."""
        async with trio.open_nursery() as nursery:
            for daemon in self._daemons.values():
                nursery.start_soon(watch, daemon, self._runtime.log)
            nursery.start_soon(self._structure.run)
            nursery.start_soon(self._rounds.run)
            nursery.start_soon(units.look_at_jobs, self._place.keeper, self._runtime.health)
            self._watching_since = time.time()
            if self._runtime.crashed_before:
                self._daemons["control"].lifeline.returned(trio.current_time())
            task_status.started()
            await self._runtime.draining.wait()
            nursery.cancel_scope.cancel()

    def report(self) -> Report:
        """How many daemons are known to live."""
        expected = self._expected()
        alive = sum(not each.lifeline.gone and each.lifeline.pid is not None for each in expected)
        return Report(
            status=f"{alive} of {len(expected)} daemons answer",
            addresses=[str(self._daemons["control"].path)],
            details={
                f"{each.name}_restarts": str(each.lifeline.restarts)
                for each in expected
                if each.lifeline.restarts
            },
        )

    async def reload(self, config: Config) -> None:
        """``[control]`` is the runtime's own copy; another structure root is looked at at once."""
        self._structure.configured(config)
        self._rounds.configured(config)

    def _probe(self) -> Finding:
        """Control's own health: what it can say of itself is whether it watches."""
        if self._watching_since is None:
            return "warning", "does not watch the daemons yet", "geoosctl health --watch"
        return "healthy", f"watches {len(self._expected())} daemons", None

    def _expected(self, unit: str | None = None) -> list[Daemon]:
        """The daemons that ought to be there, or *unit* alone.

        The engine is optional: wanted by ``enabled = "yes"``, or there.
        """
        if unit is not None:
            if unit not in self._daemons:
                raise invalid_argument(
                    f"cannot find unit {unit!r}: it is none of {', '.join(DAEMONS)}"
                )
            return [self._daemons[unit]]
        enabled = self._runtime.config.engine.enabled
        return [
            daemon
            for daemon in self._daemons.values()
            if daemon.name != "engine"
            or enabled == "yes"
            or (enabled == "auto" and daemon.path.exists())
        ]

    def _entry(self, daemon: Daemon, answer: _StatusReply | Absence) -> _Entry:
        ago = daemon.lifeline.restarted_ago(trio.current_time())
        entry = _Entry(
            daemon.name,
            restarts=daemon.lifeline.restarts,
            restarted=None if ago is None else self._runtime.now() - ago,
        )
        if isinstance(answer, Absence):
            ends = self._ends({daemon.name})
            entry.reason, entry.remedy = answer.reason, self._place.command(answer.remedy, ends)
        else:
            entry.state, entry.status = answer.status.state, answer.status
        return entry

    async def _get_status(self, _call: IncomingCall) -> Mapping[str, Any]:
        return await self._status.get()

    async def _ask_status(self) -> Mapping[str, Any]:
        async def entry(daemon: Daemon) -> _Entry:
            return self._entry(daemon, await daemon.ask("GetStatus", _StatusReply))

        entries = await _gather(self._expected(), entry)
        return {"daemons": msgspec.to_builtins(list(entries.values()))}

    async def _get_health(self, _call: IncomingCall) -> Mapping[str, Any]:
        return await self._health.get()

    async def _ask_health(self) -> Mapping[str, Any]:
        reply: dict[str, Any] = msgspec.to_builtins(await self._look())
        return {
            **reply,
            "structure": msgspec.to_builtins(self._structure.found),
            "alerts": msgspec.to_builtins(self._rounds.firing),
            "history": msgspec.to_builtins(self._course.history),
        }

    async def _look(self) -> Judgement:
        """Health as it is now; remembered as history."""
        daemons = self._expected()
        observed = list((await _gather(daemons, self._observe)).values())
        # One that is stopped has no sockets, and that is said already.
        living = [each.lifeline.pid is not None and not each.lifeline.gone for each in daemons]
        names = [each.name for each, lives in zip(daemons, living, strict=True) if lives]
        where = self._runtime
        machine = host.look(where.paths, where.state_dir, names, self._place)
        judged = judge(
            observed,
            self._runtime.now(),
            self._examiner.take(observed, machine),
            lambda name, check: self._course.damp(name, check, machine.monotonic),
        )
        self._course.note(judged.status, judged.root_cause, self._runtime.now())
        return judged.at(self._place, self._ends({each.name for each in observed if each.absent}))

    def _ends(self, silent: Container[str]) -> dict[str, str]:
        """How to end each daemon that runs; the *silent* ones do not answer."""
        found = {
            each.name: each.how_to_end(answers=each.name not in silent)
            for each in self._daemons.values()
        }
        return {name: command for name, command in found.items() if command}

    async def _observe(self, daemon: Daemon) -> Observation:
        began = trio.current_time()
        status = await daemon.ask("GetStatus", _StatusReply)
        took = daemon.lifeline.answered(trio.current_time() - began)
        if isinstance(status, Absence):
            return Observation(daemon.name, absent=status, restarts=daemon.lifeline.restarts)
        health = await daemon.ask("GetHealth", reports.DaemonHealth)
        if isinstance(health, Absence):
            return Observation(daemon.name, absent=health, restarts=daemon.lifeline.restarts)
        return Observation(
            daemon.name,
            status.status,
            health,
            restarted_ago=daemon.lifeline.restarted_ago(trio.current_time()),
            wanted=daemon.lifeline.wanted,
            restarts=daemon.lifeline.restarts,
            took=took,
        )

    async def _get_metrics(self, _call: IncomingCall) -> Mapping[str, Any]:
        return {"text": await self._text.get()}

    def _numbers(self) -> tuple[float | None, int]:
        """The structure score, and how many restarts were seen in all."""
        found = self._structure.found
        restarts = sum(each.lifeline.restarts for each in self._daemons.values())
        return None if found is None else found.score, restarts

    async def _metrics(self) -> str:
        """The metrics of all daemons in one text."""

        async def text(daemon: Daemon) -> str:
            answer = await daemon.ask("GetMetrics", _TextReply)
            if isinstance(answer, Absence):
                return f"{_UP}geoos_daemon_up 0\n"
            return f"{_UP}geoos_daemon_up 1\n{answer.text}"

        return merge_metrics(await _gather(self._expected(), text))

    async def _get_logs(self, call: IncomingCall) -> Mapping[str, Any]:
        forward.needs_more(call)
        query = call.convert(_LogQuery)
        lines = _DEFAULT_LINES if query.lines is None else query.lines
        wanted = {"level": query.level, "session": query.session}

        async def newest(daemon: Daemon) -> list[reports.Record]:
            return await newest_records(daemon, {**wanted, "lines": lines})

        began = self._runtime.now()
        backlogs = await _gather(self._expected(query.unit), newest)
        for record in merge_records(backlogs.values(), lines):
            await call.reply({"record": msgspec.to_builtins(record)})
        if query.follow:
            # A daemon that is not expected yet, such as the engine, may come while we follow.
            followed = self._expected(query.unit) if query.unit else self._daemons.values()
            await follow_records(followed, backlogs, wanted, began, call.reply)
        return {"record": None}

    async def _reload(self, call: IncomingCall) -> Mapping[str, Any]:
        return await self._tell("Reload", {}, call.convert(_Unit).unit)

    async def _set_log_level(self, call: IncomingCall) -> Mapping[str, Any]:
        wanted = call.convert(_LevelOfUnit)
        return await self._tell("SetLogLevel", {"level": wanted.level}, wanted.unit)

    async def _backup(self, call: IncomingCall) -> Mapping[str, Any]:
        return await backup(call, self._runtime.paths, self._runtime.config)

    async def _tell(
        self, method: str, parameters: Mapping[str, Any], unit: str | None
    ) -> Mapping[str, Any]:
        """Have each daemon do something; what each of them said to it."""

        async def tell(daemon: Daemon) -> _Outcome:
            refused = await daemon.tell(method, parameters)
            if refused is None:
                return _Outcome(daemon.name)
            return _Outcome(daemon.name, refused.error, str(refused))

        outcomes = await _gather(self._expected(unit), tell)
        return {"outcomes": msgspec.to_builtins(list(outcomes.values()))}


async def _gather(daemons: Iterable[Daemon], ask: Callable[[Daemon], Awaitable[T]]) -> dict[str, T]:
    """What *ask* says of each daemon, all asked at once; by name, in the order of *daemons*."""
    answers: dict[str, T] = {}

    async def one(daemon: Daemon) -> None:
        answers[daemon.name] = await ask(daemon)

    async with trio.open_nursery() as nursery:
        for daemon in daemons:
            nursery.start_soon(one, daemon)
    return {daemon.name: answers[daemon.name] for daemon in daemons}


SPEC = ServiceSpec(
    name="control",
    summary="Answer for all daemons: status, health, metrics, logs.",
    create=Control,
    drain_seconds=1.0,
)
