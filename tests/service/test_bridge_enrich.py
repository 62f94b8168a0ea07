"""``[bridge] enrich``: proxied requests ask for what the model is known to tell, and only those."""

import json
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from scripted_upstream import answers, listening, streams
from scripted_upstream import ask as ask_http
from test_bridge_service import ask, get, running, settings
from test_bridge_several import PLAIN, RICH, listed, model_server
from test_bridge_upstream import hangs_up, in_turn, said

from geoosd import config
from geoosd.bridge.adapters.model_field import HOLD_BYTES

CHAT = "/v1/chat/completions"
BODY = b' {"model":"gemma", "stream": true,"messages":[]}\n'
ADDED = b'"logprobs":true,"top_logprobs":5,"stream_options":{"include_usage":true},'
ENRICHED = b" {" + ADDED + BODY[2:]


@asynccontextmanager
async def enriching(tmp_path, *servers, **more):
    async with listening(*servers):
        upstreams = [
            config.Upstream(each.id, each.url, priority=number)
            for number, each in enumerate(servers)
        ]
        loaded = settings(*upstreams, **{"enrich": True, **more})
        async with running(tmp_path, loaded) as runtime:
            yield runtime


async def post(runtime, body=BODY, path=CHAT, **how):
    address = (await get(runtime, "GetStatus"))["status"]["addresses"][0]
    return await ask_http(int(address.rpartition(":")[2]), "POST", path, body=body, **how)


def rich():
    return model_server("fake", streams([RICH]))


async def test_nothing_is_added_before_it_is_known_to_be_taken(tmp_path):
    server = rich()
    async with enriching(tmp_path, server) as runtime:
        await post(runtime)
        assert server.posts[-1].body == BODY
        await ask(runtime)  # a prompt of geoos's own finds it out
        answer = await post(runtime)
        assert answer.body == RICH
        assert server.posts[-1].body == ENRICHED
        assert server.posts[-1].get(b"content-length") == str(len(ENRICHED)).encode()
        await post(runtime, chunked=True)
        assert server.posts[-1].body == ENRICHED


async def test_off_adds_nothing_and_a_reload_turns_it_on(tmp_path):
    server = rich()
    async with enriching(tmp_path, server, enrich=False) as runtime:
        await ask(runtime)
        await post(runtime)
        assert server.posts[-1].body == BODY
        on = msgspec.structs.replace(runtime.config.bridge, enrich=True)
        runtime.config = msgspec.structs.replace(runtime.config, bridge=on)
        await runtime.reload()
        await post(runtime)
        assert server.posts[-1].body == ENRICHED


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/messages", BODY, ()),
        ("/v1/responses", BODY, ()),
        ("/v1/embeddings", BODY, ()),
        ("/api/chat", BODY, ()),
        (CHAT, b"not json", ()),
        (CHAT, BODY, [("Content-Digest", "sha-256=:abc:")]),
        (CHAT, b'{"model":"gemma","messages":["%s"],"stream":true}' % (b"x" * 2 * HOLD_BYTES), ()),
    ],
)
async def test_what_stays_as_it_is(tmp_path, path, body, headers):
    server = rich()
    async with enriching(tmp_path, server) as runtime:
        await ask(runtime)
        await post(runtime, body, path, headers=headers)
        assert server.posts[-1].body == body


async def test_the_upstream_s_own_name_and_what_is_added_together(tmp_path):
    server = rich()
    async with enriching(tmp_path, server) as runtime:
        await ask(runtime)
        await post(runtime, BODY.replace(b'"gemma"', b'"fake/gemma"'))
        assert server.posts[-1].body == ENRICHED
        assert server.posts[-1].get(b"content-length") == str(len(ENRICHED)).encode()


async def test_a_refusal_is_passed_on_and_ends_it(tmp_path):
    """The client gets the 400, sent once; its next request is as it sent it."""
    refusal = said(400, b'{"error":{"message":"logprobs are not for this"}}')
    other = said(400, b'{"error":{"message":"the prompt is too long"}}')
    server = model_server(
        "fake", in_turn(streams([RICH]), answers(other), answers(refusal), streams([PLAIN]))
    )
    async with enriching(tmp_path, server) as runtime:
        await ask(runtime)
        assert (await post(runtime)).status == 400
        assert server.posts[-1].body == ENRICHED
        answer = await post(runtime)
        assert (answer.status, answer.body) == (400, refusal.partition(b"\r\n\r\n")[2])
        assert server.posts[-1].body == ENRICHED  # "too long" was not about what is added
        assert (await listed(runtime))["fake"]["capabilities"]["logprobs"] is None
        assert (await post(runtime)).body == PLAIN
        assert b"logprobs" not in server.posts[-1].body
        assert json.loads(server.posts[-1].body)["stream_options"] == {"include_usage": True}
    assert len(server.posts) == 4


async def test_each_upstream_is_asked_for_what_it_is_known_to_tell(tmp_path):
    first = model_server("first", in_turn(streams([RICH]), streams([RICH]), hangs_up))
    second = model_server("second", streams([PLAIN]))
    async with enriching(tmp_path, first, second) as runtime:
        await ask(runtime, model="first/gemma")
        await post(runtime)
        assert first.posts[-1].body == ENRICHED
        assert not second.posts
        assert (await post(runtime)).body == PLAIN
        assert second.posts[-1].body == BODY


async def test_the_cache_tells_them_apart(tmp_path):
    server = model_server("fake", in_turn(streams([PLAIN]), streams([RICH])))
    body = BODY.replace(b"[]", b'[],"temperature":0')

    async def kept(runtime):
        """An answer is kept a moment after its client has it."""
        with trio.fail_after(10):
            while (answer := await post(runtime, body)).get(b"x-geoos-cache") != b"hit":
                pass
        return answer.body

    async with enriching(tmp_path, server, cache=True) as runtime:
        assert (await post(runtime, body)).get(b"x-geoos-cache") == b"miss"
        assert await kept(runtime) == PLAIN
        await ask(runtime)
        assert (await post(runtime, body)).get(b"x-geoos-cache") == b"miss"
        assert ADDED in server.posts[-1].body
        assert await kept(runtime) == RICH
