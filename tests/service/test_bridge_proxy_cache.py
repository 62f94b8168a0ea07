"""The proxy's cache of answers."""

import json

import pytest
import trio
from scripted_upstream import ScriptedUpstream, answers, ask, client, proxied, until

from geoosd.wire.messages import SessionEnded, SessionStarted, TokenVisualizationUpdate

CHAT = "/v1/chat/completions"
COLD = {"model": "m", "temperature": 0, "stream": True, "messages": []}


def chunk(text, finish=None):
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


WHOLE = b"".join([chunk("Hello"), chunk(" there"), chunk("", "stop"), b"data: [DONE]\n\n"])


def streamed(*pieces, end=True, head=b""):
    """An answer in chunks, one for each piece."""
    out = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + head
    out += b"Transfer-Encoding: chunked\r\n\r\n"
    out += b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return out + (b"0\r\n\r\n" if end else b"")


def cached(rig):
    rig.proxy.cache.configure(1 << 20, 60.0)


def body(**change):
    return json.dumps(COLD | change).encode()


async def post(rig, headers=(), body=b"{}"):
    fields = list(dict(headers).items())
    return await ask(rig.port, "POST", CHAT, headers=fields, body=body)


async def test_off_by_default():
    upstream = ScriptedUpstream(answers(streamed(WHOLE)))
    async with proxied(upstream) as rig:
        for _ in range(2):
            answer = await post(rig, body=body())
            assert answer.get(b"x-geoos-cache") is None
        assert len(upstream.posts) == 2


async def test_a_repeated_question_is_answered_byte_for_byte():
    pieces = [WHOLE[:10], WHOLE[10:60], WHOLE[60:]]
    upstream = ScriptedUpstream(answers(streamed(*pieces, head=b"X-Own: 1\r\n")))
    async with proxied(upstream) as rig:
        cached(rig)
        first = await post(rig, body=body())
        await until(lambda: rig.proxy.cache.statistics().entries == 1)
        again = await post(rig, body=b" " + body())
        assert (first.body, again.body) == (WHOLE, WHOLE)
        assert first.get(b"x-geoos-cache") == b"miss"
        assert again.get(b"x-geoos-cache") == b"hit"
        assert again.get(b"x-own") == b"1"
        assert again.get(b"x-geoos-upstream") == b"scripted"
        assert len(upstream.posts) == 1
        statistics = rig.proxy.cache.statistics()
        assert (statistics.hits, statistics.misses, statistics.entries) == (1, 1, 1)
        await until(lambda: len(rig.of(SessionEnded)) == 2)
        one, two = rig.of(SessionStarted)
        assert one.replay_of is None
        assert two.replay_of == one.session
        texts = [token.current_token for token in rig.of(TokenVisualizationUpdate)]
        assert texts == ["Hello", " there"] * 2
        assert rig.of(SessionEnded)[1].time_to_first_token is None
        assert rig.of(SessionEnded)[1].tokens_per_second is None


async def test_the_recorded_pace_is_kept_where_it_is_asked_for():
    async def slow(stream, request):
        await stream.send_all(streamed(WHOLE[:60], end=False))
        await trio.sleep(0.3)
        await stream.send_all(b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE) - 60, WHOLE[60:]))

    async with proxied(ScriptedUpstream(slow)) as rig:
        cached(rig)
        await post(rig, body=body())
        took = []
        for pace in ("recorded", "now"):
            began = trio.current_time()
            answer = await post(rig, {"x-geoos-cache-pace": pace}, body())
            assert (answer.get(b"x-geoos-cache"), answer.body) == (b"hit", WHOLE)
            took.append(trio.current_time() - began)
        assert took[0] >= 0.25
        assert took[1] < took[0]


@pytest.mark.parametrize(
    ("change", "headers", "requests"),
    [
        ({"temperature": 0.7}, {}, 2),
        ({"temperature": 0.7}, {"x-geoos-cache": "use"}, 1),
        ({}, {"x-geoos-cache": "bypass"}, 2),
        ({"temperature": 1, "seed": 3}, {}, 1),
    ],
)
async def test_who_is_answered_from_it(change, headers, requests):
    upstream = ScriptedUpstream(answers(streamed(WHOLE)))
    async with proxied(upstream) as rig:
        cached(rig)
        for _ in range(2):
            assert (await post(rig, headers=headers, body=body(**change))).body == WHOLE
        assert len(upstream.posts) == requests
        assert all(b"x-geoos-cache" not in dict(post.headers) for post in upstream.posts)


@pytest.mark.parametrize(
    "incomplete",
    [
        streamed(WHOLE[:60]),  # no end of the answer in it
        streamed(WHOLE[:60], end=False),
        streamed(chunk("x"), b'data: {"error":{"message":"no"}}\n\n', b"data: [DONE]\n\n"),
        streamed(b"data: {broken\n\n", WHOLE),
        streamed(WHOLE, head=b"Cache-Control: no-store\r\n"),
        b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",
    ],
)
async def test_only_a_complete_answer_is_kept(incomplete):
    async def script(stream, request):
        await stream.send_all(incomplete)
        await stream.aclose()

    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig:
        cached(rig)
        for _ in range(2):
            await post(rig, body=body())
        assert len(upstream.posts) == 2
        assert rig.proxy.cache.statistics().entries == 0


async def test_what_depends_on_what_was_asked_before_is_never_answered_from_it():
    upstream = ScriptedUpstream(answers(streamed(WHOLE)))
    async with proxied(upstream) as rig:
        cached(rig)
        for _ in range(2):
            answer = await ask(rig.port, "POST", "/v1/responses", body=body())
            assert answer.get(b"x-geoos-cache") is None
        assert len(upstream.posts) == 2


async def test_a_client_that_leaves_leaves_nothing_in_it():
    async def endless(stream, request):
        await stream.send_all(streamed(WHOLE[:60], end=False))
        await trio.sleep_forever()

    async with proxied(ScriptedUpstream(endless)) as rig:
        cached(rig)
        async with client(rig.port) as connection:
            await connection.send("POST", CHAT, body=body())
            await connection.stream.receive_some(1000)
        await until(lambda: rig.proxy.server.connections == 0)
        assert rig.proxy.cache.statistics().entries == 0


async def test_another_configuration_begins_empty():
    upstream = ScriptedUpstream(answers(streamed(WHOLE)))
    async with proxied(upstream) as rig:
        cached(rig)
        await post(rig, body=body())
        await until(lambda: rig.proxy.cache.statistics().entries == 1)
        cached(rig)
        assert rig.proxy.cache.statistics().entries == 1
        assert [queue.name for queue in rig.proxy.cache.queues()] == ["cache KiB"]
        rig.proxy.cache.configure(None, 60.0)
        assert rig.proxy.cache.statistics() is None
        assert rig.proxy.cache.queues() == []
