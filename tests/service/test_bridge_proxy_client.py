"""The upstream's side of the proxy: TLS, pooling, what is sent and what fails."""

import ssl

import h11
import pytest
import trio
import trio.testing
from scripted_upstream import ScriptedUpstream, answers, listening

from geoosd.bridge.adapters import http_client
from geoosd.bridge.adapters.http_client import ConnectionPool, Origin, UpstreamConnection
from geoosd.errors import UpstreamError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = h11.Request(method="GET", target="/", headers=[("Host", "a")])


async def fetch(pool, origin, **how):
    """One GET over *pool*; the connection and the body."""
    connection = await pool.connect(origin)
    try:
        await connection.ask(GET, b"", **how)
        body, ended = await connection.receive()
        while not ended:
            more, ended = await connection.receive()
            body += more
    finally:
        await pool.give_back(connection)
    return connection, body


async def test_tls_upstreams_are_verified_and_pooled(repository):
    folder = repository / "tests" / "data" / "tls"
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    trusted = ssl.create_default_context(cafile=folder / "certificate.pem")
    upstream = ScriptedUpstream(answers(OK))

    async def serve(stream):
        await upstream.serve(trio.SSLStream(stream, served, server_side=True))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        origin = Origin(True, "127.0.0.1", listeners[0].socket.getsockname()[1])
        pool = ConnectionPool(tls=trusted)
        first, body = await fetch(pool, origin)
        assert body == b"ok"
        again, body = await fetch(pool, origin)
        assert body == b"ok"
        assert again is first
        assert again.reused
        with pytest.raises(UpstreamError, match="certificate verify failed") as refused:
            await ConnectionPool().connect(origin)
        assert refused.value.code == "upstream_unavailable"
        await pool.aclose()
        nursery.cancel_scope.cancel()


async def test_a_plain_server_behind_https_is_refused():
    async with listening(upstream := ScriptedUpstream(answers(OK))):
        with pytest.raises(UpstreamError, match="cannot connect"):
            await ConnectionPool().connect(Origin(True, "127.0.0.1", upstream.port))


async def test_idle_connections_are_few_and_let_go(monkeypatch):
    async with listening(upstream := ScriptedUpstream(answers(OK))):
        origin = Origin.of(upstream.url)
        pool = ConnectionPool()
        many = [await pool.connect(origin) for _ in range(http_client.IDLE_PER_ORIGIN + 2)]
        for connection in many:
            await connection.ask(GET, b"")
            await connection.receive()
            while not connection.reusable:
                await connection.receive()
            await pool.give_back(connection)
        newest = await pool.connect(origin)
        fresh = await pool.connect(origin, fresh=True)
        assert newest is many[http_client.IDLE_PER_ORIGIN - 1]
        monkeypatch.setattr(http_client, "IDLE_SECONDS", -1.0)
        after = await pool.connect(origin)
        assert not {fresh, after} & set(many)
        for connection in (newest, fresh, after):
            await connection.aclose()
        await pool.aclose()


async def test_a_connection_that_never_comes_is_given_up(monkeypatch):
    async def never(host, port):
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    monkeypatch.setattr(http_client, "CONNECT_SECONDS", 0.01)
    with pytest.raises(UpstreamError, match=r"no connection within 0\.01 s"):
        await ConnectionPool().connect(Origin(False, "127.0.0.1", 9))


async def test_a_server_that_does_not_take_the_request_times_out():
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def deaf(stream):
            await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, deaf, listeners)
        origin = Origin(False, "127.0.0.1", listeners[0].socket.getsockname()[1])
        connection = await ConnectionPool().connect(origin)
        body = bytes(32 << 20)
        length = ("Content-Length", str(len(body)))
        post = h11.Request(method="POST", target="/", headers=[("Host", "a"), length])
        with pytest.raises(UpstreamError, match="does not take the request") as late:
            await connection.ask(post, body, timeout=0.1)
        assert late.value.code == "upstream_timeout"
        assert not connection.reusable
        await connection.aclose()
        nursery.cancel_scope.cancel()


async def test_what_a_server_said_before_it_hung_up_on_a_large_request_counts():
    """The body is still being sent when the answer has come and the connection breaks."""
    stream, server = trio.testing.memory_stream_pair()
    connection = UpstreamConnection(Origin(False, "a", 1), stream)

    async def break_off():
        await server.send_all(OK)
        raise trio.BrokenResourceError

    stream.send_stream = trio.testing.MemorySendStream(send_all_hook=break_off)
    assert (await connection.ask(GET, b"")).status_code == 200
    assert await connection.receive() == (b"ok", True)
    assert not connection.reusable
