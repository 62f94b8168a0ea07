"""geoosd.bridge.adapters.upstream against a scripted server on a real socket."""

from itertools import pairwise

import pytest
import trio
import trio.testing
from scripted_upstream import RECORDINGS, ScriptedUpstream, answers, listening, streams

from geoosd import config
from geoosd.bridge.adapters import upstream as upstream_module
from geoosd.bridge.adapters.credentials import read_api_key
from geoosd.bridge.adapters.upstream import Refused, UpstreamClient, is_local
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.question import About, Question
from geoosd.errors import ConfigError, UpstreamError

SETTINGS = config.Upstream("fake", "http://127.0.0.1:9")
ASKS = frozenset({"logprobs", "usage"})
RECORDING = (RECORDINGS / "01_chat_plain.body").read_bytes()


def said(status, body=b"", kind="application/json", more=""):
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


def in_turn(*scripts):
    """One script a request; the last one goes on."""
    left = list(scripts)

    async def script(stream, seen):
        await (left.pop(0) if len(left) > 1 else left[0])(stream, seen)

    return script


async def hangs_up(stream, seen):
    await stream.aclose()


async def resets(stream, seen):
    import socket
    import struct

    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


def begins_then(raw):
    async def script(stream, seen):
        await stream.send_all(raw)
        await stream.aclose()

    return script


async def ask(client, *, asks=ASKS, parameters=None, published=None):
    exchange = Exchange("s", model=None, upstream="fake", dialect="chat")
    exchange.started(0.0)

    async def publish(payloads):
        if published is not None:
            published.extend(payloads)

    question = Question("hi", parameters=parameters or {})
    outcome = await client.ask(question, exchange, publish, chat=True, asks=asks)
    return exchange, outcome


made = []


def client_of(scripted, key=None, **settings):
    upstream = config.Upstream(**{"id": scripted.id, "url": scripted.url, **settings})
    made.append(UpstreamClient(upstream, key))
    return made[-1]


@pytest.fixture(autouse=True)
async def _close_clients():
    yield
    while made:
        await made.pop().aclose()


@pytest.mark.parametrize(
    ("script", "state", "reason"),
    [
        (answers(said(503)), "loading", "model loading"),
        (answers(said(401)), "down", "refuses the api key (401)"),
        (answers(said(404)), "down", "is not an OpenAI-compatible server (404 for /v1/models)"),
        (
            answers(said(200, b"<html>")),
            "down",
            "is not an OpenAI-compatible server (200 for /v1/models)",
        ),
        (answers(said(200, b'{"data":[]}')), "ready", "ready"),
        (hangs_up, "down", "the upstream broke off before its answer: it hung up"),
        (begins_then(b"garbage\r\n\r\n"), "down", "the upstream broke the protocol in its answer"),
    ],
)
async def test_probe(script, state, reason):
    server = ScriptedUpstream(script)
    async with listening(server):
        probe = await client_of(server).probe()
    assert probe.state == state
    assert probe.reason.startswith(reason)
    assert [seen.method for seen in server.requests] == [b"GET"]


async def test_a_port_without_a_server_refuses():
    async with listening(server := ScriptedUpstream(answers(b""))):
        client = client_of(server)
    assert (await client.probe()).reason == "refuses connections"


async def test_a_silent_server_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(upstream_module, "_PROBE_SECONDS", 0.05)

    async def silent(stream, seen):
        await trio.sleep_forever()

    async with listening(server := ScriptedUpstream(silent)):
        probe = await client_of(server).probe()
    assert (probe.state, probe.reason) == ("down", "does not answer in time")


async def test_a_connection_that_was_idle_is_no_proof():
    """The server closes what it kept: the probe asks again, on a new connection."""
    served = 0

    async def once(stream, seen):
        nonlocal served
        served += 1
        if served == 2:
            await stream.aclose()
        else:
            await stream.send_all(said(200, b'{"data":[]}'))

    async with listening(server := ScriptedUpstream(once)):
        client = client_of(server)
        assert (await client.probe()).state == "ready"
        assert (await client.probe()).state == "ready"
        assert (served, server.connections) == (3, 2)


async def test_a_configured_list_stands_in_for_a_missing_one():
    async with listening(server := ScriptedUpstream(answers(said(404)))):
        probe = await client_of(server, models=("m",)).probe()
    assert (probe.state, probe.reason) == ("ready", "ready; lists no models")


async def test_a_listing_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(upstream_module, "_MAX_PROBE_BODY", 10)

    async def endless(stream, seen):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 1000)

    async with listening(server := ScriptedUpstream(endless)):
        assert (await client_of(server).probe()).state == "down"


@pytest.mark.parametrize(
    ("kind", "script", "about"),
    [
        ("llama.cpp", answers(said(200, b'{"chat_template":"x"}')), About(None, True)),
        ("vllm", answers(said(200, b'{"version":"1.2"}')), About("1.2")),
        ("ollama", answers(said(404)), About()),
        ("llama.cpp", hangs_up, About()),
    ],
)
async def test_about(kind, script, about):
    async with listening(server := ScriptedUpstream(script)):
        assert await client_of(server, kind=kind).about() == about
        assert await client_of(server).about() == About()


# -- prompts ---------------------------------------------------------------------------------------


async def test_a_prompt_is_posted_once_and_published():
    server = ScriptedUpstream(streams([RECORDING]))
    published = []
    async with listening(server):
        client = client_of(server, "sesame", id="engine")
        exchange, outcome = await ask(client, published=published)
        assert outcome.ok
        assert outcome.asked == ASKS
    (post,) = server.posts
    assert post.target == b"/v1/chat/completions"
    assert post.get(b"authorization") == b"Bearer sesame"
    assert post.get(b"x-geoos-session") == b"s"  # to the embedded engine alone
    assert len(published) > 10
    assert exchange.finish(1.0)[-1].error is None


async def test_other_servers_do_not_hear_of_the_session():
    async with listening(server := ScriptedUpstream(streams([RECORDING]))):
        await ask(client_of(server))
    assert server.posts[0].get(b"x-geoos-session") is None


ANSWERED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("script", "refused", "code"),
    [
        (hangs_up, True, "upstream_unavailable"),
        (resets, True, "upstream_unavailable"),
        (begins_then(b"H"), False, "upstream_unavailable"),
        (begins_then(b"garbage\r\n\r\n"), False, "upstream_unavailable"),
        (begins_then(b"HTTP/1.1 200 OK\r\n"), False, "upstream_unavailable"),
        (begins_then(ANSWERED), False, "upstream_unavailable"),
        (begins_then(ANSWERED + b"8\r\ndata: {}"), False, "upstream_unavailable"),
        (begins_then(ANSWERED + b"not a size\r\n"), False, "upstream_unavailable"),
    ],
)
async def test_only_who_said_nothing_may_be_followed_by_another(script, refused, code):
    async with listening(server := ScriptedUpstream(script)):
        with pytest.raises(UpstreamError) as caught:
            await ask(client_of(server))
    assert isinstance(caught.value, Refused) is refused
    assert caught.value.code == code
    assert len(server.posts) == 1


async def test_a_refused_connection():
    async with listening(server := ScriptedUpstream(hangs_up)):
        client = client_of(server)
    with pytest.raises(Refused, match=r"cannot reach scripted at .*refused") as caught:
        await ask(client)
    assert not caught.value.stale


async def test_silence_is_a_timeout_and_no_reason_to_ask_another():
    async def silent(stream, seen):
        await trio.sleep_forever()

    async with listening(server := ScriptedUpstream(silent)):
        with pytest.raises(UpstreamError) as caught:
            await ask(client_of(server, timeout=0.05))
    assert caught.value.code == "upstream_timeout"
    assert not isinstance(caught.value, Refused)
    assert len(server.posts) == 1


async def test_503_is_retried_with_doubling_delays(autojump_clock):
    times = []

    async def loading(request, exchange, publish):
        times.append(trio.current_time())
        return upstream_module._Again(503, ("application/json", None), b"")

    client = UpstreamClient(SETTINGS)
    client._attempt = loading
    exchange, outcome = await ask(client)
    waits = [round(after - before, 3) for before, after in pairwise(times)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert not outcome.ok
    assert exchange.finish(0.0)[0].error == "the upstream answered 503"


REFUSED = b'{"error":{"message":"logprobs is not supported"}}'
LIST = {"logprobs": True}


@pytest.mark.parametrize(
    ("scripts", "asks", "parameters", "posts", "refused", "status"),
    [
        ([answers(said(400, REFUSED)), streams([RECORDING])], ASKS, {}, 2, {"logprobs"}, 200),
        ([answers(said(400)), streams([RECORDING])], ASKS, {}, 2, {"logprobs"}, 200),
        (
            [answers(said(400, b"no stream_options")), streams([RECORDING])],
            ASKS,
            {},
            2,
            {"usage"},
            200,
        ),
        ([answers(said(400))], ASKS, {}, 2, {"logprobs"}, 400),
        ([answers(said(400))], frozenset(), {}, 1, set(), 400),
        ([answers(said(400))], {"usage"}, {}, 1, set(), 400),
        (
            [answers(said(400, b"stream_options")), streams([RECORDING])],
            {"usage"},
            {},
            2,
            {"usage"},
            200,
        ),
        ([answers(said(500))], ASKS, {}, 1, set(), 500),
        ([answers(said(429, more="Retry-After: 1\r\n"))], ASKS, {}, 1, set(), 429),
        ([answers(said(404))], ASKS, {}, 1, set(), 404),
        ([answers(said(502))], ASKS, {}, 1, set(), 502),
        ([answers(said(307, more="Location: /v1/elsewhere\r\n"))], ASKS, {}, 1, set(), 307),
        ([answers(said(503)), answers(said(400)), streams([RECORDING])], ASKS, {}, 3, LIST, 200),
        ([answers(said(400)), answers(said(503)), streams([RECORDING])], ASKS, {}, 3, LIST, 200),
        ([answers(said(503))], ASKS, {}, 6, set(), 503),
        ([answers(said(400)), answers(said(503))], ASKS, {}, 7, LIST, 503),
        ([answers(said(503)), answers(said(500))], ASKS, {}, 2, set(), 500),
    ],
)
async def test_posts_are_counted(monkeypatch, scripts, asks, parameters, posts, refused, status):
    """docs/interfaces.md: 503 five times more, 400 once more without what it refuses."""
    monkeypatch.setattr(upstream_module, "RETRY_DELAY", 0.0)
    async with listening(server := ScriptedUpstream(in_turn(*scripts))):
        exchange, outcome = await ask(client_of(server), asks=asks, parameters=parameters)
    assert len(server.posts) == posts
    assert outcome.refused == set(refused)
    assert exchange.status == status
    assert outcome.ok is (status < 400)


async def test_leaving_early_hangs_up():
    async def endless(stream, seen):
        await stream.send_all(ANSWERED)
        while True:
            await stream.send_all(b"8\r\ndata: {}\r\n")
            await trio.sleep(0.001)

    async with listening(server := ScriptedUpstream(endless)):
        with trio.move_on_after(0.05):
            await ask(client_of(server))
        with trio.fail_after(5):
            while server.open_connections:  # noqa: ASYNC110 - there is nothing to be told by
                await trio.sleep(0.002)


async def test_retire_waits_for_those_who_still_ask(autojump_clock, nursery):
    client = UpstreamClient(config.Upstream("fake", "http://127.0.0.1:9", max_concurrency=2))
    closed = trio.Event()

    async def retire():
        await client.retire()
        closed.set()

    async def told(position):
        raise AssertionError("there is room")

    async with client.turns.turn("me", told):
        nursery.start_soon(retire)
        await trio.sleep(5)
        assert not closed.is_set()
    await trio.testing.wait_all_tasks_blocked()
    assert closed.is_set()


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://127.0.0.1:1", True), ("http://localhost", True), ("https://example.org", False)],
)
async def test_is_local(url, local):
    assert is_local(url) is local


async def test_api_key(tmp_path, monkeypatch):
    def named(name):
        return config.Upstream("u", "http://127.0.0.1:9", api_key_credential=name)

    assert read_api_key(SETTINGS) is None
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set"):
        read_api_key(named("key"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="no such file"):
        read_api_key(named("key"))
    with pytest.raises(ConfigError, match="is not a credential's name"):
        read_api_key(named("../key"))
    (tmp_path / "key").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_api_key(named("key"))
    (tmp_path / "key").write_text("two\nlines")
    with pytest.raises(ConfigError, match="not one line of ASCII"):
        read_api_key(named("key"))
    (tmp_path / "key").write_text("sesame\n")
    assert read_api_key(named("key")) == "sesame"
