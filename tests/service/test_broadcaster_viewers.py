"""Viewers over real sockets, with the ``websockets`` package and trio-websocket as clients."""

import json
import socket
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise

import pytest
import trio
from broadcaster_feed import FakeFeed
from trio_websocket import open_websocket_url
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from geoosd import config
from geoosd.broadcaster.core import frames
from geoosd.broadcaster.service import SPEC
from geoosd.runtime import logs, service, varlink
from geoosd.wire.messages import (
    SessionEnded,
    SessionStarted,
    Theme,
    ThemeChanged,
    TokenVisualizationUpdate,
)

TOKEN = TokenVisualizationUpdate(current_token=" geometry", sequence_position=1, model="m1")
FAT = TokenVisualizationUpdate(current_token="x" * 1000, sequence_position=1)
THEME = Theme(
    "dark", "Dark", "#000000", "#ffffff", "#888888", "#00ff00", ["#000000"] * 2, ["#ffffff"]
)


class Stand:
    """A broadcaster in a nursery, and what a test needs to reach it."""

    def __init__(self, runtime, feed):
        self.runtime = runtime
        self.feed = feed
        self.service = None

    @property
    def port(self):
        return int(self.service._addresses[0].rsplit(":", 1)[1].rstrip("/"))

    def url(self, query=""):
        return f"ws://127.0.0.1:{self.port}/neural{query}"

    async def get(self, method, parameters=None):
        return await varlink.call(self.runtime.paths.varlink("broadcaster"), method, parameters)

    async def until(self, condition):
        with trio.fail_after(10):
            while not condition():  # noqa: ASYNC110 - a condition of many parts
                await trio.sleep(0.002)


@asynccontextmanager
async def standing(tmp_path, *overrides, feed=True):
    paths = config.Paths(tmp_path / "run", tmp_path / "state")
    loaded = config.load(None, ["broadcaster.listen=127.0.0.1:0", *overrides])
    with logs.unconfigured("broadcaster") as book:
        runtime = service.Runtime("broadcaster", loaded, paths, log_book=book)
        stand = Stand(runtime, FakeFeed(paths.socket("feed.sock")))

        def create(given):
            stand.service = SPEC.create(given)
            return stand.service

        spec = service.ServiceSpec(name="broadcaster", summary="", create=create)
        async with trio.open_nursery() as nursery:
            if feed:
                await nursery.start(stand.feed.serve)
            await nursery.start(service.serve, spec, runtime)
            yield stand
            nursery.cancel_scope.cancel()


class Watcher:
    """A synchronous client of the ``websockets`` package, driven from trio."""

    def __init__(self, connection):
        self.connection = connection

    async def next(self, timeout=10):
        text = await trio.to_thread.run_sync(lambda: self.connection.recv(timeout))
        return json.loads(text)

    async def take(self, count):
        return [await self.next() for _ in range(count)]

    async def send(self, message_type, payload):
        text = json.dumps({"message_type": message_type, "payload": payload})
        await trio.to_thread.run_sync(self.connection.send, text)


@asynccontextmanager
async def watching(stand, query="", **options):
    connection = await trio.to_thread.run_sync(
        lambda: connect(stand.url(query), compression=None, legacy=True, **options)
    )
    try:
        yield Watcher(connection)
    finally:
        await trio.to_thread.run_sync(connection.close)


def kinds(messages):
    return [message["message_type"] for message in messages]


async def test_a_viewer_gets_hello_snapshot_and_then_messages_in_order(tmp_path):
    async with standing(tmp_path) as stand:
        await stand.feed.say(TOKEN, 3)
        await stand.until(lambda: stand.service.hub.seq == 3)
        async with watching(stand, subprotocols=["geoos.v1"]) as watcher:
            assert watcher.connection.subprotocol == "geoos.v1"
            hello, snapshot = await watcher.take(2)
            assert hello["payload"]["epoch"] == "e1"
            assert hello["payload"]["seq"] == 3
            assert snapshot["message_type"] == "Snapshot"
            assert snapshot["payload"]["at_seq"] == 3
            await stand.feed.say(TOKEN, 50)
            messages = await watcher.take(50)
            assert [message["seq"] for message in messages] == list(range(4, 54))
            assert messages[0]["payload"]["current_token"] == " geometry"


async def test_a_viewer_resumes_by_epoch_and_number(tmp_path):
    async with standing(tmp_path) as stand:
        await stand.feed.say(TOKEN, 20)
        await stand.until(lambda: stand.service.hub.seq == 20)
        async with watching(stand, "?epoch=e1&after=5&tick=0") as watcher:
            messages = await watcher.take(16)
            assert kinds(messages)[0] == "Hello"
            assert [message["seq"] for message in messages[1:]] == list(range(6, 21))


@pytest.mark.parametrize("query", ["?epoch=other&after=5", "?epoch=e1&after=5000"])
async def test_who_cannot_resume_gets_a_snapshot(tmp_path, query):
    async with standing(tmp_path) as stand:
        await stand.feed.say(TOKEN, 20)
        await stand.until(lambda: stand.service.hub.seq == 20)
        async with watching(stand, query) as watcher:
            assert kinds(await watcher.take(2)) == ["Hello", "Snapshot"]


async def test_the_ring_is_filled_before_viewers_are_let_in(tmp_path):
    paths = config.Paths(tmp_path / "run", tmp_path / "state")
    early = FakeFeed(paths.socket("feed.sock"))
    await early.say(TOKEN, 30)
    async with trio.open_nursery() as nursery:
        await nursery.start(early.serve)
        async with standing(tmp_path, feed=False) as stand:
            async with watching(stand, "?epoch=e1&after=0") as watcher:
                messages = await watcher.take(31)
                assert [message["seq"] for message in messages[1:]] == list(range(1, 31))
            assert early.requests == ["oldest"]
        nursery.cancel_scope.cancel()


async def test_without_a_compositor_viewers_are_let_in_and_health_says_so(tmp_path):
    async with standing(tmp_path, feed=False) as stand:
        async with watching(stand) as watcher:
            assert (await watcher.next())["message_type"] == "Hello"
        health = await stand.get("io.geoos.Daemon.GetHealth")
        assert health["status"] == "critical"
        assert health["checks"][0]["name"] == "feed"


async def test_a_restarted_compositor_means_hello_and_snapshot_anew(tmp_path):
    async with standing(tmp_path) as stand, watching(stand) as watcher:
        await watcher.take(2)
        await stand.feed.say(TOKEN, 2)
        await watcher.take(2)
        stand.feed.restart("e2")
        hello, snapshot = await watcher.take(2)
        assert hello["payload"]["epoch"] == "e2"
        assert snapshot["message_type"] == "Snapshot"
        await stand.feed.say(TOKEN)
        assert (await watcher.next())["seq"] == 1


async def test_a_broken_feed_is_resumed_without_loss(tmp_path):
    async with standing(tmp_path) as stand, watching(stand) as watcher:
        await watcher.take(2)
        await stand.feed.say(TOKEN, 2)
        await watcher.take(2)
        stand.feed.cut()
        await stand.feed.say(TOKEN, 3)
        assert [m["seq"] for m in await watcher.take(3)] == [3, 4, 5]


async def test_a_stalled_reader_gets_one_gap_and_every_control_message(tmp_path):
    async with standing(tmp_path, "broadcaster.max_lag=300") as stand:
        raw = socket.create_connection(("127.0.0.1", stand.port))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with (
            watching(stand, sock=raw, max_queue=1) as slow,
            watching(stand) as fast,
        ):
            await slow.take(2)
            await fast.take(2)
            total = 0
            viewer = next(iter(stand.service.hub.viewers))
            with trio.fail_after(30):
                # A reader that moved on meanwhile has had its Gap: filling on would make a second.
                while viewer.lag <= 300 and not viewer.gaps:
                    await stand.feed.say(FAT, 100)
                    total += 100
                    assert len(await fast.take(100)) == 100
            await stand.feed.say(SessionStarted("s1"))
            await stand.feed.say(SessionEnded("s1"))
            last = total + 2
            seen = []
            while not seen or seen[-1].get("seq") != last:
                seen.append(await slow.next())
            numbers = [m["seq"] for m in seen if "seq" in m]
            assert numbers == sorted(set(numbers))
            [gap] = [m["payload"] for m in seen if m["message_type"] == "Gap"]
            missing = sorted(set(range(1, last + 1)) - set(numbers))
            told = range(gap["from_seq"], gap["to_seq"] + 1)
            assert missing == [number for number in told if number not in numbers]
            assert gap["dropped"] == len(missing)
            assert kinds(seen)[-2:] == ["SessionStarted", "SessionEnded"]


async def test_who_stalls_costs_the_others_nothing(tmp_path, monkeypatch):
    """A full socket is not tried again until it has room, and nothing is encoded for it."""
    async with standing(tmp_path) as stand, watching(stand, "?tick=0") as fast:
        await fast.take(2)
        hub, fanout = stand.service.hub, stand.service.fanout
        [reading] = hub.viewers
        with ExitStack() as sockets:
            for _ in range(10):
                raw = sockets.enter_context(socket.create_connection(("127.0.0.1", stand.port)))
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                raw.sendall(UPGRADE)
            await stand.until(lambda: len(hub.viewers) == 11)
            stalled = [viewer for viewer in hub.viewers if viewer is not reading]
            with trio.fail_after(30):
                while not all(viewer.lag > 100 for viewer in stalled):
                    await stand.feed.say(FAT, 100)
                    await fast.take(100)
            await trio.testing.wait_all_tasks_blocked(0.05)
            tried, framed = {viewer: [0] for viewer in stalled}, []
            for viewer in stalled:
                stream = fanout.stream_of(viewer)
                send = partial(_tried, tried[viewer], stream.sender)
                stream._send = fanout._senders[viewer] = send
            monkeypatch.setattr(frames, "text_frame", partial(_noted, framed, frames.text_frame))
            sends = fanout.sends
            for _ in range(50):
                await stand.feed.say(TOKEN)
                await fast.next()
            # A kernel that is slow to move bytes may find room for some later.
            taken = sum(sent > 0 for each in tried.values() for sent in each)
            assert fanout.sends - sends - taken == len(framed) == 50
            for each in tried.values():
                assert all(sent or before for before, sent in pairwise(each)), "tried while full"


def _tried(outcomes, send, data):
    outcomes.append(0)
    outcomes[-1] = sent = send(data)
    return sent


def _noted(calls, function, data):
    calls.append(data)
    return function(data)


async def test_a_viewer_that_takes_nothing_is_evicted_and_a_quiet_one_is_not(tmp_path):
    async with standing(tmp_path, "broadcaster.max_stall_seconds=0.3") as stand:
        raw = socket.create_connection(("127.0.0.1", stand.port))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(UPGRADE)
        async with watching(stand, "?channels=canary") as quiet:
            await quiet.take(2)
            with trio.fail_after(30):
                while stand.service.hub.stalled == 0:
                    await stand.feed.say(FAT, 200)
                    await trio.sleep(0.05)
            await stand.feed.say(ThemeChanged(THEME))
            assert (await quiet.next())["message_type"] == "ThemeChanged"
        raw.close()


async def test_subscribe_changes_channels_and_models(tmp_path):
    async with standing(tmp_path) as stand, watching(stand, "?channels=sessions") as watcher:
        await watcher.take(2)
        await stand.feed.say(TOKEN)
        await stand.feed.say(SessionStarted("s1", "m1"))
        assert (await watcher.next())["message_type"] == "SessionStarted"
        await watcher.send("Subscribe", {"channels": ["tokens"], "models": ["m2"], "tick": 0})
        await stand.until(
            lambda: "tokens" in str([group.filter for group in stand.service.hub.groups])
        )
        await stand.feed.say(TOKEN)
        await stand.feed.say(
            TokenVisualizationUpdate(current_token="b", sequence_position=1, model="m2")
        )
        assert (await watcher.next())["payload"]["model"] == "m2"
        await watcher.send("Subscribe", {"tick": 7})
        error = (await watcher.next())["payload"]
        assert error["field"] == "payload.tick"
        await watcher.send("Demand", {"frames": True})
        assert (await watcher.next())["payload"]["code"] == "unknown_type"


async def test_close_codes(tmp_path):
    async with standing(tmp_path, "broadcaster.max_viewers=1") as stand:

        async def code_of(query, say=None):
            async with watching(stand, query) as watcher:
                with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
                    if say is not None:
                        await trio.to_thread.run_sync(watcher.connection.send, say)
                    while True:
                        await watcher.next()
                return closed.value.rcvd.code

        assert await code_of("?tick=5") == 1008
        assert await code_of("", "x" * 5000) == 1009
        await stand.until(lambda: not stand.service.hub.viewers)
        async with watching(stand) as watcher:
            await watcher.take(2)
            assert await code_of("") == 1013
            viewers = (await stand.get("io.geoos.Broadcaster.ListViewers"))["viewers"]
            assert viewers[0]["channels"] == ["sessions", "state", "tokens"]
            await stand.get("io.geoos.Broadcaster.DisconnectViewer", {"id": viewers[0]["id"]})
            with pytest.raises(ConnectionClosed) as closed:
                await watcher.next()
            assert closed.value.rcvd.code == 1008


async def test_viewers_are_told_of_a_restart(tmp_path):
    async with standing(tmp_path) as stand, watching(stand) as watcher:
        await watcher.take(2)
        stand.runtime.draining.set()
        with pytest.raises(ConnectionClosed) as closed:
            await watcher.next()
        assert closed.value.rcvd.code == 1001


async def test_pings_are_answered_and_trio_websocket_is_served(tmp_path):
    async with standing(tmp_path) as stand:
        with trio.fail_after(10):
            async with open_websocket_url(stand.url()) as connection:
                assert json.loads(await connection.get_message())["message_type"] == "Hello"
                await connection.ping(b"hello")
                assert json.loads(await connection.get_message())["message_type"] == "Snapshot"


UPGRADE = (
    b"GET /neural HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(first, payload=b"", mask=0x80):
    return bytes((first, mask | len(payload))) + (b"\0" * 4 if mask else b"") + payload


HOSTILE = {
    "host not ASCII": (UPGRADE.replace(b"localhost", b"\xff\xfe"), b"", b"HTTP/1.1 40"),
    "connection not ASCII": (UPGRADE.replace(b"n: Up", b"n: \xff, Up"), b"", b"HTTP/1.1 400"),
    "extensions not ASCII": (
        UPGRADE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: \xff\r\n\r\n"),
        b"",
        b"HTTP/1.1 400",
    ),
    "no key": (UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"), b"", b"HTTP/1.1 400"),
    "old version": (UPGRADE.replace(b"n: 13", b"n: 8"), b"", b"HTTP/1.1 426"),
    "bad key": (UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x"), b"", b"HTTP/1.1 400"),
    "no connection header": (UPGRADE.replace(b"n: Up", b"n: keep-"), b"", b"HTTP/1.1 400"),
    "key twice": (
        UPGRADE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
        b"",
        b"HTTP/1.1 400",
    ),
    "with a body": (
        UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"),
        b"",
        b"HTTP/1.1 400",
    ),
    "after another request": (
        b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n" + UPGRADE,
        b"",
        b"HTTP/1.1 200",
    ),
    "foreign origin": (
        UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n"),
        b"",
        b"HTTP/1.1 403",
    ),
    "foreign host": (UPGRADE.replace(b"localhost", b"evil.example"), b"", b"HTTP/1.1 403"),
    "elsewhere": (UPGRADE.replace(b"/neural", b"/other"), b"", b"HTTP/1.1 404"),
    "huge header": (
        UPGRADE.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 40_000 + b"\r\n\r\n"),
        b"",
        b"HTTP/1.1 431",
    ),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00" * 4 + b"\r\n\r\n", b"", b"HTTP/1.1 400"),
    "half a line": (b"GET /neural HT", b"", b""),
    "two upgrades": (UPGRADE + UPGRADE, b"", b"HTTP/1.1 101"),
    "reserved bits": (UPGRADE, b"\xf1\x80\0\0\0\0", b"HTTP/1.1 101"),
    "unmasked": (UPGRADE, b"\x81\x01a", b"HTTP/1.1 101"),
    "not UTF-8": (UPGRADE, frame(0x81, b"\xff"), b"HTTP/1.1 101"),
    "bad close code": (UPGRADE, frame(0x88, b"\0\1"), b"HTTP/1.1 101"),
    "fragmented ping": (UPGRADE, frame(0x09, b"a"), b"HTTP/1.1 101"),
    "unknown opcode": (UPGRADE, frame(0x83, b"a"), b"HTTP/1.1 101"),
    "ping after close": (UPGRADE, frame(0x88, b"\3\xe8") + frame(0x89, b"x"), b"HTTP/1.1 101"),
    "ping after ours": (
        UPGRADE.replace(b"/neural", b"/neural?tick=5"),
        frame(0x89, b"x") + frame(0x81, b"{}"),
        b"HTTP/1.1 101",
    ),
    "pings after too much": (
        UPGRADE,
        b"\x81\xfe\x20\x00" + b"\0" * 4 + b"a" * 8192 + frame(0x89, b"x") * 3,
        b"HTTP/1.1 101",
    ),
    "binary": (UPGRADE, frame(0x82, b"\0\1\2"), b"HTTP/1.1 101"),
    "junk": (UPGRADE, bytes(range(256)) * 8, b"HTTP/1.1 101"),
}


async def exchange(port, head, rest):
    """Send *head*, *rest* after an answer; all that comes back, until quiet or the end."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    got = b""
    async with stream:
        try:
            await stream.send_all(head)
            if rest:
                got += await stream.receive_some()
                await stream.send_all(rest)
            with trio.move_on_after(0.15):
                while chunk := await stream.receive_some():
                    got += chunk
        except trio.BrokenResourceError:
            pass
    return got


async def test_hostile_clients_end_their_own_connection_alone(tmp_path):
    async with standing(tmp_path) as stand, watching(stand) as bystander:
        await bystander.take(2)
        for name, (head, rest, expected) in HOSTILE.items():
            with trio.fail_after(10):
                got = await exchange(stand.port, head, rest)
            assert got.startswith(expected), (name, got[:80])
        await stand.feed.say(TOKEN)
        assert (await bystander.next())["seq"] == 1
        await stand.until(lambda: len(stand.service.hub.viewers) == 1)
        await stand.until(lambda: stand.service.port.connections == 1)


async def test_status_and_metrics(tmp_path):
    async with standing(tmp_path) as stand, watching(stand) as watcher:
        await watcher.take(2)
        await stand.feed.say(TOKEN, 5)
        await watcher.take(5)
        status = (await stand.get("io.geoos.Daemon.GetStatus"))["status"]
        assert status["status"] == "1 viewer"
        assert status["links"][0]["state"] == "connected"
        assert status["queues"][0]["depth"] == 5
        text = (await stand.get("io.geoos.Daemon.GetMetrics"))["text"]
        assert "broadcast_messages_total 5.0" in text
        assert "broadcast_clients_active 1.0" in text
        viewers = (await stand.get("io.geoos.Broadcaster.ListViewers"))["viewers"]
        assert (viewers[0]["sent"], viewers[0]["lag"]) == (5, 0)
