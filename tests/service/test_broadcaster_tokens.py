"""Tokens: who gets in by which way, what a role may do, and where a token must never show."""

import json
import time

import httpx
import pytest
import trio
from broadcaster_wire import PONG, UPGRADE, frame, raw_viewer
from test_broadcaster_http import client
from test_broadcaster_hygiene import settle
from test_broadcaster_viewers import TOKEN, standing, watching
from websockets.exceptions import ConnectionClosed, InvalidStatus

from geoosd.broadcaster.adapters.stream import CLOSE_SECONDS
from geoosd.errors import ConfigError
from geoosd.wire import tokens

KEY = b"k" * 32
VIEWER = tokens.issue(KEY, "viewer", "1", time.time(), 3600)
ADMIN = tokens.issue(KEY, "admin", "2", time.time(), 3600)
BAD = {
    "expired": tokens.issue(KEY, "admin", "3", time.time() - 7200, 3600),
    "of another key": tokens.issue(b"x" * 32, "admin", "4", time.time(), 3600),
    "cut": ADMIN[:-1],
    "garbage": "a.b.c",
    "unsigned": "eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW4iLCJpc3MiOiJnZW9vcyIsImV4cCI6OTk5OTk5OTl9.",
}


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "viewers.key"
    file.write_bytes(KEY + b"\n")
    return file


def bearer(token):
    return {"authorization": f"Bearer {token}"}


async def test_every_call_needs_a_token(tmp_path, key_file):
    async with (
        standing(tmp_path, f"broadcaster.token_key={key_file}") as stand,
        client(stand) as http,
    ):
        for path, methods in stand.service.port.router._routes.items():
            for method in methods:
                answer = await http.request(method, path)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == 'Bearer realm="geoos"'
                assert "geoosctl token create" in answer.json()["error"]["message"]
        assert (await http.get("/nowhere")).status_code == 401
        for name, token in BAD.items():
            answer = await http.get("/healthz", headers=bearer(token))
            assert answer.status_code == 401, name
            assert token not in answer.text
        for way in (
            {"headers": bearer(VIEWER)},
            {"headers": {"authorization": f"bearer  {VIEWER}"}},
            {"headers": {"cookie": f"a=b; geoos_token={VIEWER}"}},
            # Cookies of localhost know no ports: what others keep in theirs is anything.
            {"headers": {"cookie": f'a={{"b":"c d"}}; e f=[]; ;=; geoos_token={VIEWER}; g'}},
            {"params": {"access_token": VIEWER}},
        ):
            assert (await http.get("/healthz", **way)).status_code == 200
        lines = [("cookie", f"geoos_token={VIEWER}"), ("cookie", "a=b")]  # as HTTP/2 splits them
        assert (await http.get("/healthz", headers=lines)).status_code == 200
        for cookie in ("geoos_token", "=;=", 'geoos_token="', "a[]=1; geoos_token=\x01"):
            answer = await http.get("/healthz", headers={"cookie": cookie})
            assert answer.status_code in (400, 401)


async def test_a_viewer_may_look_and_an_admin_may_change(tmp_path, key_file):
    async with (
        standing(tmp_path, f"broadcaster.token_key={key_file}") as stand,
        client(stand) as http,
    ):
        refused = await http.post("/api/prompt", json={"prompt": "hi"}, headers=bearer(VIEWER))
        assert refused.status_code == 403
        assert "insufficient_scope" in refused.headers["www-authenticate"]
        taken = await http.post("/api/prompt", json={"prompt": "hi"}, headers=bearer(ADMIN))
        assert taken.status_code == 503  # there is no bridge: it got that far
        foreign = {**bearer(ADMIN), "origin": "https://evil.example"}
        assert (await http.post("/api/prompt", json={}, headers=foreign)).status_code == 403


async def test_a_browser_is_given_a_cookie_and_an_address_without_the_token(tmp_path, key_file):
    async with (
        standing(tmp_path, f"broadcaster.token_key={key_file}") as stand,
        client(stand) as http,
    ):
        sent = await http.get(f"/?access_token={VIEWER}&view=river")
        assert sent.status_code == 303
        assert sent.headers["location"] == "/?view=river"
        cookie = sent.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
        assert "Secure" not in cookie
        proxied = {"x-forwarded-proto": "https"}
        sent = await http.get(f"/?access_token={VIEWER}", headers=proxied)
        assert sent.headers["location"] == "/"
        assert "; Secure" in sent.headers["set-cookie"]
        http.cookies.clear()
        http.cookies.set("geoos_token", VIEWER)
        assert (await http.get("/")).status_code == 200
        assert (await http.get(f"/?access_token={BAD['cut']}")).status_code == 401


async def test_viewers_need_one_too(tmp_path, key_file):
    async with standing(tmp_path, f"broadcaster.token_key={key_file}") as stand:
        with pytest.raises(InvalidStatus) as refused:
            async with watching(stand):
                pass
        assert refused.value.response.status_code == 401
        async with (
            watching(stand, f"?access_token={VIEWER}&tick=0") as by_query,
            watching(stand, additional_headers=bearer(VIEWER)) as by_header,
            watching(stand, additional_headers={"Cookie": f"geoos_token={VIEWER}"}) as by_cookie,
        ):
            for watcher in (by_query, by_header, by_cookie):
                assert (await watcher.next())["message_type"] == "Hello"
            await stand.feed.say(TOKEN)
            assert sorted(viewer.subscription.tick for viewer in stand.service.hub.viewers) == [
                0,
                16,
                16,
            ]


async def test_a_connection_ends_with_its_token(tmp_path, key_file, mock_clock):
    token = tokens.issue(KEY, "viewer", "5", 1_000_000.0, 90)
    upgrade = UPGRADE.replace(b"?", b"?access_token=" + token.encode() + b"&")
    async with standing(tmp_path, f"broadcaster.token_key={key_file}") as stand:
        clock = [1_000_010.0]
        stand.service.port.router.guard._now = stand.service.fanout.now = lambda: clock[0]
        async with raw_viewer(stand.port, upgrade) as viewer:
            await settle()
            # A sign of life in between: a minute of silence ends a connection for that alone.
            mock_clock.jump(59)
            await settle()
            await viewer.send(frame(PONG))
            await settle()
            clock[0] += 85
            mock_clock.jump(1)
            await settle()
            mock_clock.jump(CLOSE_SECONDS)  # it does not answer our Close
            await settle()
            assert (await viewer.until_close())[1] == 1008


async def test_a_stream_of_pictures_ends_with_its_token(tmp_path, key_file, mock_clock):
    token = tokens.issue(KEY, "viewer", "6", 1_000_000.0, 90)
    sent = f"GET /stream.mjpg?access_token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with standing(tmp_path, f"broadcaster.token_key={key_file}") as stand:
        clock = [1_000_010.0]
        port = stand.service.port
        port.router.guard._now = port.now = lambda: clock[0]
        async with await trio.open_tcp_stream("127.0.0.1", stand.port) as stream:
            await stream.send_all(sent.encode())
            got = await stream.receive_some()
            assert got.startswith(b"HTTP/1.1 200")
            await settle()
            clock[0] += 85
            mock_clock.jump(60)
            async for chunk in stream:
                got += chunk
        assert got.count(b"--geoos") <= 1, "no picture was shown"


async def test_another_key_ends_all_tokens_those_of_who_is_here_too(tmp_path, key_file):
    async with (
        standing(tmp_path, f"broadcaster.token_key={key_file}") as stand,
        client(stand) as http,
        watching(stand, f"?access_token={VIEWER}") as watcher,
        http.stream("GET", "/stream.mjpg", params={"access_token": VIEWER}) as pictures,
    ):
        await watcher.take(2)
        await stand.runtime.reload()  # with the same key: nobody notices
        await stand.feed.say(TOKEN)
        assert (await watcher.next())["seq"] == 1
        other = b"n" * 32
        key_file.write_bytes(other)
        await stand.runtime.reload()
        with pytest.raises(ConnectionClosed) as closed:
            await watcher.next()
        assert closed.value.rcvd.code == 1008
        with trio.fail_after(5):
            async for _ in pictures.aiter_raw():
                pass
        assert (await http.get("/healthz", headers=bearer(VIEWER))).status_code == 401
        fresh = tokens.issue(other, "viewer", "7", time.time(), 600)
        async with watching(stand, f"?access_token={fresh}") as back:
            assert (await back.next())["message_type"] == "Hello"


async def test_tokens_do_not_show(tmp_path, key_file):
    async with (
        standing(tmp_path, f"broadcaster.token_key={key_file}", "log.level=debug") as stand,
        client(stand) as http,
    ):
        async with watching(stand, f"?access_token={VIEWER}") as watcher:
            await watcher.take(2)
            said = [
                await stand.get("io.geoos.Broadcaster.ListViewers"),
                await stand.get("io.geoos.Daemon.GetStatus"),
                await stand.get("io.geoos.Daemon.GetMetrics"),
            ]
        await http.get(f"/snapshot.png?access_token={VIEWER}")
        broken = f"GET /neural?access_token={VIEWER} HTTP/1.1\r\nHost: localhost\r\n\xff\r\n\r\n"
        stream = await trio.open_tcp_stream("127.0.0.1", stand.port)
        async with stream:
            await stream.send_all(broken.encode("latin-1"))
            said.append((await stream.receive_some()).decode())
        text = json.dumps(
            [
                said,
                [
                    str(record)
                    for record in stand.runtime.logs.ring.newest(1000, lambda _record: True)[0]
                ],
            ]
        )
        assert VIEWER not in text
        assert VIEWER.split(".")[2] not in text


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:1", "[::]:0"])
async def test_it_refuses_to_listen_off_loopback_without_a_key(tmp_path, address):
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigError, match="geoosctl token key"),
        flatten_subgroups=True,
        allow_unwrapped=True,
    ):
        async with standing(tmp_path, f"broadcaster.listen={address}"):
            pass


async def test_off_loopback_with_a_key(tmp_path, key_file):
    settings = ("broadcaster.listen=0.0.0.0:0", f"broadcaster.token_key={key_file}")
    async with standing(tmp_path, *settings) as stand, client(stand) as http:
        assert (await http.get("/healthz")).status_code == 401
        there = {**bearer(VIEWER), "host": "192.0.2.9:8765"}
        assert (await http.get("/healthz", headers=there)).status_code == 200
        named = {**bearer(VIEWER), "host": "evil.example"}
        assert (await http.get("/healthz", headers=named)).status_code == 403
        await stand.runtime.proofs["page"]()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("viewers", "CREDENTIALS_DIRECTORY is not set"),
        ("./viewers.key", "absolute path"),
        ("/nowhere/viewers.key", "no such file"),
        ("SHORT", "at least 32"),
    ],
)
async def test_a_key_that_cannot_be_used_is_named(tmp_path, monkeypatch, name, reason):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if name == "SHORT":
        (tmp_path / "short").write_bytes(b"short")
        name = str(tmp_path / "short")
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigError, match=reason), flatten_subgroups=True, allow_unwrapped=True
    ):
        async with standing(tmp_path, f"broadcaster.token_key={name}"):
            pass


async def test_a_credential_is_a_key(tmp_path, monkeypatch, key_file):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    async with standing(tmp_path, "broadcaster.token_key=viewers.key") as stand:
        async with httpx.AsyncClient(headers=bearer(VIEWER)) as http:
            answer = await http.get(f"http://127.0.0.1:{stand.port}/healthz")
        assert answer.status_code == 200
