"""What a client may cost: time, places, messages, silence; and that nobody else notices."""

import json
import os
import socket
from pathlib import Path

import httpx
import pytest
import trio
from broadcaster_wire import PING, PONG, TEXT, UPGRADE, close, frame, raw_viewer
from test_broadcaster_viewers import TOKEN, standing, watching
from websockets.exceptions import ConnectionClosed

SUBSCRIBE = b'{"message_type":"Subscribe","payload":{"tick":0}}'


def ended(stream):
    """Whether the server has ended the connection; what it still said is thrown away."""
    with socket.socket(fileno=os.dup(stream.socket.fileno())) as sock:
        try:
            while sock.recv(65536, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        return True


async def settle():
    """Let everything happen that needs no time to pass."""
    await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize(
    ("before", "said", "seconds"),
    [
        (b"", b"", 10),
        (b"", b"GET /neural HTTP/1.1\r\nHost: loc", 10),
        (b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", 30),
        (b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HT", 10),
        (b"", b"POST /api/prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", 16),
    ],
)
async def test_a_slow_client_is_closed_in_time(tmp_path, mock_clock, before, said, seconds):
    async with standing(tmp_path) as stand:
        stream = await trio.open_tcp_stream("127.0.0.1", stand.port)
        async with stream:
            if before:
                await stream.send_all(before)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
                await settle()
            if said:
                await stream.send_all(said)
            await settle()
            # A byte now and then does not buy more time.
            for _ in range(3):
                mock_clock.jump((seconds - 1) / 4)
                if said.startswith(b"GET"):
                    await stream.send_all(b"x")
                await settle()
            assert not ended(stream)
            mock_clock.jump(seconds / 4 + 2)
            await settle()
            assert ended(stream)
        await settle()
        assert stand.service.port.connections == 0


async def test_silence_is_asked_and_then_ended(tmp_path, mock_clock):
    async with standing(tmp_path) as stand, raw_viewer(stand.port) as viewer:
        for _ in range(2):  # Hello, Snapshot
            await viewer.next()
        for _ in range(20):
            mock_clock.jump(5)
            await settle()
            if stand.service.hub.viewers and mock_clock.current_time() % 20 < 5:
                await viewer.send(frame(PONG))  # alive: a hundred seconds of it
                await settle()
        assert len(stand.service.hub.viewers) == 1
        for _ in range(14):
            mock_clock.jump(5)
            await settle()
        assert not stand.service.hub.viewers
        seen, code = await viewer.until_close()
        assert {opcode for opcode, _payload in seen} == {PING}
        assert code == 4000


async def test_a_viewer_that_does_not_answer_our_close_is_dropped(tmp_path, mock_clock):
    async with standing(tmp_path) as stand, raw_viewer(stand.port) as viewer:
        await settle()
        [shown] = (await stand.get("io.geoos.Broadcaster.ListViewers"))["viewers"]
        await stand.get("io.geoos.Broadcaster.DisconnectViewer", {"id": shown["id"]})
        await settle()
        assert stand.service.port.connections == 1
        mock_clock.jump(2.1)
        await settle()
        assert stand.service.port.connections == 0
        assert (await viewer.until_close())[1] == 1008


async def test_who_says_too_much_is_closed(tmp_path):
    async with standing(tmp_path) as stand:
        async with raw_viewer(stand.port) as viewer:
            await viewer.send(frame(TEXT, SUBSCRIBE) * 30)
            _seen, code = await viewer.until_close()
            assert code == 1008
        await stand.until(lambda: not stand.service.hub.viewers)


async def test_an_answer_waits_for_hello(tmp_path):
    async with standing(tmp_path) as stand:
        stand.feed.snapshots = False  # one is waited for
        async with raw_viewer(stand.port) as viewer:
            await viewer.send(frame(TEXT, b"no JSON") + frame(PING, b"heard"))
            assert await viewer.next() == (PONG, b"heard")
            stand.feed.cut()  # it goes without
            for kind in (b"Hello", b"Error"):
                _opcode, payload = await viewer.next()
                assert b'"message_type":"%b"' % kind in payload


async def test_a_flood_of_pings_is_read_slowly(tmp_path, mock_clock):
    async with standing(tmp_path) as stand, raw_viewer(stand.port) as viewer:
        await settle()
        stream = next(iter(stand.service.fanout.streams))
        flood = frame(PING, b"p" * 100) * 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(viewer.send, flood)
            await settle()
            pongs = stand.service.fanout.sends
            assert pongs < 750
            mock_clock.jump(1.0)
            await settle()
            assert pongs < stand.service.fanout.sends < pongs + 120
            nursery.cancel_scope.cancel()
        assert not stream.closed


async def test_a_full_house_costs_nothing_and_says_so(tmp_path):
    async with standing(tmp_path, "broadcaster.max_viewers=1") as stand:
        async with watching(stand) as seated:
            await seated.take(2)
            for _ in range(50):
                async with raw_viewer(stand.port) as viewer:
                    seen, code = await viewer.until_close()
                assert (seen, code) == ([], 1013)
            assert len(stand.service.fanout) == 1
            assert stand.service.viewers.refused == 50
            await stand.feed.say(TOKEN)
            assert (await seated.next())["seq"] == 1
        # It is gone from the list a moment before its place is free.
        await stand.until(lambda: not stand.service.viewers._places)
        async with watching(stand, subprotocols=["geoos.v1"]) as seated:
            assert (await seated.next())["message_type"] == "Hello"


async def test_no_more_viewers_than_files(tmp_path, monkeypatch):
    monkeypatch.setattr("geoosd.broadcaster.service.allow_files", lambda _wanted: 322)
    async with standing(tmp_path, "broadcaster.max_viewers=9") as stand:
        health = await stand.get("io.geoos.Daemon.GetHealth")
        [check] = [each for each in health["checks"] if each["name"] == "files"]
        assert check["status"] == "warning"
        assert check["summary"] == "room for 2 viewers instead of 9: at most 322 open files"
        assert "ulimit -n" in check["remedy"]
        async with raw_viewer(stand.port), raw_viewer(stand.port):
            await stand.until(lambda: len(stand.service.hub.viewers) >= 2)
            async with raw_viewer(stand.port) as third:
                assert (await third.until_close())[1] == 1013


async def test_who_is_refused_gets_the_subprotocol_all_the_same(tmp_path):
    """A browser that asked for one would otherwise not see the close code."""
    async with (
        standing(tmp_path) as stand,
        watching(stand, "?tick=5", subprotocols=["geoos.v1"]) as watcher,
    ):
        assert watcher.connection.subprotocol == "geoos.v1"
        with pytest.raises(ConnectionClosed) as closed:
            await watcher.next()
        assert closed.value.rcvd.code == 1008
        assert "tick" in closed.value.rcvd.reason


async def test_an_address_has_so_many_places(tmp_path):
    """A proxy on this machine says where its clients are; whoever is here is not counted."""
    there = UPGRADE.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1, 198.51.100.7\r\n\r\n")
    async with standing(tmp_path, "broadcaster.max_per_address=2") as stand:
        async with (
            raw_viewer(stand.port, there),
            raw_viewer(stand.port, there),
            raw_viewer(stand.port, there) as third,
            raw_viewer(stand.port),
            raw_viewer(stand.port),
            raw_viewer(stand.port),
        ):
            assert (await third.until_close())[1] == 1013
            await stand.until(lambda: len(stand.service.hub.viewers) == 5)
            shown = (await stand.get("io.geoos.Broadcaster.ListViewers"))["viewers"]
            assert [v["address"] for v in shown].count("198.51.100.7") == 2
        await stand.until(lambda: not stand.service.hub.viewers)
        assert len(stand.service.viewers.census) == 0
        async with raw_viewer(stand.port, there) as again:
            assert await again.next() is not None


async def test_too_many_connections_are_told_so(tmp_path):
    async with standing(tmp_path) as stand:
        stand.service.port.max_connections = 1
        async with await trio.open_tcp_stream("127.0.0.1", stand.port):
            await stand.until(lambda: stand.service.port.connections == 1)
            async with httpx.AsyncClient() as http:
                answer = await http.get(f"http://127.0.0.1:{stand.port}/healthz")
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
        stand.service.port.max_connections = 10
        stand.service.port.census.enter = lambda _address: False
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"http://127.0.0.1:{stand.port}/healthz")
        assert answer.status_code == 429
        assert stand.service.port.turned_away == 2


async def test_a_restart_sends_viewers_away_for_different_times(tmp_path):
    async with (
        standing(tmp_path) as stand,
        raw_viewer(stand.port) as one,
        raw_viewer(stand.port) as two,
        raw_viewer(stand.port) as three,
    ):
        await stand.until(lambda: len(stand.service.hub.viewers) == 3)
        stand.runtime.draining.set()
        waits = set()
        for viewer in (one, two, three):
            while (found := await viewer.next()) is not None and found[0] != 0x8:
                pass
            code, reason = int.from_bytes(found[1][:2], "big"), found[1][2:].decode()
            assert code == 1001
            assert reason.startswith("restarting; retry in ")
            waits.add(int(reason.split()[-2]))
            await viewer.send(close(1001))
        assert len(waits) == 3
        assert all(1000 <= wait <= 1750 for wait in waits)


async def test_resets_in_every_state_leave_nothing_behind(tmp_path):
    """RST before, in and after the handshake, in the middle of a frame, with bytes unread."""
    async with standing(tmp_path) as stand, watching(stand) as bystander:
        await bystander.take(2)
        await settle()
        tasks, files = trio.lowlevel.current_statistics().tasks_living, open_files()
        for said in (
            b"",
            UPGRADE[:30],
            UPGRADE,
            UPGRADE + frame(TEXT, SUBSCRIBE)[:9],
            UPGRADE + frame(TEXT, SUBSCRIBE) * 3,
            UPGRADE + close(1000),
            b"GET /snapshot.png HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
        ):
            sock = socket.create_connection(("127.0.0.1", stand.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(said)
            await settle()
            sock.close()
        await stand.feed.say(TOKEN, 3)
        assert [(await bystander.next())["seq"] for _ in range(3)] == [1, 2, 3]
        await stand.until(lambda: stand.service.port.connections == 1)
        await settle()
        assert len(stand.service.hub.viewers) == 1
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert open_files() == files


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_the_rate_of_each_viewer_is_told(tmp_path, mock_clock):
    async with (
        standing(tmp_path) as stand,
        raw_viewer(stand.port, UPGRADE.replace(b"?channels=canary", b"?tick=0")) as viewer,
    ):
        await settle()
        mock_clock.jump(5)
        await settle()
        await stand.feed.say(TOKEN, 100)
        await settle()
        mock_clock.jump(5)
        await settle()
        [shown] = (await stand.get("io.geoos.Broadcaster.ListViewers"))["viewers"]
        assert shown["rate"] == 20.0
        text = (await stand.get("io.geoos.Daemon.GetMetrics"))["text"]
        assert 'broadcast_lag_messages_bucket{le="0.0"} 2.0' in text
        assert json.loads((await viewer.next())[1])["message_type"] == "Hello"
