"""geoosd.runtime.link against a real Unix listener that comes and goes."""

import contextlib
import functools

import pytest
import structlog
import trio

from geoosd.errors import FrameTooLarge
from geoosd.runtime import sockets
from geoosd.runtime.link import Link


class Peer:
    """The other end: accepts, greets, and hangs up when told."""

    def __init__(self, path):
        self.path = path
        self.accepted = 0

    async def serve(self, *, task_status=trio.TASK_STATUS_IGNORED):
        sock = sockets.bind_unix(self.path)
        sock.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        await trio.serve_listeners(self._greet, [listener], task_status=task_status)

    async def _greet(self, stream):
        self.accepted += 1
        with contextlib.suppress(trio.BrokenResourceError):
            async with stream:
                await stream.send_all(b"hello")
                await stream.receive_some()


@pytest.fixture
def peer(tmp_path):
    return Peer(tmp_path / "feed.sock")


@pytest.fixture
def log():
    with structlog.testing.capture_logs():
        yield structlog.get_logger()


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the link has no event for a test to wait on
            await trio.sleep(0.005)


async def read_for_ever(stream):
    async for _ in stream:
        pass


async def test_it_connects_when_the_peer_appears_and_again_after_it_went(peer, log, nursery):
    link = Link("feed", peer.path, read_for_ever, log=log, min_delay=0.01, max_delay=0.02)
    assert link.report().state == "down"
    nursery.start_soon(link.run)
    with trio.CancelScope() as first_life:
        async with trio.open_nursery() as life:
            await life.start(peer.serve)
            await until(lambda: link.connected)
            assert link.report().state == "connected"
            assert link.report().reconnects == 0
            first_life.cancel()
    await until(lambda: not link.connected)
    async with trio.open_nursery() as life:
        await life.start(peer.serve)
        await until(lambda: link.connected)
        report = link.report()
        assert (report.name, report.peer) == ("feed", str(peer.path))
        assert (report.state, report.reconnects) == ("connected", 1)
        life.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "breaking",
    [None, FrameTooLarge(9, 8), trio.EndOfChannel(), trio.BrokenResourceError(), OSError(5, "io")],
)
async def test_a_session_that_ends_is_begun_anew(breaking, peer, log, nursery):
    async def session(stream):
        assert await stream.receive_some() == b"hello"
        if breaking is not None:
            raise breaking

    await nursery.start(peer.serve)
    link = Link("feed", peer.path, session, log=log, min_delay=0.001, max_delay=0.002)
    nursery.start_soon(link.run)
    await until(lambda: peer.accepted >= 3)
    assert link.report().reconnects >= 2
    nursery.cancel_scope.cancel()


async def test_a_broken_part_of_a_nursery_in_the_session_counts_too(peer, log, nursery):
    async def session(stream):
        async with trio.open_nursery() as parts:
            parts.start_soon(read_for_ever, stream)
            parts.start_soon(functools.partial(fail, trio.BrokenResourceError("gone")))

    async def fail(error):
        raise error

    await nursery.start(peer.serve)
    link = Link("feed", peer.path, session, log=log, min_delay=0.001, max_delay=0.002)
    nursery.start_soon(link.run)
    await until(lambda: peer.accepted >= 2)
    assert link.report().reconnects >= 1
    nursery.cancel_scope.cancel()


async def test_a_bug_in_the_session_is_not_hidden(peer, log, nursery):
    async def session(_stream):
        raise ZeroDivisionError

    await nursery.start(peer.serve)
    link = Link("feed", peer.path, session, log=log)
    with pytest.RaisesGroup(ZeroDivisionError, allow_unwrapped=True):
        await link.run()
    assert not link.connected
    nursery.cancel_scope.cancel()


async def test_attempts_become_rarer_up_to_a_bound(tmp_path, autojump_clock, monkeypatch, log):
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    tried = []

    async def refuse(_path):
        tried.append(trio.current_time())
        raise FileNotFoundError(2, "no such file")

    monkeypatch.setattr(trio, "open_unix_socket", refuse)
    link = Link("feed", tmp_path / "x", read_for_ever, log=log, min_delay=0.25, max_delay=1.0)
    with trio.move_on_after(4.5):
        await link.run()
    assert [moment - tried[0] for moment in tried] == [0, 0.25, 0.75, 1.75, 2.75, 3.75]
