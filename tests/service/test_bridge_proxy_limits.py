"""Who may ask the proxy, and how often: rates, Host, and pages of other origins."""

import json

import pytest
from scripted_upstream import ScriptedUpstream, answers, ask, proxied, until

from geoosd.bridge.adapters.browsers import Browsers
from geoosd.bridge.adapters.http_connection import DEFAULT_LIMITS
from geoosd.config import Address
from geoosd.wire.messages import SessionEnded

OK = (
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: accept\r\n"
    b"Content-Length: 2\r\n\r\nok"
)
CHAT = "/v1/chat/completions"
LOOPBACK = Address("127.0.0.1", 1235)


def refusal(answer):
    error = json.loads(answer.body)["error"]
    return answer.status, error["code"], error["type"]


# -- rates -----------------------------------------------------------------------------------------


async def test_a_client_that_asks_too_often_gets_429_and_nothing_is_sent():
    upstream = ScriptedUpstream(answers(OK), models=("m",))
    async with proxied(upstream) as rig:
        rig.proxy.rates.configure(0.01, {})
        assert (await ask(rig.port, "POST", CHAT, body=b"{}")).status == 200
        answer = await ask(rig.port, "POST", CHAT, body=b"{}")
        assert refusal(answer) == (429, "rate_limited", "rate_limit_error")
        assert 90 <= int(answer.get(b"retry-after")) <= 100
        # Another key is another client; so is another header that carries it.
        for name in ("Authorization", "x-api-key"):
            keyed = [(name, f"key of {name}")]
            assert (await ask(rig.port, "GET", "/v1/x", headers=keyed)).status == 200
            assert (await ask(rig.port, "GET", "/v1/x", headers=keyed)).status == 429
        assert len(upstream.requests) == 3
        # geoos's own list costs nobody anything.
        assert (await ask(rig.port, "GET", "/v1/models")).status == 200
        rig.proxy.rates.configure(None, {})
        assert (await ask(rig.port, "POST", CHAT, body=b"{}")).status == 200


async def test_an_upstream_is_asked_no_more_than_its_rate_and_no_other_in_its_stead():
    limited = ScriptedUpstream(answers(OK), id="limited")
    spare = ScriptedUpstream(answers(OK), id="spare")
    async with proxied(limited, spare) as rig:
        rig.proxy.rates.configure(None, {"limited": 0.01})
        assert (await ask(rig.port, "POST", CHAT, body=b"{}")).status == 200
        answer = await ask(rig.port, "POST", CHAT, body=b"{}")
        assert refusal(answer) == (429, "rate_limited", "rate_limit_error")
        assert int(answer.get(b"retry-after")) > 90
        assert answer.get(b"x-geoos-session") == b"session-2"
        await until(lambda: len(rig.of(SessionEnded)) == 2)
        assert rig.of(SessionEnded)[1].error.startswith("limited: cannot be asked above its rate")
        assert (len(limited.posts), len(spare.posts)) == (1, 0)
        assert not rig.directory.failures


# -- browsers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("localhost:1235", True),
        ("127.0.0.1", True),
        ("[::1]:1235", True),
        ("page.example", True),
        ("evil.example", False),
        ("192.0.2.1:1235", False),
    ],
)
async def test_a_host_that_is_not_ours_is_refused_on_loopback(host, welcome):
    upstream = ScriptedUpstream(answers(OK))
    async with proxied(upstream) as rig:
        rig.proxy.browsers = Browsers(LOOPBACK, ["http://page.example"])
        answer = await ask(rig.port, "POST", "/v1/x", body=b"", host=host)
        assert answer.status == (200 if welcome else 403)
        if not welcome:
            assert refusal(answer) == (403, "forbidden", "invalid_request_error")
            assert not upstream.requests
        rig.proxy.browsers = Browsers(Address("0.0.0.0", 1235))
        assert (await ask(rig.port, "GET", "/v1/x", host=host)).status == 200


@pytest.mark.parametrize(("host", "status"), [("evil.example", 403), ("localhost:1", 200)])
async def test_a_target_that_names_its_host_is_asked_for_that_one(host, status):
    async with proxied(ScriptedUpstream(answers(OK))) as rig:
        rig.proxy.browsers = Browsers(LOOPBACK)
        other = "localhost" if status == 403 else "evil.example"
        answer = await ask(rig.port, "GET", f"http://{host}/v1/x", host=other)
        assert answer.status == status


async def test_without_origins_what_the_upstream_says_to_browsers_passes():
    upstream = ScriptedUpstream(answers(OK))
    async with proxied(upstream) as rig:
        preflight = [("Origin", "http://page.example"), ("Access-Control-Request-Method", "POST")]
        answer = await ask(rig.port, "OPTIONS", CHAT, headers=preflight)
        assert answer.get(b"access-control-allow-origin") == b"*"
        assert upstream.requests[0].method == b"OPTIONS"


@pytest.mark.parametrize("status", [413, 500])
async def test_a_page_may_read_why_its_request_was_not_taken(status):
    limits = DEFAULT_LIMITS._replace(body_bytes=10)
    async with proxied(ScriptedUpstream(answers(OK)), limits=limits) as rig:
        rig.proxy.browsers = Browsers(Address("0.0.0.0", 1235), ["http://page.example"])
        if status == 500:
            rig.directory.candidates = None
        page = [("Origin", "http://page.example")]
        answer = await ask(
            rig.port, "POST", CHAT, headers=page, body=bytes(11 if status == 413 else 1)
        )
        assert answer.status == status
        assert answer.get(b"access-control-allow-origin") == b"http://page.example"


@pytest.mark.parametrize("origins", [["http://Page.example/"], ["*"]])
async def test_pages_of_configured_origins_may_ask_and_read(origins):
    page = ("Origin", "http://page.example")
    upstream = ScriptedUpstream(answers(OK))
    async with proxied(upstream) as rig:
        rig.proxy.browsers = Browsers(Address("0.0.0.0", 1235), origins)
        asked = [
            page,
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type"),
            ("Access-Control-Request-Private-Network", "true"),
        ]
        allowed = await ask(rig.port, "OPTIONS", CHAT, headers=asked)
        assert (allowed.status, allowed.complete, allowed.get(b"content-length")) == (
            204,
            True,
            None,
        )
        assert allowed.get(b"access-control-allow-origin") == b"http://page.example"
        assert allowed.get(b"access-control-allow-methods") == b"POST"
        assert allowed.get(b"access-control-allow-headers") == b"authorization,content-type"
        assert allowed.get(b"access-control-allow-private-network") == b"true"
        assert not upstream.requests
        for target, status in ((CHAT, 200), ("/nothing", 404)):
            answer = await ask(rig.port, "POST", target, headers=[page], body=b"{}")
            assert answer.status == status
            name = b"access-control-allow-origin"
            found = [value for key, value in answer.headers if key == name]
            assert found == [b"http://page.example"]
            assert b"origin" in [value for name, value in answer.headers if name == b"vary"]
        # Plain OPTIONS is no preflight, and another origin's business is the upstream's.
        assert (await ask(rig.port, "OPTIONS", CHAT, headers=[page])).body == b"ok"
        other = await ask(rig.port, "GET", "/v1/x", headers=[("Origin", "http://other.example")])
        allowed = other.get(b"access-control-allow-origin")
        assert allowed == (b"http://other.example" if origins == ["*"] else b"*")
