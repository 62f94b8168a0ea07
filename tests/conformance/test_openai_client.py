"""The openai package sees through the proxy exactly what it sees of the server itself.

The client runs in a thread, as in a user's program; upstream and proxy run on trio.
"""

import json

import httpx
import openai
import pytest
import trio
from scripted_upstream import (
    RECORDINGS,
    SSE_HEAD,
    ScriptedUpstream,
    answers,
    chunk,
    events_of,
    proxied,
    streams,
    until,
)

from geoosd.wire.messages import SessionEnded

CHATS = [
    "01_chat_plain",
    "02_chat_logprobs_usage_timings_progress",
    "05_chat_unicode_emoji_logprobs",
    "08_chat_tool_call_required",
    "12_chat_stop_string",
    "15_chat_reasoning_content",
    "19_sse_ping_long_prompt",
    "20_return_progress_long_prompt",
]
MESSAGES = [{"role": "user", "content": "hello"}]


def openai_client(port):
    """The client as its users make it, without retries and without a proxy of the environment."""
    return openai.OpenAI(
        api_key="any",
        base_url=f"http://127.0.0.1:{port}/v1",
        max_retries=0,
        http_client=httpx.Client(trust_env=False),
    )


def chat(port):
    with openai_client(port) as client:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return [chunk.to_dict() for chunk in stream]


def in_thread(work, *args):
    """The client's blocking work, given up when the test is."""
    return trio.to_thread.run_sync(work, *args, abandon_on_cancel=True)


def recording(name):
    return events_of((RECORDINGS / f"{name}.body").read_bytes())


@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_stream_is_the_same(name):
    upstream = ScriptedUpstream(streams(recording(name)))
    async with proxied(upstream) as rig:
        direct = await in_thread(chat, upstream.port)
        assert await in_thread(chat, rig.port) == direct
        assert direct
        asked, proxied_ask = upstream.requests
        assert proxied_ask.body == asked.body
        own = {b"host", b"connection"}
        assert [pair for pair in proxied_ask.headers if pair[0] not in own] == [
            pair for pair in asked.headers if pair[0] not in own
        ]
        await until(lambda: rig.of(SessionEnded))
        assert not rig.bugs


async def test_a_completion_stream_is_the_same():
    def complete(port):
        with openai_client(port) as client:
            stream = client.completions.create(model="m", prompt="once", stream=True)
            return [chunk.to_dict() for chunk in stream]

    upstream = ScriptedUpstream(streams(recording("03_completion_logprobs_usage")))
    async with proxied(upstream) as rig:
        direct = await in_thread(complete, upstream.port)
        assert await in_thread(complete, rig.port) == direct
        assert direct


async def test_a_responses_stream_is_the_same():
    def respond(port):
        with openai_client(port) as client:
            stream = client.responses.create(model="m", input="once", stream=True)
            return [event.to_dict() for event in stream]

    upstream = ScriptedUpstream(streams(recording("10_responses_stream")))
    async with proxied(upstream) as rig:
        direct = await in_thread(respond, upstream.port)
        assert await in_thread(respond, rig.port) == direct
        assert direct


def _cases():
    cases = json.loads((RECORDINGS / "errors.json").read_text())
    return [pytest.param(*case[1:], id=case[0]) for case in cases if case[1] >= 400]


@pytest.mark.parametrize(("status", "kind", "body"), _cases())
async def test_an_error_is_the_same(status, kind, body):
    def failure(port):
        with pytest.raises(openai.APIStatusError) as caught:
            chat(port)
        return caught.value.status_code, caught.value.body, str(caught.value)

    raw = body.encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n\r\n"
    upstream = ScriptedUpstream(answers(head.encode() + raw))
    async with proxied(upstream) as rig:
        direct = await in_thread(failure, upstream.port)
        assert await in_thread(failure, rig.port) == direct


async def test_a_stream_that_breaks_off_breaks_off():
    async def script(stream, seen):
        await stream.send_all(SSE_HEAD + b"".join(map(chunk, recording("01_chat_plain")[:3])))
        await stream.aclose()

    def failure(port):
        seen = []
        with openai_client(port) as client:
            stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            try:
                seen.extend(each.to_dict() for each in stream)
            except openai.APIConnectionError as error:
                return seen, str(error.__cause__)
        return seen, "complete"

    upstream = ScriptedUpstream(script)
    async with proxied(upstream) as rig:
        seen, error = await in_thread(failure, upstream.port)
        assert "peer closed connection" in error
        assert await in_thread(failure, rig.port) == (seen, error)


async def test_closing_the_clients_stream_stops_the_server():
    gone = trio.Event()

    async def script(stream, seen):
        await stream.send_all(SSE_HEAD + chunk(recording("01_chat_plain")[0]))
        assert await stream.receive_some(1) == b""
        gone.set()

    def read_one(port):
        with openai_client(port) as client:
            stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            next(iter(stream))
            stream.close()

    async with proxied(ScriptedUpstream(script)) as rig:
        await in_thread(read_one, rig.port)
        with trio.fail_after(10):
            await gone.wait()


async def test_models_and_our_own_errors_are_what_the_client_understands():
    def ask_for_models(port):
        with openai_client(port) as client:
            listed = [model.id for model in client.models.list()]
            with pytest.raises(openai.NotFoundError) as missing:
                client.models.retrieve("c")
            return listed, client.models.retrieve("b").owned_by, missing.value.code

    def fail(port):
        with pytest.raises(openai.InternalServerError) as down:
            chat(port)
        return down.value.status_code, down.value.code

    upstream = ScriptedUpstream(answers(b""), id="here", models=("a", "b"))
    async with proxied(upstream) as rig:
        found = await in_thread(ask_for_models, rig.port)
        assert found == (["a", "b"], "here", "model_not_found")
    async with proxied() as rig:
        assert await in_thread(fail, rig.port) == (502, "upstream_unavailable")
