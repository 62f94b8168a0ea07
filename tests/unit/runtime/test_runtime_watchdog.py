"""geoosd.runtime.watchdog: signs of life on time; the budget for bugs."""

import pytest
import structlog
import trio

from geoosd.runtime.health import HealthRegistry
from geoosd.runtime.sockets import bind_unix
from geoosd.runtime.watchdog import ErrorBudget, ask_handler, ask_http, ask_unix, feed_watchdog

LOG = structlog.get_logger()


class Manager:
    """Notes when it hears a sign of life."""

    def __init__(self, enough):
        self.heard = []
        self.enough = enough
        self.done = trio.Event()

    def watchdog(self):
        self.heard.append(trio.current_time())
        if len(self.heard) == self.enough:
            self.done.set()


class Telling(HealthRegistry):
    """Keeps all that was ever set."""

    def __init__(self):
        super().__init__()
        self.told = []

    def set(self, name, verdict, summary, remedy=None):
        self.told.append((verdict, summary))
        super().set(name, verdict, summary, remedy)


async def test_signs_of_life_come_at_half_the_interval(autojump_clock, monkeypatch, nursery):
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    manager = Manager(enough=5)
    nursery.start_soon(feed_watchdog, manager, {}, LOG, HealthRegistry())
    await manager.done.wait()
    assert [moment - manager.heard[0] for moment in manager.heard] == [0.0, 1.5, 3.0, 4.5, 6.0]


async def test_without_a_wish_there_are_none(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    manager = Manager(enough=1)
    await feed_watchdog(manager, {}, LOG, HealthRegistry())
    assert manager.heard == []


async def test_a_proof_that_hangs_or_fails_withholds_the_sign(autojump_clock, monkeypatch, nursery):
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    manager = Manager(enough=2)

    async def refuse():
        raise OSError("nobody there")

    turns = [trio.sleep_forever, refuse]

    async def proof():
        if turns:
            await turns.pop(0)()

    health = Telling()
    with structlog.testing.capture_logs() as records:
        nursery.start_soon(feed_watchdog, manager, {"feed": proof}, LOG, health)
        await manager.done.wait()
    told = [(verdict, summary.partition(":")[2]) for verdict, summary in health.told]
    assert told[:3] == [("critical", " hangs"), ("critical", " nobody there"), ("healthy", "")]
    assert manager.heard == [manager.heard[0], manager.heard[0] + 1.0]
    assert [(each["part"], each["error"]) for each in records] == [
        ("feed", "hangs"),
        ("feed", "nobody there"),
    ]


@pytest.mark.parametrize(("seconds", "verdict"), [(0.4, "healthy"), (0.6, "warning")])
async def test_health_tells_how_near_a_miss_was(
    autojump_clock, monkeypatch, nursery, seconds, verdict
):
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    manager, health = Manager(enough=2), HealthRegistry()

    async def proof():
        await trio.sleep(seconds)

    nursery.start_soon(feed_watchdog, manager, {"feed": proof}, LOG, health)
    await manager.done.wait()
    (check,) = health.report().checks
    assert (check.name, check.status) == ("watchdog", verdict)
    assert f"took {seconds:.2f} of at most 1 s" in check.summary


async def test_proofs_ask_and_want_an_answer(tmp_path, nursery):
    async def answer(stream):
        async with stream:
            if b"silence" not in await stream.receive_some(1000):
                await stream.send_all(b"here")

    tcp, *_ = await nursery.start(trio.serve_tcp, answer, 0)
    await ask_http(tcp, "/")
    with pytest.raises(OSError, match="without an answer"):
        await ask_http(tcp, "/silence")
    unix = trio.SocketListener(trio.socket.from_stdlib_socket(bind_unix(tmp_path / "a.sock")))
    nursery.start_soon(trio.serve_listeners, answer, [unix])
    await ask_unix(tmp_path / "a.sock", b"well?")
    with pytest.raises(OSError, match="without an answer"):
        await ask_unix(tmp_path / "a.sock", b"silence")
    with pytest.raises(FileNotFoundError):
        await ask_unix(tmp_path / "b.sock", b"well?")


async def test_a_handler_proves_itself_without_its_port():
    served = []

    async def serve(stream):
        async with stream:
            served.append(await stream.receive_some())
            if b"/favicon" in served[-1]:
                await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")

    await ask_handler(serve, "/favicon.svg")
    assert served[0].startswith(b"GET /favicon.svg HTTP/1.1\r\nHost: 127.0.0.1:")
    with pytest.raises(OSError, match="without an answer"):
        await ask_handler(serve, "/silence")


async def test_many_bugs_in_a_short_while_exhaust_the_budget(mock_clock):
    with structlog.testing.capture_logs() as records:
        budget = ErrorBudget(structlog.get_logger(), bugs=3, seconds=60.0)
        for seconds in (0, 31, 30):
            mock_clock.jump(seconds)
            budget.spend("a handler", ValueError("oops"))
        assert not budget.exhausted.is_set()
        mock_clock.jump(29)
        budget.spend("a handler", ValueError("oops"))
        assert budget.exhausted.is_set()
    assert len(records) == 4
    assert (records[0]["event"], records[0]["error"]) == ("bug", "ValueError: oops")
