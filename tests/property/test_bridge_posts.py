"""However upstreams fail: never one POST more than docs/interfaces.md allows."""

from pathlib import Path

import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_upstream import (
    RECORDINGS,
    ScriptedUpstream,
    answers,
    ask,
    listening,
    proxied,
    streams,
)

from geoosd import config
from geoosd.bridge.adapters import upstream as upstream_module
from geoosd.bridge.adapters.asking import Asker
from geoosd.bridge.adapters.directory import Directory
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.question import Question
from geoosd.wire.messages import SessionEnded

PLAIN = (RECORDINGS / "01_chat_plain.body").read_bytes()


def status(code, body=b""):
    return answers(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (code, len(body)) + body)


def then_closes(raw):
    async def script(stream, seen):
        await stream.send_all(raw)
        await stream.aclose()

    return script


SCRIPTS = {
    "ok": streams([PLAIN]),
    "400": status(400),
    "400 usage": status(400, b"no stream_options here"),
    "503": status(503),
    "500": status(500),
    "429": status(429),
    "silent end": then_closes(b""),
    "a byte": then_closes(b"H"),
    "garbage": then_closes(b"\x00\xff\r\n\r\n"),
    "half": then_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
}


def allowed(faults):
    """POSTs to one upstream that answers like this, and whether another one follows."""
    posts = loading = asked_less = 0
    while True:
        fault = faults[min(posts, len(faults) - 1)]
        posts += 1
        if fault == "503" and loading < 5:
            loading += 1
        elif fault.startswith("400") and not asked_less:
            asked_less = 1
        else:
            return posts, fault == "silent end"


def playing(faults):
    """Plays them in turn; the last one goes on."""
    played = 0

    async def script(stream, seen):
        nonlocal played
        fault = faults[min(played, len(faults) - 1)]
        played += 1
        await SCRIPTS[fault](stream, seen)

    return script


async def ask_all(plays):
    servers = [ScriptedUpstream(playing(faults), id=f"u{n}") for n, faults in enumerate(plays)]
    published, bugs = [], []
    async with listening(*servers):
        loaded = config.resolve(config.RawConfig())
        upstreams = tuple(config.Upstream(each.id, each.url, models=("m",)) for each in servers)
        directory = Directory(
            config.msgspec.structs.replace(loaded, upstreams=upstreams),
            log=structlog.get_logger(),
            engine_socket=Path("/nonexistent"),
        )
        for each in servers:
            directory.router.update(each.id, "ready")
        asker = Asker(
            directory,
            open_exchange=lambda **how: Exchange("s", **how),
            publish=published.extend,
            on_asked=lambda *_: None,
            on_bug=lambda where, bug: bugs.append(bug),
        )
        plan = directory.candidates("m")
        async with asker.stream_from_all(Question("hi"), [plan], client="me") as batches:
            told = [payload async for payloads in batches for payload in payloads]
        for each in servers:
            await directory.client(each.id).aclose()
    assert bugs == []
    assert told == published
    ends = [payload for payload in told if isinstance(payload, SessionEnded)]
    assert len(ends) == 1
    return [len(each.posts) for each in servers]


plays = st.lists(
    st.lists(st.sampled_from(sorted(SCRIPTS)), min_size=1, max_size=8), min_size=1, max_size=3
)


@given(plays)
@settings(deadline=None, max_examples=60)
def test_never_one_post_more(plays):
    expected = []
    follows = True
    for faults in plays:
        posts, next_follows = allowed(faults) if follows else (0, False)
        expected.append(posts)
        follows = next_follows
    delay, upstream_module.RETRY_DELAY = upstream_module.RETRY_DELAY, 0.0
    try:
        assert trio.run(ask_all, plays) == expected
    finally:
        upstream_module.RETRY_DELAY = delay


async def ask_through_the_proxy(faults, path, chunked):
    servers = [ScriptedUpstream(SCRIPTS[each], id=f"u{n}") for n, each in enumerate(faults)]
    async with proxied(*servers) as rig:
        answer = await ask(rig.port, "POST", path, body=b'{"model":"m"}', chunked=chunked)
        assert rig.bugs == []
    return [len(each.posts) for each in servers], answer


@given(
    st.lists(st.sampled_from(sorted(SCRIPTS)), min_size=1, max_size=4),
    st.sampled_from(["/v1/chat/completions", "/v1/embeddings", "/api/chat"]),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_never_one_post_more_through_the_proxy(faults, path, chunked):
    """Each is asked once, and the next one only after one that said nothing at all."""
    silent = next((n for n, each in enumerate(faults) if each != "silent end"), len(faults))
    posts, answer = trio.run(ask_through_the_proxy, faults, path, chunked)
    assert posts == [int(number <= silent) for number in range(len(faults))]
    if silent == len(faults):
        assert answer.status == 502
    elif faults[silent].isdecimal():
        assert answer.status == int(faults[silent])
