"""Ids of texts by /tokenize: asked beside the traffic, and given up in time."""

import json

import pytest
import trio
from recordings import recording
from scripted_upstream import ScriptedUpstream, ask, chunks_of, listening, proxied, streams

from geoosd import config
from geoosd.bridge.adapters import tokenize as tokenize_module
from geoosd.bridge.adapters.tokenize import MAX_MODELS, PATIENCE, REST_SECONDS, Tokenizing
from geoosd.bridge.adapters.upstream import UpstreamClient
from geoosd.errors import UpstreamError
from geoosd.wire.messages import SessionEnded, SessionStarted, TokenVisualizationUpdate


class Server:
    """A /tokenize of single letters: "a" is 97; what *odd* holds is cut into something else."""

    def __init__(self):
        self.asked = []
        self.seconds = 0.0
        self.status = 200
        self.odd = ""
        self.failure = None
        self.hold = None

    async def post(self, upstream, path, body):
        assert path == "/tokenize"
        asked = json.loads(body)
        if upstream == "v":
            if self.hold is not None and asked["prompt"] in self.hold:
                await self.hold[asked["prompt"]].wait()
            return self.vllm(asked)
        self.asked.append((upstream, asked["model"], asked["content"]))
        await trio.sleep(self.seconds)
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        tokens = []
        for text in asked["content"]:
            tokens += [(ord(each), " " + each if text in self.odd else each) for each in text]
        reply = {"tokens": [{"id": number, "piece": piece} for number, piece in tokens]}
        return self.status, json.dumps(reply).encode()

    def vllm(self, asked):
        """Byte-level, a token a character; as vLLM documents it."""
        assert (asked["add_special_tokens"], asked["return_token_strs"]) == (False, True)
        text = asked["prompt"]
        self.asked.append(("v", asked["model"], text))
        written = text.replace(" ", "\u0120")
        reply = {
            "count": len(text),
            "max_model_len": 4096,
            "tokens": [ord(each) for each in text],
            "token_strs": list(written),
        }
        return self.status, json.dumps(reply).encode()


class Rig:
    def __init__(self, nursery):
        self.nursery = nursery
        self.server = Server()
        self.out = []
        self.bugs = []
        self.tokenizing = Tokenizing(
            kind_of=lambda upstream: {"other": None, "v": "vllm"}.get(upstream, "llama.cpp"),
            post=self.server.post,
            put=self.out.extend,
            on_bug=lambda where, error: self.bugs.append(error),
        )

    def say(self, *texts, session="s", upstream="u", model="m", token_id=None):
        tokens = [
            TokenVisualizationUpdate(text, at, token_id, session=session)
            for at, text in enumerate(texts)
        ]
        self.tokenizing.pass_on(tokens, session, upstream, model)

    def end(self, session="s", upstream="u"):
        self.tokenizing.pass_on([SessionEnded(session)], session, upstream, "m")

    @property
    def ids(self):
        return [
            (each.current_token, each.token_id)
            for each in self.out
            if isinstance(each, TokenVisualizationUpdate)
        ]


@pytest.fixture
async def rig(nursery):
    rig = Rig(nursery)
    await nursery.start(rig.tokenizing.run)
    return rig


async def test_a_miss_waits_and_a_hit_does_not(autojump_clock, rig):
    rig.server.seconds = 0.1
    rig.tokenizing.pass_on([SessionStarted("s")], "s", None, None)
    assert len(rig.out) == 1
    rig.say("a", "b", "a")
    rig.end()
    assert len(rig.out) == 1
    await rig.tokenizing.wait_settled()
    assert rig.ids == [("a", 97), ("b", 98), ("a", 97)]
    assert isinstance(rig.out[-1], SessionEnded)
    rig.say("b", session="t")
    assert rig.ids[-1] == ("b", 98)
    assert rig.server.asked == [("u", "m", ["a", "b"])]


async def test_what_comes_meanwhile_is_asked_for_in_one_request_more(autojump_clock, rig):
    rig.server.seconds = 0.1
    rig.say("a")
    await trio.sleep(0.05)
    rig.say("b")
    rig.say("c", session="t")
    await rig.tokenizing.wait_settled()
    assert [texts for _, _, texts in rig.server.asked] == [["a"], ["b", "c"]]
    assert rig.ids == [("a", 97), ("b", 98), ("c", 99)]


async def test_requests_are_bounded(autojump_clock, rig, monkeypatch):
    monkeypatch.setattr(tokenize_module, "MAX_TEXTS", 3)
    monkeypatch.setattr(tokenize_module, "MAX_BYTES", 10)
    rig.say("a", "b", "c", "d", "x" * 9, "y" * 50, "z")
    await rig.tokenizing.wait_settled()
    asked = [texts for _, _, texts in rig.server.asked]
    assert asked == [["a", "b", "c"], ["d", "x" * 9], ["y" * 50], ["z"]]
    assert "".join(text for text, _ in rig.ids) == "abcd" + "x" * 9 + "y" * 50 + "z"
    assert None not in [each for _, each in rig.ids]


async def test_a_server_that_is_late_is_left_alone_for_a_while(autojump_clock, rig):
    rig.server.seconds = 5.0
    began = trio.current_time()
    rig.say("a", "b")
    await rig.tokenizing.wait_settled()
    assert PATIENCE <= trio.current_time() - began < rig.server.seconds
    assert rig.ids == [("a", None), ("b", None)]
    rig.say("c")
    rig.say("d", session="t")
    assert [text for text, _ in rig.ids] == ["a", "b", "c", "d"]
    assert len(rig.server.asked) == 1
    await trio.sleep(REST_SECONDS)
    rig.server.seconds = 0.0
    rig.say("c")
    await rig.tokenizing.wait_settled()
    assert rig.ids[-1] == ("c", 99)


async def test_a_server_that_cannot_keep_up_is_left_alone_for_a_while(
    autojump_clock, rig, monkeypatch
):
    monkeypatch.setattr(tokenize_module, "MAX_WAITING", 4)
    rig.server.seconds = PATIENCE / 2
    rig.say("a")
    rig.say("b", "c", "d")
    assert not rig.ids
    rig.say("e")
    assert rig.ids == [(each, None) for each in "abcde"]
    rig.say("f", session="t")
    assert rig.ids[-1] == ("f", None)
    rig.end()
    await rig.tokenizing.wait_settled()
    assert isinstance(rig.out[-1], SessionEnded)
    await trio.sleep(REST_SECONDS)
    rig.say("e", session="u")
    await rig.tokenizing.wait_settled()
    assert rig.ids[-1] == ("e", 101)


@pytest.mark.parametrize("how", ["status", "error", "bug"])
async def test_a_server_that_fails_holds_nothing_up(autojump_clock, rig, how):
    if how == "status":
        rig.server.status = 404
    else:
        rig.server.failure = UpstreamError("x", "gone") if how == "error" else ZeroDivisionError()
    rig.say("a")
    rig.end()
    await rig.tokenizing.wait_settled()
    assert rig.ids == [("a", None)]
    assert isinstance(rig.out[-1], SessionEnded)
    assert len(rig.bugs) == (how == "bug")


async def test_texts_that_are_cut_into_something_else_stay_without_ids(autojump_clock, rig):
    rig.server.odd = "b"
    rig.say("a", "b", "c")
    await rig.tokenizing.wait_settled()
    assert rig.ids == [("a", 97), ("b", None), ("c", 99)]
    assert [texts for _, _, texts in rig.server.asked] == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    rig.say("b")
    assert rig.ids[-1] == ("b", None)
    assert len(rig.server.asked) == 4


async def test_who_has_ids_or_cannot_tell_passes_at_once(autojump_clock, rig):
    rig.say("a", token_id=5)
    rig.say("b", upstream="other", session="t")
    rig.say("c", upstream=None, session="v")
    rig.end()
    assert rig.ids == [("a", 5), ("b", None), ("c", None)]
    assert not rig.server.asked


async def test_vllm_is_asked_for_each_text_once(autojump_clock, rig):
    rig.say("a", " b", "a", upstream="v")
    rig.end(upstream="v")
    await rig.tokenizing.wait_settled()
    assert rig.ids == [("a", 97), (" ", 32), ("b", 98), ("a", 97)]
    assert rig.server.asked == [("v", "m", "a"), ("v", "m", " b")]
    rig.server.status = 404
    rig.say("a", "c", session="t", upstream="v")
    rig.end("t", upstream="v")
    await rig.tokenizing.wait_settled()
    assert rig.ids[4:] == [("a", 97), ("c", None)]


async def test_what_vllm_has_told_does_not_wait_for_the_rest(autojump_clock, rig):
    rig.server.hold = {"c": trio.Event()}
    rig.say("a", "b", "c", upstream="v")
    with trio.fail_after(5):
        while len(rig.ids) < 2:
            await trio.lowlevel.checkpoint()
    assert rig.ids == [("a", 97), ("b", 98)]
    rig.server.hold["c"].set()
    await rig.tokenizing.wait_settled()
    assert rig.ids[-1] == ("c", 99)


async def test_only_so_many_models_are_remembered(autojump_clock, rig):
    for number in range(MAX_MODELS + 1):
        rig.say("a", model=f"m{number}", session=f"s{number}")
        await rig.tokenizing.wait_settled()
    rig.say("a", model="m0", session="again")
    await rig.tokenizing.wait_settled()
    assert len(rig.server.asked) == MAX_MODELS + 2


async def test_before_and_after_it_runs_messages_pass_as_they_are(autojump_clock):
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery)
        rig.say("a")
        await nursery.start(rig.tokenizing.run)
        rig.server.seconds = 0.2
        rig.say("b", session="t")
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    rig.say("c", session="t")
    rig.say("d", session="v")
    assert rig.ids == [("a", None), ("b", None), ("c", None), ("d", None)]


async def test_a_connection_that_was_closed_while_idle_is_no_failure():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    scripts = [answer, b"", answer, b""]

    async def script(stream, seen):
        said = scripts.pop(0)
        await (stream.send_all(said) if said else stream.aclose())

    upstream = ScriptedUpstream(script)
    async with listening(upstream):
        client = UpstreamClient(config.Upstream("u", upstream.url))
        assert await client.post("/tokenize", b"[]") == (200, b"{}")
        assert await client.post("/tokenize", b"[]") == (200, b"{}")
        assert (upstream.connections, len(upstream.posts)) == (2, 3)
        await client.aclose()
        with pytest.raises(UpstreamError):
            await client.post("/tokenize", b"[]")
        assert len(upstream.posts) == 4


async def test_a_client_does_not_wait_for_ids(nursery, monkeypatch):
    monkeypatch.setattr(tokenize_module, "PATIENCE", 60.0)
    recorded = recording("01_chat_plain")
    rig = Rig(nursery)
    rig.server.hold = trio.Event()
    await nursery.start(rig.tokenizing.run)

    def publish(payloads):
        rig.tokenizing.pass_on(payloads, payloads[0].session, "u", "m")

    upstream = ScriptedUpstream(streams(chunks_of(recorded.body, 100)))
    async with proxied(upstream, publish=publish) as proxy:
        answer = await ask(proxy.port, "POST", recorded.path, body=b"{}")
        assert answer.body == recorded.body
        assert rig.server.asked
        assert rig.ids == []
        rig.server.hold.set()
        await rig.tokenizing.wait_settled()
        assert not proxy.bugs
    assert "".join(text for text, _ in rig.ids) == "".join(token[2] for token in recorded.tokens)
    assert None not in [token_id for _, token_id in rig.ids]
