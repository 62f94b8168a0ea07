"""etc/examples/nginx.conf, as it is but for ports and certificate, run by a real nginx."""

import json
import shutil
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from test_broadcaster_tokens import ADMIN, KEY, VIEWER, bearer
from test_broadcaster_viewers import TOKEN, Watcher, standing
from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]
TLS = ROOT / "tests" / "data" / "tls"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx: sudo apt install nginx-light")


def configuration(folder, upstream, port):
    """The example inside a whole configuration that writes nowhere but into *folder*."""
    example = (ROOT / "etc" / "examples" / "nginx.conf").read_text()
    for ours, theirs in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "http://127.0.0.1:8765": f"http://127.0.0.1:{upstream}",
        "/etc/ssl/certs/watch.example.pem": str(TLS / "certificate.pem"),
        "/etc/ssl/private/watch.example.key": str(TLS / "key.pem"),
    }.items():
        assert example.count(ours) == 1
        example = example.replace(ours, theirs)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    return (
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\n{temporary}\n{example}\n}}\n"
    )


@asynccontextmanager
async def proxied(tmp_path):
    """A broadcaster that asks for tokens, and the port of an nginx before it."""
    (tmp_path / "key").write_bytes(KEY)
    settings = (
        f"broadcaster.token_key={tmp_path}/key",
        'broadcaster.origins=["https://watch.example"]',
    )
    async with standing(tmp_path, *settings) as stand:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        file = tmp_path / "nginx.conf"
        file.write_text(configuration(tmp_path, stand.port, port))
        command = [NGINX, "-p", tmp_path, "-c", file, "-e", tmp_path / "error.log"]
        process = await trio.to_thread.run_sync(subprocess.Popen, command)
        try:
            with trio.fail_after(10):
                while True:
                    assert process.poll() is None, (tmp_path / "error.log").read_text()
                    try:
                        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                        break
                    except OSError:
                        await trio.sleep(0.02)
            yield stand, port
        finally:
            process.terminate()
            await trio.to_thread.run_sync(process.wait)


def trusting():
    context = ssl.create_default_context(cafile=TLS / "certificate.pem")
    context.check_hostname = False
    return context


@asynccontextmanager
async def watching(port, query="", **options):
    connection = await trio.to_thread.run_sync(
        lambda: connect(
            f"wss://watch.example/neural{query}",
            sock=socket.create_connection(("127.0.0.1", port)),
            ssl=trusting(),
            compression=None,
            legacy=True,
            **options,
        )
    )
    try:
        yield Watcher(connection)
    finally:
        await trio.to_thread.run_sync(connection.close)


async def test_page_pictures_and_viewers_through_nginx(tmp_path):
    async with proxied(tmp_path) as (stand, port):
        there = {"base_url": f"https://127.0.0.1:{port}", "verify": trusting()}
        async with httpx.AsyncClient(**there, headers={"host": "watch.example"}) as http:
            assert (await http.get("/")).status_code == 401
            sent = await http.get(f"/?access_token={VIEWER}")
            assert sent.status_code == 303
            assert "; Secure" in sent.headers["set-cookie"]
            cookie = sent.headers["set-cookie"].partition(";")[0]
            page = await http.get("/", headers={"cookie": cookie})
            assert page.status_code == 200
            assert "frame-ancestors" in page.headers["content-security-policy"]
            ours = {**bearer(ADMIN), "origin": "https://watch.example"}
            taken = await http.post("/api/prompt", json={"prompt": "a"}, headers=ours)
            assert taken.json()["error"]["code"] == "unavailable"  # no bridge here: it was let in
            theirs = {**ours, "origin": "https://evil.example"}
            assert (await http.post("/api/prompt", json={}, headers=theirs)).status_code == 403
        async with watching(
            port,
            "?tick=0",
            additional_headers={"Cookie": cookie},
            origin="https://watch.example",
            subprotocols=["geoos.v1"],
        ) as watcher:
            assert watcher.connection.subprotocol == "geoos.v1"
            await watcher.take(2)
            for first in range(1, 200, 10):
                await stand.feed.say(TOKEN, 10)
                seen = [message["seq"] for message in await watcher.take(10)]
                assert seen == list(range(first, first + 10))
        assert VIEWER not in json.dumps([file.read_text() for file in tmp_path.glob("*.log")])
