"""geoosd.bridge.adapters.upstream against scripted answers."""

from itertools import pairwise

import httpx
import pytest
import trio

from geoosd import config
from geoosd.bridge.adapters import upstream as upstream_module
from geoosd.bridge.adapters.upstream import UpstreamClient, is_local, read_api_key
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.question import Question
from geoosd.errors import ConfigError, UpstreamError

SETTINGS = config.Upstream("fake", "http://127.0.0.1:9")


def client(handler, settings=SETTINGS, key=None) -> UpstreamClient:
    return UpstreamClient(settings, key, transport=httpx.MockTransport(handler))


def answering(status, body=b"", **headers):
    return lambda request: httpx.Response(status, content=body, headers=headers)


def failing(error):
    def handler(request):
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "state", "reason"),
    [
        (answering(503), "loading", "model loading"),
        (answering(401), "down", "refuses the api key (401)"),
        (answering(404), "down", "is not an OpenAI-compatible server (404 for /v1/models)"),
        (
            answering(200, b"<html>"),
            "down",
            "is not an OpenAI-compatible server (200 for /v1/models)",
        ),
        (answering(200, b'{"data":[]}'), "ready", "ready"),
        (failing(httpx.ConnectError("x")), "down", "refuses connections"),
        (failing(httpx.ReadTimeout("x")), "down", "does not answer in time"),
        (failing(httpx.ReadError("")), "down", "ReadError"),
    ],
)
async def test_probe(handler, state, reason):
    probe = await client(handler).probe()
    assert (probe.state, probe.reason) == (state, reason)


async def test_a_configured_list_stands_in_for_a_missing_one():
    settings = config.Upstream("fake", "http://127.0.0.1:9", models=("m",))
    probe = await client(answering(404), settings).probe()
    assert (probe.state, probe.reason) == ("ready", "ready; lists no models")


async def test_a_listing_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(upstream_module, "_MAX_PROBE_BODY", 10)
    assert (await client(answering(200, b"x" * 1000)).probe()).state == "down"


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (answering(200, b'{"chat_template":"x"}'), True),
        (answering(404), None),
        (failing(httpx.ReadError("x")), None),
    ],
)
async def test_chat_template(handler, expected):
    settings = config.Upstream("fake", "http://127.0.0.1:9", kind="llama.cpp")
    assert await client(handler, settings).has_chat_template() is expected
    assert await client(handler).has_chat_template() is None


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (httpx.ConnectError("refused"), "upstream_unavailable", "cannot reach fake at"),
        (httpx.ReadTimeout("x"), "upstream_timeout", "no answer within 600 s"),
        (httpx.ReadError("gone"), "upstream_unavailable", "gone"),
    ],
)
async def test_failures(error, code, said):
    async def publish(payloads):
        raise AssertionError("nothing was answered")

    exchange = Exchange("s", model=None, upstream="fake", dialect="chat")
    with pytest.raises(UpstreamError, match=said) as caught:
        await client(failing(error)).ask(Question("hi"), exchange, publish, chat=True)
    assert caught.value.code == code


async def test_a_break_in_the_answer_is_not_for_another_upstream():
    async def broken():
        yield b"data: {}\n\n"
        raise httpx.ReadError("reset by peer")

    def handler(request):
        return httpx.Response(200, content=broken(), headers={"content-type": "text/event-stream"})

    async def publish(payloads):
        pass

    exchange = Exchange("s", model=None, upstream="fake", dialect="chat")
    with pytest.raises(UpstreamError, match="reset by peer") as caught:
        await client(handler).ask(Question("hi"), exchange, publish, chat=True)
    assert caught.value.code == "upstream_unavailable"
    assert exchange.has_answer


async def test_503_is_retried_with_doubling_delays(autojump_clock):
    times = []

    def handler(request):
        times.append(trio.current_time())
        return httpx.Response(503, content=b"{}")

    async def publish(payloads):
        pass

    exchange = Exchange("s", model=None, upstream="fake", dialect="chat")
    await client(handler).ask(Question("hi"), exchange, publish, chat=True)
    waits = [round(after - before, 3) for before, after in pairwise(times)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert exchange.finish(0.0)[0].error == "the upstream answered 503"


async def test_retire_waits_for_those_who_still_ask(autojump_clock, nursery):
    settings = config.Upstream("fake", "http://127.0.0.1:9", max_concurrency=2)
    retiring = client(answering(200), settings)
    async with retiring.limiter:
        nursery.start_soon(retiring.retire)
        await trio.sleep(5)
        assert not retiring._http.is_closed
    await trio.sleep(1)
    assert retiring._http.is_closed


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://127.0.0.1:1", True), ("http://localhost", True), ("https://example.org", False)],
)
def test_is_local(url, local):
    assert is_local(url) is local


def test_api_key(tmp_path, monkeypatch):
    def named(name):
        return config.Upstream("u", "http://127.0.0.1:9", api_key_credential=name)

    assert read_api_key(SETTINGS) is None
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set"):
        read_api_key(named("key"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="No such file"):
        read_api_key(named("key"))
    with pytest.raises(ConfigError, match="is not a credential's name"):
        read_api_key(named("../key"))
    (tmp_path / "key").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_api_key(named("key"))
    (tmp_path / "key").write_text("sesame\n")
    assert read_api_key(named("key")) == "sesame"
