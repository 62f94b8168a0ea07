"""control beside fake daemons that speak real Varlink over real sockets."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from geoosd.config import Paths, parse, resolve
from geoosd.control.adapters.answers import FRESH
from geoosd.control.service import SPEC
from geoosd.errors import VarlinkError
from geoosd.runtime import logs, sockets, varlink
from geoosd.runtime.service import Runtime, serve
from geoosd.wire import reports
from geoosd.wire import varlink as wire

BRIDGE = """interface io.geoos.Bridge
method Prompt(prompt: string) -> (message: object)
method ListModels() -> (models: []object)
"""
COMPOSITOR = """interface io.geoos.Compositor
method Render(width: ?int, format: ?string) -> (image: string)
"""


class FakeDaemon:
    """What a daemon answers of itself; ``hang`` holds back every answer."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.path = directory / f"{name}.varlink"
        self.pid = 100
        self.since = 10.0
        self.hang = False
        self.checks = [reports.Check("self", "healthy", "works")]
        self.links: list[reports.Link] = []
        self.records: list[reports.Record] = []
        self.told: list[str] = []
        self.metrics = ""
        self.logged = trio.Event()
        self.handlers: dict[str, tuple[str, Callable[..., Any]]] = {}
        self._running: trio.CancelScope | None = None
        self._listener: Any = None

    def log(self, timestamp: float, event: str) -> None:
        self.records.append(reports.Record(timestamp, "info", event, self.name))
        self.logged.set()
        self.logged = trio.Event()

    async def start(self, nursery: trio.Nursery) -> None:
        """Listen and answer; the listening socket outlives :meth:`kill`, as a supervisor's does."""
        if self._listener is None:
            self._listener = sockets.bind_unix(self.path)
        await nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        server = varlink.VarlinkServer(self.name, on_bug=self._bug)
        server.add_interface(wire.interface("io.geoos.Daemon"))
        for method in ("GetStatus", "GetHealth", "GetMetrics", "GetLogs", "Reload", "SetLogLevel"):
            server.add(f"io.geoos.Daemon.{method}", self._answer)
        for method, (description, handler) in self.handlers.items():
            server.add_interface(description)
            server.add(method, handler)
        copy = trio.socket.from_stdlib_socket(self._listener.dup())
        with trio.CancelScope() as self._running:
            task_status.started()
            await server.serve(trio.SocketListener(copy))

    def kill(self) -> None:
        """End at once: every connection breaks."""
        assert self._running is not None
        self._running.cancel()

    def close(self) -> None:
        """Stop listening; the file stays, as after kill -9."""
        if self._listener is not None:
            self._listener.close()

    def _bug(self, where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    async def _answer(self, call: varlink.IncomingCall) -> dict[str, Any]:
        if self.hang:
            await trio.sleep(math.inf)
        name = call.method.rpartition(".")[2]
        answer: dict[str, Any] = await getattr(self, f"_{name}")(call)
        return answer

    async def _GetStatus(self, _call: varlink.IncomingCall) -> dict[str, Any]:
        status = reports.DaemonStatus(
            self.name, "active", "", self.pid, "0.1.0", self.since, 1 << 20, links=self.links
        )
        return {"status": msgspec.to_builtins(status)}

    async def _GetHealth(self, _call: varlink.IncomingCall) -> dict[str, Any]:
        verdict = reports.worst([check.status for check in self.checks])
        return msgspec.to_builtins(reports.DaemonHealth(verdict, self.checks))

    async def _GetMetrics(self, _call: varlink.IncomingCall) -> dict[str, Any]:
        return {"text": f"# HELP up Up\n# TYPE up gauge\nup 1\n{self.metrics}"}

    async def _GetLogs(self, call: varlink.IncomingCall) -> dict[str, Any]:
        query = call.convert(reports.LogQuery)
        lines = 100 if query.lines is None else query.lines
        taken = len(self.records)
        for record in self.records[max(0, taken - lines) :]:
            await call.reply({"record": msgspec.to_builtins(record)})
        while query.follow:
            logged = self.logged
            for record in self.records[taken:]:
                await call.reply({"record": msgspec.to_builtins(record)})
            taken = len(self.records)
            await logged.wait()
        return {"record": None}

    async def _Reload(self, _call: varlink.IncomingCall) -> dict[str, Any]:
        self.told.append("reload")
        return {}

    async def _SetLogLevel(self, call: varlink.IncomingCall) -> dict[str, Any]:
        if call.parameters["level"] == "debug" and self.name == "broadcaster":
            raise varlink.invalid_argument("cannot: no")
        self.told.append(call.parameters["level"])
        return {"previous": "info"}


class Stage:
    """Control, its socket, the fakes around it."""

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        self.path = directory / "control.sock"
        self.nursery = nursery
        self.daemons = {
            name: FakeDaemon(name, directory) for name in ("bridge", "compositor", "broadcaster")
        }

    async def call(self, method: str, parameters: Any = None) -> dict[str, Any]:
        if method in ("GetHealth", "GetMetrics"):
            await trio.sleep(2 * FRESH)  # no answer of before
        return await varlink.call(self.path, f"io.geoos.Control.{method}", parameters)

    async def entries(self) -> dict[str, dict[str, Any]]:
        reply = await self.call("GetStatus")
        return {each["name"]: each for each in reply["daemons"]}

    async def eventually(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The status entries once they are as wanted."""
        with trio.fail_after(20):
            while True:
                entries = await self.entries()
                if condition(entries):
                    return entries
                await trio.sleep(0.05)


@asynccontextmanager
async def control(
    directory: Path, *, engine: str = "auto", start: bool = True, **settings: Any
) -> AsyncIterator[Stage]:
    config = resolve(parse({"engine": {"enabled": engine}, "control": settings}))
    with logs.unconfigured("control") as book:
        runtime = Runtime(
            "control",
            config,
            Paths(directory, directory / "state"),
            log_book=book,
            args=argparse.Namespace(),
        )
        async with trio.open_nursery() as nursery:
            stage = Stage(directory, nursery)
            files = [sockets.bind_unix(directory / each) for each in ("ingest.sock", "feed.sock")]
            if start:
                for daemon in stage.daemons.values():
                    await daemon.start(nursery)
            await nursery.start(lambda task_status: serve(SPEC, runtime, task_status=task_status))
            try:
                yield stage
            finally:
                for daemon in (*stage.daemons.values(), *files):
                    daemon.close()
            nursery.cancel_scope.cancel()


async def test_status_of_all_that_answer(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        entries = await stage.entries()
        assert list(entries) == ["compositor", "bridge", "broadcaster", "control"]
        assert {each["state"] for each in entries.values()} == {"active"}
        assert entries["bridge"]["status"]["pid"] == 100
        assert entries["control"]["status"]["pid"] == os.getpid()
        assert entries["bridge"]["restarted"] is None


async def test_what_does_not_answer_says_why_and_what_to_do(tmp_path, autojump_clock):
    async with control(tmp_path, engine="yes") as stage:
        await trio.sleep(2)
        stage.daemons["bridge"].hang = True
        stage.daemons["broadcaster"].kill()
        stage.daemons["broadcaster"].close()
        began = trio.current_time()
        entries = await stage.entries()
        assert trio.current_time() - began < 1.5
        reasons = {name: each["reason"] for name, each in entries.items()}
        assert reasons["bridge"] == "timed out: no answer within 1 s"
        assert entries["bridge"]["remedy"] == "kill -9 100"
        assert reasons["broadcaster"].startswith("refused: nobody listens on")
        assert entries["broadcaster"]["remedy"] == "geoosd broadcaster"
        assert reasons["engine"].startswith("no socket: ")
        assert reasons["compositor"] is None
        assert (await stage.call("GetHealth"))["status"] == "critical"


async def test_an_answer_that_is_none_is_said(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        stage.daemons["bridge"].pid = "many"  # type: ignore[assignment]
        entry = (await stage.entries())["bridge"]
        assert entry["state"] == "unreachable"
        assert "cannot read its answer to GetStatus" in entry["reason"]


async def test_a_restart_is_seen_in_between_and_for_a_while_after(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        victim = stage.daemons["compositor"]
        await stage.eventually(lambda _: True)
        await trio.sleep(2)
        victim.kill()
        entries = await stage.entries()
        assert entries["compositor"]["state"] == "unreachable"
        assert "pid 100 has ended" in entries["compositor"]["reason"]
        health = await stage.call("GetHealth")
        assert health["root_cause"].startswith("the compositor does not answer")
        assert health["remedy"] == f"kill -INT {os.getppid()}; geoosd up"
        victim.pid, victim.since = 101, 20.0
        await victim.start(stage.nursery)
        entries = await stage.eventually(lambda each: each["compositor"]["restarts"] == 1)
        assert entries["compositor"]["restarted"] is not None
        assert entries["compositor"]["state"] == "active"
        health = await stage.call("GetHealth")
        assert health["status"] == "warning"
        assert health["root_cause"].startswith("the compositor restarted 0 s ago")
        await trio.sleep(31)
        assert (await stage.entries())["compositor"]["restarted"] is None
        assert (await stage.call("GetHealth"))["status"] == "healthy"


async def test_health_finds_the_root_cause_in_a_link(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        peer = str(tmp_path / "ingest.sock")
        stage.daemons["bridge"].links = [reports.Link("ingest", peer, "down", 1.0)]
        health = await stage.call("GetHealth")
        assert health["status"] == "warning"
        assert "no connection to the compositor" in health["root_cause"]


async def test_metrics_of_all_in_one_text(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        stage.daemons["broadcaster"].kill()
        text = (await stage.call("GetMetrics"))["text"]
        families = {each.name: each for each in text_string_to_metric_families(text)}
        up = {each.labels["daemon"]: each.value for each in families["geoos_daemon_up"].samples}
        assert up == {"compositor": 1, "bridge": 1, "broadcaster": 0, "control": 1}
        assert len(families["up"].samples) == 2


async def read(replies, amount: int) -> list[str]:
    events: list[str] = []
    with trio.fail_after(20):
        async for reply in replies:
            record = reply["record"]
            if record is None:
                break
            if record["daemon"] != "control":
                events.append(f"{record['daemon']}: {record['event']}")
            if len(events) == amount:
                break
    return events


async def test_logs_by_time(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        stage.daemons["bridge"].log(1.0, "first")
        stage.daemons["bridge"].log(3.0, "third")
        stage.daemons["compositor"].log(2.0, "second")
        stage.daemons["broadcaster"].kill()
        method = "io.geoos.Control.GetLogs"
        async with varlink.stream(stage.path, method, {"lines": 50}) as replies:
            events = await read(replies, 99)
        assert events == ["bridge: first", "compositor: second", "bridge: third"]
        async with varlink.stream(stage.path, method, {"lines": 1, "unit": "bridge"}) as replies:
            assert await read(replies, 99) == ["bridge: third"]
        with pytest.raises(VarlinkError, match="cannot find unit 'nobody'"):
            async with varlink.stream(stage.path, method, {"unit": "nobody"}) as replies:
                await read(replies, 1)
        with pytest.raises(VarlinkError, match="ExpectedMore"):
            await stage.call("GetLogs")


async def test_logs_are_followed_over_a_restart(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        bridge, compositor = stage.daemons["bridge"], stage.daemons["compositor"]
        bridge.log(1.0, "old")
        bridge.log(2.0, "newest")
        query = {"lines": 99, "follow": True}
        async with varlink.stream(stage.path, "io.geoos.Control.GetLogs", query) as replies:
            assert await read(replies, 2) == ["bridge: old", "bridge: newest"]
            bridge.log(3.0, "live")
            assert await read(replies, 1) == ["bridge: live"]
            bridge.kill()
            bridge.log(4.0, "first words")
            await trio.sleep(3)
            await bridge.start(stage.nursery)
            assert await read(replies, 1) == ["bridge: first words"]
            compositor.log(1e12, "later")
            assert await read(replies, 1) == ["compositor: later"]


async def test_what_all_are_told(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        stage.daemons["compositor"].kill()
        stage.daemons["compositor"].close()
        outcomes = (await stage.call("SetLogLevel", {"level": "debug"}))["outcomes"]
        errors = {each["name"]: each["error"] for each in outcomes}
        assert errors == {
            "compositor": "io.geoos.Unavailable",
            "bridge": None,
            "broadcaster": "io.geoos.InvalidArgument",
            "control": None,
        }
        await stage.call("Reload", {"unit": "bridge"})
        assert stage.daemons["bridge"].told == ["debug", "reload"]
        with pytest.raises(VarlinkError, match="level"):
            await stage.call("SetLogLevel", {"level": "loud"})


async def test_prompts_are_passed_on_as_they_come(tmp_path, autojump_clock):
    go_on = trio.Event()

    async def prompt(call: varlink.IncomingCall) -> dict[str, Any]:
        # Control says who asks: clients take turns at a busy upstream.
        me = f"{os.getuid()}:{os.getpid()}"
        assert call.parameters == {"prompt": "hi", "parameters": {"seed": 1}, "client": me}
        await call.reply({"message": {"message_type": "SessionStarted"}})
        await go_on.wait()
        return {"message": {"message_type": "SessionEnded"}}

    async with control(tmp_path, start=False) as stage:
        bridge = stage.daemons["bridge"]
        bridge.handlers["io.geoos.Bridge.Prompt"] = (BRIDGE, prompt)
        await bridge.start(stage.nursery)
        question = {"prompt": "hi", "parameters": {"seed": 1}}
        got = []
        async with varlink.stream(stage.path, "io.geoos.Control.Prompt", question) as replies:
            async for reply in replies:
                got.append(reply["message"] and reply["message"]["message_type"])
                go_on.set()
        assert got == ["SessionStarted", "SessionEnded", None]
        with pytest.raises(VarlinkError, match="ExpectedMore"):
            await stage.call("Prompt", question)


async def test_errors_of_whom_we_forward_to(tmp_path, autojump_clock):
    async def refuse(_call: varlink.IncomingCall) -> dict[str, Any]:
        raise VarlinkError(wire.NOT_FOUND, {"reason": "cannot find that theme"})

    async def away(_call: varlink.IncomingCall) -> dict[str, Any]:
        raise varlink.unavailable("no upstream answers")

    async with control(tmp_path, start=False) as stage:
        compositor, bridge = stage.daemons["compositor"], stage.daemons["bridge"]
        compositor.handlers["io.geoos.Compositor.Render"] = (COMPOSITOR, refuse)
        bridge.handlers["io.geoos.Bridge.Prompt"] = (BRIDGE, away)
        await compositor.start(stage.nursery)
        await bridge.start(stage.nursery)
        with pytest.raises(VarlinkError, match="cannot find that theme") as caught:
            await stage.call("Snapshot", {"width": 64})
        assert caught.value.error == wire.NOT_FOUND
        with pytest.raises(
            VarlinkError, match=r"^cannot ask the broadcaster: cannot reach"
        ) as caught:
            await stage.call("ListViewers")
        assert caught.value.error == wire.UNAVAILABLE

        async def ask() -> None:
            async with varlink.stream(stage.path, "io.geoos.Control.Prompt") as replies:
                async for _ in replies:
                    pass

        with pytest.raises(VarlinkError, match=r"^no upstream answers$"):
            await ask()


async def _looked(stage: Stage, label: str) -> dict[str, Any]:
    """Health once its structure says *label*."""
    with trio.fail_after(30):
        while True:
            health = await stage.call("GetHealth")
            if health["structure"] and label in health["structure"]["label"]:
                return health
            await trio.sleep(0.02)


async def test_the_structure_stands_beside_health(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "broken.py").write_text("def\n")
    async with control(tmp_path, structure_root=str(tree)) as stage:
        health = await _looked(stage, "critical")
        assert health["structure"]["root"] == str(tree)
        assert health["structure"]["dimensions"]["integrity"] < 0.75
        assert not any("structure" in each["name"] for each in health["checks"])
        text = (await stage.call("GetMetrics"))["text"]
        families = {each.name: each for each in text_string_to_metric_families(text)}
        (score,) = families["shm_pas_score"].samples
        assert score.value == health["structure"]["score"]
        (tree / "broken.py").write_text('"""Whole."""\n')
        reply = await stage.call("AnalyzeStructure", {"fresh": True})
        assert reply["structure"]["dimensions"]["integrity"] == 1.0
        assert (await stage.call("GetHealth"))["structure"] == reply["structure"]


async def test_the_structure_counts_only_where_it_is_wanted(tmp_path):
    gone = tmp_path / "gone"
    async with control(tmp_path, structure_root=str(gone), structure_in_health=True) as stage:
        health = await _looked(stage, "unknown")
        assert health["structure"]["label"] == f"unknown (there is no folder {gone})"
        (check,) = [each for each in health["checks"] if each["name"] == "control: structure"]
        assert check["status"] == "unknown"
        assert check["remedy"] == f"geoosctl structure --debug {gone}"
        assert health["status"] == "unknown"
        assert "shm_pas_score" not in (await stage.call("GetMetrics"))["text"]


async def test_without_a_tree_there_is_no_structure(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        assert (await stage.call("GetHealth"))["structure"] is None
        with pytest.raises(VarlinkError, match=r"control\.structure_root names no source tree"):
            await stage.call("AnalyzeStructure")


async def test_an_alert_fires_and_resolves_in_the_log_in_health_and_in_metrics(
    tmp_path, autojump_clock
):
    async with control(tmp_path) as stage:
        bridge = stage.daemons["bridge"]
        failures = 'geoos_upstream_failures_total{upstream="a"}'
        bridge.metrics = f"{failures} 10\n"
        await trio.sleep(10)
        assert (await stage.call("GetHealth"))["alerts"] == []
        bridge.metrics = f"{failures} 14\n"
        await trio.sleep(10)
        health = await stage.call("GetHealth")
        (alert,) = health["alerts"]
        assert (alert["rule"], alert["value"]) == ("upstream_failures > 3", 4)
        assert health["status"] == "warning"
        assert health["root_cause"].startswith("control: alerts: upstream failures")
        assert health["remedy"] == "geoosctl models"
        assert (
            'geoos_alerts_firing{daemon="control"} 1.0' in (await stage.call("GetMetrics"))["text"]
        )
        await trio.sleep(340)
        health = await stage.call("GetHealth")
        assert (health["alerts"], health["status"]) == ([], "healthy")
        told = []
        with trio.fail_after(5):
            async with varlink.stream(
                stage.path, "io.geoos.Control.GetLogs", {"lines": 99, "unit": "control"}
            ) as replies:
                async for reply in replies:
                    if reply["record"] is None:
                        break
                    told.append(reply["record"])
        told = [each for each in told if each["event"].startswith("alert ")]
        assert [(each["event"], each["level"]) for each in told] == [
            ("alert fired", "warning"),
            ("alert resolved", "info"),
        ]
        assert {each["fields"]["alert"] for each in told} == {"upstream_failures > 3"}


async def test_slow_flushes_are_an_alert_from_the_start(tmp_path, autojump_clock):
    def shown(fast, slow):
        name = "broadcast_latency_seconds_bucket"
        counts = {"0.025": fast, "0.1": fast + slow, "+Inf": fast + slow}
        return "".join(f'{name}{{le="{bound}"}} {count}\n' for bound, count in counts.items())

    async with control(tmp_path) as stage:
        broadcaster = stage.daemons["broadcaster"]
        broadcaster.metrics = shown(1000, 0)
        await trio.sleep(10)
        broadcaster.metrics = shown(1100, 0)
        await trio.sleep(10)
        assert (await stage.call("GetHealth"))["alerts"] == []
        broadcaster.metrics = shown(1100, 10)
        await trio.sleep(10)
        (alert,) = (await stage.call("GetHealth"))["alerts"]
        assert alert["rule"] == "broadcast_p99_ms > 50"
        assert 50 < alert["value"] <= 100
        assert alert["remedy"] == "geoosctl viewers"


async def test_a_bad_structure_is_an_alert_from_the_start(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for part in range(6):
        (tree / f"Part{part}.py").write_text("def\n")  # they do not parse, and say nothing
    async with control(tmp_path, structure_root=str(tree)) as stage:
        with trio.fail_after(20):
            while True:
                health = await stage.call("GetHealth")
                if health["alerts"]:
                    break
                await trio.sleep(0.1)
        (alert,) = health["alerts"]
        assert alert["rule"] == "pas < 0.85"
        assert alert["value"] == health["structure"]["score"] < 0.85
        assert alert["remedy"] == f"geoosctl structure --debug {tree}"


async def test_other_rules_by_a_reload(tmp_path, autojump_clock):
    async with control(tmp_path, alerts=["daemons_down > 0"]) as stage:
        stage.daemons["bridge"].kill()
        await trio.sleep(10)
        (alert,) = (await stage.call("GetHealth"))["alerts"]
        assert alert["rule"] == "daemons_down > 0"


async def test_health_remembers_its_turns(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        await trio.sleep(5)
        stage.daemons["bridge"].hang = True
        await trio.sleep(10)
        stage.daemons["bridge"].hang = False
        await trio.sleep(10)
        history = (await stage.call("GetHealth"))["history"]
        assert [each["status"] for each in history] == ["healthy", "critical", "healthy"]
        assert history[1]["root_cause"].startswith("the bridge does not answer: timed out")
