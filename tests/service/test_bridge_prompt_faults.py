"""Whatever an upstream does, geoos's own prompt ends with the right error, and was sent once."""

import json
import ssl
from contextlib import asynccontextmanager

import pytest
import trio
from scripted_upstream import ScriptedUpstream, listening, proxied, until
from scripted_upstream import ask as ask_http
from test_bridge_proxy_faults import CHAT, FAULTS
from test_bridge_service import ask, running, settings, text
from test_bridge_several import model_server
from test_bridge_upstream import ASKS, client_of

from geoosd import config
from geoosd.bridge.adapters.upstream import Refused
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.question import Question
from geoosd.wire.messages import SessionEnded

HEARD = {
    "a line without an end": "Hello",
    "a head that drips": "Hello",
    "closed in mid-stream": "Hello",
    "reset in mid-stream": "Hello",
    "no end of the answer": "Hello",
    "broken chunks": "Hello",
    "a good chunk and a broken one": "Hello",
    "a chunk beyond its size": "HelloHello",
}
"""What of the answer comes before the fault."""


@pytest.mark.parametrize("name", FAULTS)
async def test_a_prompt_ends_with_the_right_error(tmp_path, name):
    script, error = FAULTS[name]
    async with listening(server := model_server("scripted", script)):
        loaded = settings(config.Upstream("scripted", server.url))
        async with running(tmp_path, loaded) as runtime:
            messages = await ask(runtime)
    ended = messages[-1]["payload"]
    assert (ended["error"] is None) is (error is None)
    assert (error or "").removeprefix("scripted: ") in (ended["error"] or "")
    assert text(messages) == HEARD.get(name, "")
    assert len(server.posts) == 1


@asynccontextmanager
async def behind_tls(repository):
    """A server whose certificate nobody vouches for; it never gets to see a request."""
    folder = repository / "tests" / "data" / "tls"
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    server = ScriptedUpstream(FAULTS["500"][0])

    async def serve(stream):
        secure = trio.SSLStream(stream, served, server_side=True)
        try:
            await secure.do_handshake()
            await server.serve(secure)
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(secure)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield server, listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


WHY = "cannot connect: "
VERIFY = "certificate verify failed"


async def test_a_certificate_that_nobody_vouches_for(repository, monkeypatch):
    """A clear error before the first byte, for a client and for a prompt; nothing was sent."""
    async with behind_tls(repository) as (server, port):
        monkeypatch.setattr(
            ScriptedUpstream, "url", property(lambda _: f"https://127.0.0.1:{port}")
        )
        async with proxied(ScriptedUpstream(server.script)) as rig:
            answer = await ask_http(rig.port, "POST", CHAT, body=b'{"model":"m"}')
            error = json.loads(answer.body)["error"]
            assert (answer.status, error["code"]) == (502, "upstream_unavailable")
            assert WHY in error["message"]
            assert VERIFY in error["message"]
            await until(lambda: rig.of(SessionEnded))
            assert VERIFY in rig.of(SessionEnded)[0].error
            assert not rig.bugs
        exchange = Exchange("s", model=None, upstream="scripted", dialect="chat")

        async def publish(payloads):
            raise AssertionError(payloads)

        with pytest.raises(Refused, match=VERIFY):
            await client_of(server).ask(Question("hi"), exchange, publish, chat=True, asks=ASKS)
        probe = await client_of(server).probe()
        assert probe.state == "down"
        assert VERIFY in probe.reason
        assert server.requests == []
