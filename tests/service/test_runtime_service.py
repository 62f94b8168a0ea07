"""The runtime around a small service: start, answers, reload, drain."""

import json
import signal
import socket

import pytest
import trio
import trio.testing

from geoosd import config
from geoosd.errors import ConfigError, StartError, VarlinkError
from geoosd.runtime import logs, notify, service, varlink
from geoosd.wire.varlink import INVALID_ARGUMENT, UNAVAILABLE


class Echo:
    """A service that notes what happens to it."""

    def __init__(self, runtime):
        self.runtime = runtime
        self.reloaded_with = []
        self.stopped_by_drain = False

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        await self.runtime.draining.wait()
        self.stopped_by_drain = True

    def report(self):
        return service.Report(rates={"tokens": 3.0}, details={"colour": "green"})

    async def reload(self, new):
        if new.log.level == "critical":
            raise ConfigError("cannot use this: too silent")
        self.reloaded_with.append(new)


@pytest.fixture
def made():
    return []


@pytest.fixture
def spec(made):
    def create(runtime):
        made.append(Echo(runtime))
        return made[-1]

    return service.ServiceSpec(name="bridge", summary="echo", create=create)


@pytest.fixture
def runtime(tmp_path):
    paths = config.Paths(tmp_path / "run", tmp_path / "state")
    with logs.unconfigured("bridge") as book:
        yield service.Runtime("bridge", config.load(None), paths, log_book=book)


async def test_it_answers_and_drains(spec, runtime, made, nursery):
    await nursery.start(service.serve, spec, runtime)
    path = runtime.paths.varlink("bridge")
    status = (await varlink.call(path, "io.geoos.Daemon.GetStatus"))["status"]
    assert status["name"] == "bridge"
    assert status["state"] == "active"
    assert status["rates"] == {"tokens": 3.0}
    assert status["memory_bytes"] > 1 << 20
    text = (await varlink.call(path, "io.geoos.Daemon.GetMetrics"))["text"]
    assert "geoos_build_info" in text
    runtime.health.set("door", "warning", "ajar", "close it")
    health = await varlink.call(path, "io.geoos.Daemon.GetHealth")
    assert health["status"] == "warning"
    assert health["checks"][0]["remedy"] == "close it"
    runtime.draining.set()
    with trio.fail_after(5):
        while path.exists():
            await trio.lowlevel.checkpoint()
    assert made[0].stopped_by_drain


async def test_logs_are_streamed_and_followed(spec, runtime, nursery):
    await nursery.start(service.serve, spec, runtime)
    path = runtime.paths.varlink("bridge")
    parameters = {"follow": True, "lines": 1}
    async with varlink.stream(path, "io.geoos.Daemon.GetLogs", parameters) as replies:
        records = []
        async for reply in replies:
            records.append(reply["record"])
            if len(records) == 1:
                runtime.log.warning("something", session="s1", colour="red")
            else:
                break
    assert records[0]["event"] == "ready"
    assert records[1]["event"] == "something"
    assert records[1]["session"] == "s1"
    assert records[1]["fields"] == {"colour": "red"}
    runtime.draining.set()


async def test_reload_verifies_then_swaps(spec, runtime, made, nursery):
    fresh = ["log.level=debug"]

    def load():
        return config.load(None, fresh)

    async def start(task_status):
        await service.serve(spec, runtime, reload_config=load, task_status=task_status)

    await nursery.start(start)
    path = runtime.paths.varlink("bridge")
    await varlink.call(path, "io.geoos.Daemon.Reload")
    assert runtime.config.log.level == "debug"
    assert runtime.logs.threshold.level == "debug"
    fresh[:] = ["log.level=critical"]
    with pytest.raises(VarlinkError, match="too silent") as refused:
        await varlink.call(path, "io.geoos.Daemon.Reload")
    assert refused.value.error == INVALID_ARGUMENT
    assert runtime.config.log.level == "debug"
    fresh[:] = ["log.levle=info"]
    with pytest.raises(VarlinkError, match=r"do you mean log\.level"):
        await varlink.call(path, "io.geoos.Daemon.Reload")
    runtime.draining.set()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (StartError("cannot find the theme"), "cannot find the theme"),
        (ZeroDivisionError("what it was about"), "a bug in geoos; its log has it"),
    ],
)
async def test_whatever_goes_wrong_in_a_reload_is_no_harm_to_what_runs(
    runtime, nursery, failure, reason
):
    class Brittle(Echo):
        async def reload(self, new):
            raise failure

    spec = service.ServiceSpec(name="bridge", summary="", create=Brittle)
    await nursery.start(service.serve, spec, runtime)
    before = runtime.config
    with pytest.raises(ConfigError, match=reason):  # as SIGHUP has it
        await runtime.reload()
    path = runtime.paths.varlink("bridge")
    with pytest.raises(VarlinkError, match=reason):
        await varlink.call(path, "io.geoos.Daemon.Reload")
    assert runtime.config is before
    assert (await varlink.call(path, "io.geoos.Daemon.GetStatus"))["status"]["state"] == "active"
    (check,) = (await varlink.call(path, "io.geoos.Daemon.GetHealth"))["checks"]
    assert (check["name"], check["status"]) == ("configuration", "warning")
    assert reason in check["summary"]
    records, _ = runtime.logs.ring.newest(99, lambda record: record.event == "bug")
    assert len(records) == (2 if isinstance(failure, ZeroDivisionError) else 0)
    runtime.draining.set()


async def test_a_reload_is_brought_to_its_end_when_who_asked_goes_away(runtime, nursery):
    """Half of a new configuration is worse than either."""
    begun, go_on, whole = trio.Event(), trio.Event(), trio.Event()

    class Slow(Echo):
        async def reload(self, new):
            begun.set()
            await go_on.wait()
            whole.set()

    fresh = config.load(None, ["log.level=debug"])

    async def start(task_status):
        await service.serve(spec, runtime, reload_config=lambda: fresh, task_status=task_status)

    spec = service.ServiceSpec(name="bridge", summary="", create=Slow)
    await nursery.start(start)
    path = runtime.paths.varlink("bridge")
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(b'{"method":"io.geoos.Daemon.Reload"}\0')
        await begun.wait()
    with trio.fail_after(5):
        while runtime.varlink._connections.total():  # noqa: ASYNC110
            await trio.sleep(0.01)
        go_on.set()
        await whole.wait()
        while runtime.state != "active":  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert runtime.config is fresh
    runtime.draining.set()


async def test_a_reload_asked_for_while_it_starts_comes_after_the_start(
    runtime, nursery, monkeypatch, tmp_path
):
    """Else READY=1, which ends a reload, would be said of who is not."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    go_on, reloaded = trio.Event(), trio.Event()

    class Slow(Echo):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            await go_on.wait()
            await super().run(task_status=task_status)

        async def reload(self, new):
            reloaded.set()

    spec = service.ServiceSpec(name="bridge", summary="", create=Slow)
    runtime.notifier = notify.Notifier()
    nursery.start_soon(service.serve, spec, runtime)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(runtime.reload)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(BlockingIOError):
        manager.recv(4096)  # nothing was said
    assert runtime.state == "starting"
    go_on.set()
    with trio.fail_after(5):
        await reloaded.wait()
    said = [manager.recv(4096).split(b"\n")[0] for _ in range(2)]
    assert said == [b"READY=1", b"RELOADING=1"]
    manager.close()
    runtime.draining.set()


async def test_a_reload_is_refused_by_who_is_about_to_stop(runtime, spec, nursery):
    await nursery.start(service.serve, spec, runtime)
    runtime.draining.set()
    with pytest.raises(ConfigError, match="about to stop"):
        await runtime.reload()


async def test_a_failed_start_closes_what_was_handed_over(tmp_path, runtime):
    def create(_runtime):
        raise ConfigError("cannot use the key")

    [handed] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    sock = socket.socket(fileno=handed.socket.detach())
    runtime._activated["port"] = [sock]
    spec = service.ServiceSpec(name="bridge", summary="", create=create)
    with pytest.raises(ConfigError):
        await service.serve(spec, runtime)
    assert sock.fileno() == -1


async def test_a_runtime_directory_that_cannot_be_is_named(tmp_path, runtime):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StartError, match=r"cannot make .*/run: file exists"):
        runtime.listen_unix("varlink", "bridge.varlink")


async def test_a_stop_does_not_wait_for_a_reload_that_hangs(runtime, made):
    begun = trio.Event()

    class Hung(Echo):
        def __init__(self, runtime):
            super().__init__(runtime)
            made.append(self)

        async def reload(self, new):
            begun.set()
            await trio.sleep_forever()

    spec = service.ServiceSpec(name="bridge", summary="", create=Hung)
    args = service.parser(spec).parse_args([])
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service._with_signals, spec, runtime, args)
            while runtime.state != "active":
                await trio.lowlevel.checkpoint()
            signal.raise_signal(signal.SIGHUP)
            await begun.wait()
            signal.raise_signal(signal.SIGTERM)
    assert made[0].stopped_by_drain


async def test_log_level_is_set_and_checked(spec, runtime, nursery):
    await nursery.start(service.serve, spec, runtime)
    path = runtime.paths.varlink("bridge")
    answer = await varlink.call(path, "io.geoos.Daemon.SetLogLevel", {"level": "debug"})
    assert answer == {"previous": "info"}
    with pytest.raises(VarlinkError, match="level"):
        await varlink.call(path, "io.geoos.Daemon.SetLogLevel", {"level": "loud"})
    runtime.draining.set()


async def test_a_hung_service_is_cancelled_after_the_drain_deadline(runtime, autojump_clock):
    class Stubborn(Echo):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            await trio.sleep_forever()

    spec = service.ServiceSpec(name="bridge", summary="", create=Stubborn, drain_seconds=2.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.serve, spec, runtime)
        began = trio.current_time()
        runtime.draining.set()
    assert trio.current_time() - began == pytest.approx(2.0, abs=0.1)


async def test_a_start_error_passes_and_leaves_no_socket(runtime):
    class Broken(Echo):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            raise StartError("cannot start: the moon is full")

    spec = service.ServiceSpec(name="bridge", summary="", create=Broken)
    with pytest.RaisesGroup(
        pytest.RaisesGroup(pytest.RaisesExc(StartError, match="moon")), flatten_subgroups=False
    ):
        await service.serve(spec, runtime)
    assert not runtime.paths.varlink("bridge").exists()


async def test_a_second_daemon_is_refused(spec, runtime, nursery, tmp_path):
    await nursery.start(service.serve, spec, runtime)
    with logs.unconfigured("bridge") as book:
        second = service.Runtime("bridge", runtime.config, runtime.paths, log_book=book)
    with pytest.raises(StartError, match="somebody does already"):
        await service.serve(spec, second)
    assert runtime.paths.varlink("bridge").exists()
    runtime.draining.set()


async def raw_exchange(path, *sent, half_close=True):
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        for data in sent:
            await stream.send_all(data)
        if half_close:
            await stream.send_eof()
        answer = b""
        async for chunk in stream:
            answer += chunk
    return [json.loads(part) for part in answer.split(b"\0") if part]


async def test_malformed_calls_get_a_clear_error(spec, runtime, nursery):
    await nursery.start(service.serve, spec, runtime)
    path = runtime.paths.varlink("bridge")
    get_info = b'{"method":"org.varlink.service.GetInfo"}'
    (newline,) = await raw_exchange(path, get_info + b"\n", half_close=False)
    assert newline["error"] == INVALID_ARGUMENT
    assert "NUL" in newline["parameters"]["reason"]
    (answer,) = await raw_exchange(path, get_info + b"\0")
    assert "io.geoos.Daemon" in answer["parameters"]["interfaces"]
    (malformed,) = await raw_exchange(path, b"{nonsense\0")
    assert malformed["error"] == INVALID_ARGUMENT
    (wrong,) = await raw_exchange(path, b'{"method":3}\0')
    assert wrong["error"] == INVALID_ARGUMENT
    (unknown,) = await raw_exchange(path, b'{"method":"io.geoos.Daemon.Fly"}\0')
    assert unknown["error"] == "org.varlink.service.MethodNotFound"
    (nowhere,) = await raw_exchange(path, b'{"method":"io.nowhere.Fly"}\0')
    assert nowhere["error"] == "org.varlink.service.InterfaceNotFound"
    (more,) = await raw_exchange(path, b'{"method":"io.geoos.Daemon.GetLogs"}\0')
    assert more["error"] == "org.varlink.service.ExpectedMore"
    assert await raw_exchange(path, b'{"method":"io.geoos.Daemon.GetStatus","oneway":true}\0') == []
    (long,) = await raw_exchange(path, b"x" * ((1 << 20) + 1), half_close=False)
    assert "1048577" in long["parameters"]["reason"]
    two = await raw_exchange(path, (get_info + b"\0") * 2)
    assert len(two) == 2
    runtime.draining.set()


@pytest.mark.parametrize(
    ("junk", "said"),
    [(b'{"method":"a.B"}\n', "NUL"), (b"x" * ((1 << 20) + 1), "1048577")],
    ids=["newline", "too long"],
)
async def test_junk_behind_a_call_whose_reply_waits_is_refused_after_it(
    spec, runtime, nursery, junk, said
):
    """Two that send at once would end the daemon."""
    await nursery.start(service.serve, spec, runtime)
    answered = trio.Event()

    async def fat(_call):
        answered.set()
        return {"text": "x" * 2_000_000}

    runtime.varlink.add("io.geoos.Daemon.GetMetrics", fat)
    path = runtime.paths.varlink("bridge")
    stream = await trio.open_unix_socket(str(path))
    await stream.send_all(b'{"method":"io.geoos.Daemon.GetMetrics"}\0')
    await answered.wait()
    await trio.testing.wait_all_tasks_blocked(0.01)  # the reply is larger than the socket takes
    await stream.send_all(junk)
    answer = b""
    with trio.fail_after(10):
        async for chunk in stream:
            answer += chunk
    reply, refusal = (json.loads(part) for part in answer.split(b"\0") if part)
    assert len(reply["parameters"]["text"]) == 2_000_000
    assert refusal["error"] == INVALID_ARGUMENT
    assert said in refusal["parameters"]["reason"]
    await stream.aclose()
    assert await varlink.call(path, "io.geoos.Daemon.GetHealth")
    runtime.draining.set()


async def test_a_bug_in_a_connection_ends_that_one_alone(spec, runtime, nursery):
    await nursery.start(service.serve, spec, runtime)

    async def unspeakable(_call):
        return {"text": object()}  # cannot be told in JSON

    runtime.varlink.add("io.geoos.Daemon.GetMetrics", unspeakable)
    path = runtime.paths.varlink("bridge")
    with pytest.raises(VarlinkError, match="closed the connection"):
        await varlink.call(path, "io.geoos.Daemon.GetMetrics")
    records, _ = runtime.logs.ring.newest(10, lambda record: record.event == "bug")
    assert records[0].fields["where"] == "varlink connection"
    assert await varlink.call(path, "io.geoos.Daemon.GetHealth")
    runtime.draining.set()


async def test_a_call_is_cancelled_when_its_caller_goes_away(runtime, spec, nursery):
    await nursery.start(service.serve, spec, runtime)
    gone = trio.Event()
    begun = trio.Event()

    async def wait_long(_call):
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            gone.set()

    runtime.varlink.add("io.geoos.Daemon.GetStatus", wait_long)
    stream = await trio.open_unix_socket(str(runtime.paths.varlink("bridge")))
    await stream.send_all(b'{"method":"io.geoos.Daemon.GetStatus"}\0')
    await begun.wait()
    await stream.aclose()
    with trio.fail_after(5):
        await gone.wait()
    runtime.draining.set()


async def test_a_bug_in_a_handler_ends_only_its_call(runtime, spec, nursery):
    await nursery.start(service.serve, spec, runtime)

    async def broken(_call):
        raise ZeroDivisionError("oops")

    runtime.varlink.add("io.geoos.Daemon.GetStatus", broken)
    path = runtime.paths.varlink("bridge")
    with pytest.raises(VarlinkError, match="internal error") as answer:
        await varlink.call(path, "io.geoos.Daemon.GetStatus")
    assert answer.value.error == UNAVAILABLE
    records, _ = runtime.logs.ring.newest(10, lambda record: record.event == "bug")
    assert "oops" in records[0].error
    assert await varlink.call(path, "io.geoos.Daemon.GetHealth")
    runtime.draining.set()


async def test_nobody_there_is_unavailable(tmp_path):
    with pytest.raises(VarlinkError, match="no such file") as error:
        await varlink.call(tmp_path / "nothing.sock", "io.geoos.Daemon.GetStatus")
    assert error.value.error == UNAVAILABLE


async def test_no_answer_is_unavailable(tmp_path, autojump_clock):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        with pytest.raises(VarlinkError, match="within 2 s"):
            await varlink.call(tmp_path / "silent.sock", "a.b.C", timeout=2.0)


async def test_a_port_that_is_taken_is_named(runtime):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"{port}.*pid.*bridge\.listen"):
            await runtime.listen_tcp(config.Address("127.0.0.1", port), "bridge.listen")


async def test_a_run_that_did_not_end_as_it_should_is_noticed(spec, runtime, tmp_path):
    mark = runtime.state_dir / "running"

    async def live(each):
        async with trio.open_nursery() as nursery:
            await nursery.start(service.serve, spec, each)
            assert mark.exists()
            each.draining.set()

    await live(runtime)
    assert not runtime.crashed_before
    assert not mark.exists()
    mark.write_text("1\n")
    with logs.unconfigured("bridge") as book:
        second = service.Runtime("bridge", runtime.config, runtime.paths, log_book=book)
        await live(second)
    assert second.crashed_before
    assert not mark.exists()
