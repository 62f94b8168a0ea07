"""The bridge in front of several upstreams: failover, circuit, turns, capabilities, all at once."""

import json
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from msgspec import structs
from scripted_upstream import RECORDINGS, ScriptedUpstream, answers, listening, streams
from scripted_upstream import ask as ask_http
from test_bridge_service import (
    BRIDGE,
    FakeCompositor,
    _directory_of,
    ask,
    get,
    models,
    running,
    settings,
    text,
    until,
)
from test_bridge_upstream import ANSWERED, begins_then, hangs_up, in_turn, resets, said

from geoosd import config
from geoosd.bridge.adapters import turns as turns_module
from geoosd.bridge.adapters import upstream as upstream_module
from geoosd.bridge.adapters import watched as watched_module
from geoosd.bridge.core import breaker as breaker_module
from geoosd.bridge.core.question import Question
from geoosd.runtime import varlink
from geoosd.wire.messages import SessionEnded

PLAIN = (RECORDINGS / "01_chat_plain.body").read_bytes()
RICH = (RECORDINGS / "02_chat_logprobs_usage_timings_progress.body").read_bytes()
MODELS = models("gemma")
HELLO = b'f\r\ndata: {"x":1}\n\n\r\n'


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(upstream_module, "RETRY_DELAY", 0.001)
    monkeypatch.setattr(watched_module, "SEEK_SECONDS", 0.05)


def model_server(name, script, listing=MODELS, **about):
    """A server whose GETs are in order and whose POSTs are *script*."""
    answered = {"/v1/models": listing, **about}

    async def serve(stream, seen):
        if seen.method == b"GET":
            body = answered.get(seen.target.decode())
            raw = said(404) if body is None else said(200, body)
            await stream.send_all(raw)
        else:
            await script(stream, seen)

    server = ScriptedUpstream(serve, id=name)
    server.answered = answered
    return server


def streaming(body=PLAIN):
    return streams([body])


@asynccontextmanager
async def bridge(tmp_path, *servers, **options):
    """A bridge in front of *servers*, the first with the best priority."""
    async with listening(*servers):
        upstreams = [
            config.Upstream(each.id, each.url, priority=number, **options)
            for number, each in enumerate(servers)
        ]
        async with running(tmp_path, settings(*upstreams)) as runtime:
            yield runtime


async def proxied(runtime, model="gemma", **body):
    address = (await get(runtime, "GetStatus"))["status"]["addresses"][0]
    request = json.dumps({"model": model, "stream": True, "messages": [], **body}).encode()
    port = int(address.rpartition(":")[2])
    return await ask_http(port, "POST", "/v1/chat/completions", body=request)


async def listed(runtime):
    reply = await varlink.call(runtime.paths.varlink("bridge"), f"{BRIDGE}.ListModels")
    return {each["upstream"]: each for each in reply["models"]}


def logged(runtime, event):
    records, _position = runtime.logs.ring.newest(999, lambda record: record.event == event)
    return records


# -- failover --------------------------------------------------------------------------------------

FAULTS = {
    "hangs up": (hangs_up, True),
    "resets": (resets, True),
    "one byte": (begins_then(b"H"), False),
    "garbage": (begins_then(b"garbage\r\n\r\n"), False),
    "half a head": (begins_then(b"HTTP/1.1 200 OK\r\nX"), False),
    "head alone": (begins_then(ANSWERED), False),
    "in mid-stream": (begins_then(ANSWERED + HELLO), False),
    "500": (answers(said(500, b'{"error":"no"}')), False),
    "502": (answers(said(502)), False),
    "504": (answers(said(504)), False),
    "429": (answers(said(429, more="Retry-After: 7\r\n")), False),
    "404": (answers(said(404)), False),
    "200 that is nothing": (answers(said(200)), False),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["prompt", "proxy"])
async def test_never_one_post_more(tmp_path, fault, way):
    """Another is asked only if the first said nothing at all; each is asked once."""
    script, fails_over = FAULTS[fault]
    first, second = model_server("first", script), model_server("second", streaming())
    async with bridge(tmp_path, first, second) as runtime:
        if way == "prompt":
            replies = await ask(runtime, model="gemma")
            assert (replies[-1]["payload"]["error"] is None) is (
                fails_over or fault == "200 that is nothing"
            )
        else:
            with suppress(trio.BrokenResourceError):
                answer = await proxied(runtime)
                assert (answer.body == PLAIN) is fails_over
    assert (len(first.posts), len(second.posts)) == (1, int(fails_over))


async def test_the_map_is_told_who_answers(tmp_path, nursery):
    compositor = FakeCompositor(tmp_path / "run" / "ingest.sock")
    await nursery.start(compositor.serve)
    first, second = model_server("first", resets), model_server("second", streaming())
    async with bridge(tmp_path, first, second) as runtime:
        told = await ask(runtime, model="gemma")
        answer = await proxied(runtime)
    assert answer.get(b"x-geoos-upstream") == b"second"
    for session in (told[0]["payload"]["session"], answer.get(b"x-geoos-session").decode()):
        mine = [m.payload for m in compositor.taken if getattr(m.payload, "session", "") == session]
        named = [each.upstream for each in mine if getattr(each, "upstream", None)]
        assert named == ["first", "second"]


@pytest.mark.parametrize("way", ["prompt", "proxy"])
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", ANSWERED])
async def test_silence_is_no_reason_to_ask_another(tmp_path, way, begin):
    async def stalls(stream, seen):
        await stream.send_all(begin)
        await trio.sleep_forever()

    first, second = model_server("first", stalls), model_server("second", streaming())
    async with bridge(tmp_path, first, second, timeout=0.2) as runtime:
        if way == "prompt":
            error = (await ask(runtime, model="gemma"))[-1]["payload"]["error"]
            assert "silent for 0.2 s" in error
        elif begin == ANSWERED:
            assert not (await proxied(runtime)).complete
        else:
            answer = await proxied(runtime)
            assert answer.status == 504
            assert json.loads(answer.body)["error"]["code"] == "upstream_timeout"
    assert (len(first.posts), len(second.posts)) == (1, 0)


@pytest.mark.parametrize("way", ["prompt", "proxy"])
async def test_when_all_fail_each_was_asked_once(tmp_path, way):
    servers = [
        model_server(name, script)
        for name, script in zip("abc", [resets, hangs_up, resets], strict=True)
    ]
    async with bridge(tmp_path, *servers) as runtime:
        if way == "prompt":
            assert "cannot read c at" in (await ask(runtime, model="gemma"))[-1]["payload"]["error"]
        else:
            answer = await proxied(runtime)
            assert answer.status == 502
            assert json.loads(answer.body)["error"]["code"] == "upstream_unavailable"
    assert [len(each.posts) for each in servers] == [1, 1, 1]


async def test_a_named_upstream_is_not_replaced(tmp_path):
    first, second = model_server("first", resets), model_server("second", streaming())
    async with bridge(tmp_path, first, second) as runtime:
        assert (await ask(runtime, model="first/gemma"))[-1]["payload"]["error"] is not None
        assert (await proxied(runtime, "first/gemma")).status == 502
        assert text(await ask(runtime, model="second/gemma"))
    assert (len(first.posts), len(second.posts)) == (2, 1)


@pytest.mark.parametrize("script", [hangs_up, resets])
async def test_failover_takes_no_time_of_its_own(tmp_path, mock_clock, script):
    """The clock stands still: what waits for it, for a back-off or a look, would wait for ever."""
    first, second = model_server("first", script), model_server("second", streaming())
    async with bridge(tmp_path, first, second) as runtime:
        assert (await ask(runtime, model="gemma"))[-1]["payload"]["error"] is None
        assert (await proxied(runtime)).body == PLAIN
    assert (len(first.posts), len(second.posts)) == (2, 2)


# -- the circuit -----------------------------------------------------------------------------------


async def test_who_fails_is_set_aside_and_tried_again(tmp_path, monkeypatch):
    policy = breaker_module.Policy(failures=3, first=600.0, longest=600.0)
    monkeypatch.setattr(breaker_module.Breaker.__init__, "__defaults__", (policy,))
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 60.0)
    first = model_server("first", in_turn(resets, resets, resets, streaming()))
    second = model_server("second", streaming())
    async with bridge(tmp_path, first, second) as runtime:
        for _ in range(2):
            assert (await proxied(runtime)).body == PLAIN
        assert (await listed(runtime))["first"]["circuit"] == "closed"
        assert (await ask(runtime, model="gemma"))[-1]["payload"]["error"] is None
        shown = (await listed(runtime))["first"]
        assert shown["circuit"] == "open"
        assert shown["retry_in"] > 0
        assert len(first.posts) == 3
        status = (await get(runtime, "GetStatus"))["status"]
        assert status["details"]["circuit first"].startswith("set aside")
        metrics = (await get(runtime, "GetMetrics"))["text"]
        assert 'geoos_upstream_circuit{upstream="first"} 1.0' in metrics
        assert 'geoos_upstream_unanswered_total{upstream="first"} 3.0' in metrics
        checks = (await get(runtime, "GetHealth"))["checks"]
        check = next(each for each in checks if each["name"] == "upstream first")
        assert check["status"] == "warning"
        assert "restart" in check["remedy"]
        (record,) = logged(runtime, "upstream is set aside")
        assert (record.level, record.upstream) == ("warning", "first")
        watched = _directory_of(runtime)._watched["first"]
        looks = []
        probe = watched.client.probe

        async def look():
            looks.append(watched.breaker.state)
            return await probe()

        monkeypatch.setattr(watched.client, "probe", look)
        # The back-off is over.
        monkeypatch.setattr(watched.breaker, "_retry_at", trio.current_time())
        watched._wake.set()
        await until(lambda: _directory_of(runtime).router.get("first").circuit == "closed")
        assert looks.count("half_open") == 1
        assert (await proxied(runtime)).get(b"x-geoos-upstream") == b"first"
        assert logged(runtime, "upstream is used again")


async def test_set_aside_is_better_than_nothing(tmp_path):
    only = model_server("only", in_turn(resets, resets, resets, streaming()))
    async with bridge(tmp_path, only) as runtime:
        for _ in range(3):
            assert (await proxied(runtime)).status == 502
        assert (await listed(runtime))["only"]["circuit"] == "open"
        assert (await proxied(runtime)).body == PLAIN
        assert (await listed(runtime))["only"]["circuit"] == "closed"


@pytest.mark.parametrize("way", ["prompt", "proxy"])
@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\n", ANSWERED, ANSWERED + HELLO])
async def test_who_breaks_answers_off_is_set_aside(tmp_path, way, begin):
    """At whatever point; who asked keeps what came, and another is preferred from then on."""
    first, second = model_server("first", begins_then(begin)), model_server("second", streaming())
    async with bridge(tmp_path, first, second) as runtime:
        for _ in range(3):
            assert (await listed(runtime))["first"]["circuit"] == "closed"
            if way == "prompt":
                assert (await ask(runtime, model="gemma"))[-1]["payload"]["error"]
            else:
                assert (await proxied(runtime)).body != PLAIN
        assert (await listed(runtime))["first"]["circuit"] == "open"
        assert (await proxied(runtime)).body == PLAIN
    assert (len(first.posts), len(second.posts)) == (3, 1)


@pytest.mark.parametrize("way", ["prompt", "proxy"])
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", ANSWERED])
async def test_who_is_silent_is_set_aside_for_a_time(tmp_path, mock_clock, monkeypatch, way, begin):
    """On a clock that jumps: three timeouts, a back-off, a good look, one timeout more."""
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 60.0)
    monkeypatch.setattr(watched_module.random, "random", lambda: 1.0)
    policy = breaker_module.Policy(first=4.0)
    monkeypatch.setattr(breaker_module.Breaker.__init__, "__defaults__", (policy,))

    async def stalls(stream, seen):
        await stream.send_all(begin)
        await trio.sleep_forever()

    first, second = model_server("first", stalls), model_server("second", streaming())
    answered = []

    async def once(runtime):
        if way == "prompt":
            answered.append((await ask(runtime, model="gemma"))[-1]["payload"]["error"])
        else:
            answered.append((await proxied(runtime)).body == PLAIN)

    async def jump_until(condition):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.01)
            mock_clock.jump(0.25)

    async with bridge(tmp_path, first, second, timeout=1.0) as runtime:
        circuit = _directory_of(runtime).router.get("first")
        async with trio.open_nursery() as nursery:
            for number in range(1, 4):
                assert circuit.circuit == "closed"
                nursery.start_soon(once, runtime)
                await jump_until(lambda number=number: len(answered) == number)
        assert circuit.circuit == "open"
        await once(runtime)  # without a jump: nobody waits for the silent one
        assert answered[3] is (None if way == "prompt" else True)
        assert len(first.posts) == 3
        looks = len(first.requests)
        await jump_until(lambda: circuit.circuit == "closed")
        assert len(first.requests) > looks
        async with trio.open_nursery() as nursery:
            nursery.start_soon(once, runtime)
            await jump_until(lambda: len(answered) == 5)
        assert circuit.circuit == "open"
        assert _directory_of(runtime).retry_in("first") > 4.0  # twice as long
    assert (len(first.posts), len(second.posts)) == (4, 1)


async def test_flapping_does_not_flood_the_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(watched_module, "SEEK_SECONDS", 0.001)
    monkeypatch.setattr(watched_module, "SOONEST_SECONDS", 0.0)
    server = model_server("flaps", streaming())
    looks = 0

    async def flap(stream, seen):
        nonlocal looks
        looks += 1
        await stream.send_all(said(200, MODELS) if looks % 2 else said(404))

    server.script = flap
    async with bridge(tmp_path, server) as runtime:
        await until(lambda: looks > 100)
        changes = logged(runtime, "upstream is down") + logged(runtime, "upstream is ready")
        assert 2 <= len(changes) <= 4


async def test_many_failing_requests_make_few_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 60.0)
    monkeypatch.setattr(watched_module, "SOONEST_SECONDS", 60.0)
    first, second = model_server("first", resets), model_server("second", streaming())
    async with bridge(tmp_path, first, second) as runtime:
        for _ in range(20):
            assert (await proxied(runtime)).body == PLAIN
        assert len(first.requests) - len(first.posts) == 1  # that of the start
        assert len(first.posts) == 3  # then it was set aside


@pytest.mark.parametrize("way", ["prompt", "proxy"])
@pytest.mark.parametrize(
    "raw",
    [
        b"my secret answer\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nmy secret answer\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: my secret answer\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: my secret answer\r\n\r\n",
        ANSWERED + b"my secret answer\r\n",
    ],
)
async def test_what_a_broken_server_says_stays_out_of_the_log(tmp_path, way, raw):
    server = model_server("fake", begins_then(raw))
    async with bridge(tmp_path, server) as runtime:
        if way == "prompt":
            assert (await ask(runtime))[-1]["payload"]["error"]
        else:
            with suppress(trio.BrokenResourceError):
                assert b"secret" not in (await proxied(runtime)).body
        await until(lambda: logged(runtime, "request ended"))
        records, _position = runtime.logs.ring.newest(999, lambda record: True)
        assert "secret" not in str(records)


async def test_of_servers_that_were_found_the_one_that_fails_is_named(tmp_path, monkeypatch):
    first, second = model_server("first", resets), model_server("second", streaming())
    async with listening(first, second):
        found = tuple(config.Upstream(each.id, each.url) for each in (first, second))
        monkeypatch.setattr(config, "well_known", lambda engine: found)
        async with running(tmp_path, settings()) as runtime:
            for _ in range(3):
                await proxied(runtime)
            checks = (await get(runtime, "GetHealth"))["checks"]
            check = next(each for each in checks if each["name"] == "upstream")
            assert check["status"] == "warning"
            assert check["summary"].startswith("upstream first at")


# -- what is learnt --------------------------------------------------------------------------------


async def test_what_was_refused_is_not_asked_for_again(tmp_path):
    refusal = answers(said(400, b'{"error":{"message":"logprobs are not supported"}}'))
    server = model_server("fake", in_turn(refusal, streaming()))
    async with bridge(tmp_path, server) as runtime:
        assert (await ask(runtime))[-1]["payload"]["error"] is None
        assert len(server.posts) == 2
        shown = (await listed(runtime))["fake"]
        assert shown["capabilities"]["logprobs"] is False
        assert shown["learnt"]["logprobs"] == "refusal"
        assert (await ask(runtime))[-1]["payload"]["error"] is None
        assert len(server.posts) == 3
    asked = ["logprobs" in json.loads(post.body) for post in server.posts]
    assert asked == [True, False, False]


async def test_what_an_answer_lacks_is_not_asked_for_again(tmp_path):
    server = model_server("fake", streaming())
    async with bridge(tmp_path, server) as runtime:
        await ask(runtime)
        shown = (await listed(runtime))["fake"]
        assert shown["capabilities"]["logprobs"] is False
        assert shown["learnt"]["logprobs"] == "answer"
        assert shown["capabilities"]["tools"] is None
        await ask(runtime)
    assert ["logprobs" in json.loads(post.body) for post in server.posts] == [True, False]


async def test_proxied_answers_teach_what_is_there_and_nothing_else(tmp_path):
    server = model_server("fake", in_turn(streaming(), streaming(RICH)))
    async with bridge(tmp_path, server) as runtime:
        await proxied(runtime)
        assert (await listed(runtime))["fake"]["capabilities"]["logprobs"] is None
        await proxied(runtime, model="fake/gemma", logprobs=True)
        shown = (await listed(runtime))["fake"]
        learnt = {what for what, can in shown["capabilities"].items() if can}
        assert learnt == {"logprobs", "token_ids", "prompt_progress", "usage"}


@pytest.mark.parametrize("kind", ["llama.cpp", "vllm"])
@pytest.mark.parametrize(("code", "has"), [(200, True), (404, False), (500, None)])
async def test_whether_it_tokenizes(tmp_path, code, has, kind):
    server = model_server("fake", answers(said(code, b"{}")))
    async with bridge(tmp_path, server, kind=kind) as runtime:
        directory = _directory_of(runtime)
        assert directory.tokenizer("fake") == kind
        assert directory.tokenizer("none") is None
        status, _body = await directory.post("fake", "/tokenize", b"{}")
        assert status == code
        assert (await listed(runtime))["fake"]["capabilities"]["tokenize"] is has
        assert directory.tokenizer("fake") == (None if has is False else kind)
    assert len(server.posts) == 1


async def test_another_version_is_asked_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_module, "ABOUT_SECONDS", 0.01)
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 0.02)
    about = {"/version": b'{"version":"1"}'}
    server = model_server("fake", streaming(), listing=models("gemma", owner="vllm"), **about)
    async with bridge(tmp_path, server) as runtime:
        await ask(runtime)
        assert (await listed(runtime))["fake"]["capabilities"]["logprobs"] is False
        assert json.loads(server.posts[0].body)["return_token_ids"] is True
        server.answered["/version"] = b'{"version":"2"}'
        capabilities = _directory_of(runtime).capabilities
        await until(lambda: capabilities.can("fake", "gemma", "logprobs") is None)
        await ask(runtime)
    chats = [post.body for post in server.posts if post.target == b"/v1/chat/completions"]
    assert ["logprobs" in json.loads(body) for body in chats] == [True, True]


async def test_a_server_that_came_back_without_a_version_is_asked_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 0.02)
    server = model_server("fake", streaming())
    async with bridge(tmp_path, server) as runtime:
        await ask(runtime)
        router = _directory_of(runtime).router
        server.answered["/v1/models"] = None
        await until(lambda: router.get("fake").state == "down")
        assert (await listed(runtime))["fake"]["capabilities"]["logprobs"] is False
        server.answered["/v1/models"] = MODELS
        await until(lambda: router.get("fake").state == "ready")
        assert (await listed(runtime))["fake"]["capabilities"]["logprobs"] is None


# -- turns -----------------------------------------------------------------------------------------


def held(gate, body=PLAIN):
    """Answers when *gate* lets it."""

    async def script(stream, seen):
        await gate.acquire()
        await streams([body])(stream, seen)

    return script


async def test_positions_count_down_and_clients_take_turns(tmp_path):
    gate = trio.Semaphore(0)
    server = model_server("fake", held(gate))
    said_to = {}

    async with bridge(tmp_path, server, max_concurrency=1) as runtime:
        turns = _directory_of(runtime).turns("fake")
        finished = []

        async def one(name, client):
            replies = await ask(runtime, client=client, model="gemma")
            said_to[name] = [
                reply["payload"]["position"]
                for reply in replies
                if reply["message_type"] == "SessionProgress"
                and reply["payload"]["phase"] == "queued"
            ]
            finished.append(name)

        async with trio.open_nursery() as asking:
            plan = [("b1", "batch"), ("b2", "batch"), ("b3", "batch"), ("me", "person")]
            for number, (name, client) in enumerate(plan):
                asking.start_soon(one, name, client)
                await until(
                    lambda at=number: (
                        turns.statistics()[:3] == (1, 1, at)
                    )  # running, slots, waiting
                )
            rows = (await get(runtime, "GetStatus"))["status"]["requests"]
            shown = sorted(row["position"] for row in rows if row["position"] is not None)
            assert shown == [0, 1, 2]
            for number in range(4):
                gate.release()
                await until(lambda at=number: len(finished) == at + 1)
                rows = (await get(runtime, "GetStatus"))["status"]["requests"]
                shown = sorted(row["position"] for row in rows if row["position"] is not None)
                assert shown == list(range(2 - number))
    assert finished == ["b1", "b2", "me", "b3"]
    assert said_to == {"b1": [], "b2": [0], "me": [1, 0], "b3": [1, 2, 1, 0]}


async def test_prompts_wait_for_their_upstream_s_rate(tmp_path, mock_clock):
    """One every two seconds, on a clock that only the test moves."""
    server = model_server("slow", streaming())
    answered = []

    async def one(runtime):
        answered.append((await ask(runtime))[-1]["payload"]["error"])

    async def quiet(condition):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.01)

    async def requests(runtime):
        return len((await get(runtime, "GetStatus"))["status"]["requests"])

    async def pass_by(seconds):
        mock_clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked(0.05)
        return len(server.posts)

    async with bridge(tmp_path, server, rate=0.5) as runtime, trio.open_nursery() as asking:
        asking.start_soon(one, runtime)
        await quiet(lambda: len(answered) == 1)
        asking.start_soon(one, runtime)
        asking.start_soon(one, runtime)
        while await requests(runtime) != 2:
            pass
        assert await pass_by(1.9) == 1
        assert await pass_by(0.2) == 2
        assert await pass_by(1.7) == 2
        assert await pass_by(0.3) == 3
        await quiet(lambda: len(answered) == 3)
        asking.start_soon(one, runtime)
        while await requests(runtime) != 1:
            pass
        upstream = config.Upstream(server.id, server.url, rate=1000.0)
        runtime.config = structs.replace(runtime.config, upstreams=[upstream])
        await runtime.reload()
        assert await pass_by(1.0) == 4, "a prompt that waits hears of another rate"
        await quiet(lambda: len(answered) == 4)
    assert answered == [None] * 4


async def test_a_full_queue_turns_away_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(turns_module.Turns.__init__, "__defaults__", (1,))
    gate = trio.Semaphore(0)
    server = model_server("fake", held(gate))
    async with bridge(tmp_path, server, max_concurrency=1) as runtime:
        turns = _directory_of(runtime).turns("fake")
        async with trio.open_nursery() as asking:
            asking.start_soon(ask, runtime)
            await until(lambda: turns.statistics().running == 1)
            asking.start_soon(ask, runtime)
            await until(lambda: turns.statistics().waiting == 1)
            error = (await ask(runtime))[-1]["payload"]["error"]
            assert error == "cannot take the prompt: 1 wait already; try again later"
            assert (await proxied_while(runtime, gate)).body == PLAIN  # never queued
            queues = (await get(runtime, "GetStatus"))["status"]["queues"]
            queue = next(each for each in queues if each["name"] == "prompts fake")
            assert (queue["capacity"], queue["dropped"], queue["policy"]) == (1, 1, "refuse")
            gate.release()
            gate.release()
        assert turns.statistics().running == 0


async def proxied_while(runtime, gate):
    """A proxied request, let through by a gate that two others wait at first."""
    answers_ = []

    async def one():
        answers_.append(await proxied(runtime))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await until(lambda: len(gate._lot) == 2)
        gate.release()
        gate.release()
        await until(lambda: answers_)
    return answers_[0]


async def test_who_gives_up_waiting_leaves_no_hole(tmp_path):
    gate = trio.Semaphore(0)
    server = model_server("fake", held(gate))
    async with bridge(tmp_path, server, max_concurrency=1) as runtime:
        turns = _directory_of(runtime).turns("fake")
        async with trio.open_nursery() as asking:
            asking.start_soon(ask, runtime)
            await until(lambda: turns.statistics().running == 1)
            with trio.move_on_after(0.05):
                await ask(runtime)
            await until(lambda: turns.statistics().waiting == 0)
            gate.release()
    assert len(server.posts) == 1


# -- all at once -----------------------------------------------------------------------------------


async def test_one_failing_does_not_stop_the_others(tmp_path):
    gate = trio.Event()

    async def stalls(stream, seen):
        await stream.send_all(ANSWERED)
        await gate.wait()
        await stream.aclose()

    servers = [
        model_server("good", streaming(), models("a")),
        model_server("resets", resets, models("b")),
        model_server("stalls", stalls, models("c")),
        model_server("errs", answers(said(500, b'{"error":"no"}')), models("d")),
        model_server("rich", streaming(RICH), models("e")),
    ]
    async with bridge(tmp_path, *servers) as runtime:
        path = runtime.paths.varlink("bridge")
        ends, replies = {}, []
        async with varlink.stream(path, f"{BRIDGE}.Prompt", {"prompt": "hi", "all": True}) as got:
            async for reply in got:
                replies.append(reply["message"])
                payload = reply["message"]["payload"]
                if reply["message"]["message_type"] == "SessionEnded":
                    ends[payload["session"]] = payload["error"]
                    if len(ends) == 4:
                        gate.set()
        names = {
            each["payload"]["session"]: each["payload"]["upstream"]
            for each in replies
            if each["message_type"] == "SessionStarted"
        }
        errors = {names[session]: error for session, error in ends.items()}
        assert errors["good"] is errors["rich"] is None
        assert errors["errs"] == "the upstream answered 500: no"
        assert "hung up" in errors["stalls"] or "broke off" in errors["stalls"]
        assert "cannot read resets" in errors["resets"]
        sessions = {name: session for session, name in names.items()}
        assert text(replies, sessions["rich"]).startswith("Tell me a short story")
    assert [len(each.posts) for each in servers] == [1] * 5


async def test_stream_from_all_as_a_library(tmp_path):
    servers = [model_server("x", streaming(), models("a")), model_server("y", resets, models("b"))]
    async with bridge(tmp_path, *servers) as runtime:
        handler = runtime.varlink._methods[f"{BRIDGE}.Prompt"][1]
        asker = handler.__self__._asker
        plans = [[route] for route in _directory_of(runtime).router.everywhere()]
        ends = []
        async with asker.stream_from_all(Question("hi"), plans, client="me") as batches:
            async for payloads in batches:
                ends += [each for each in payloads if isinstance(each, SessionEnded)]
        assert sorted(end.error is None for end in ends) == [False, True]
        async with asker.stream_from_all(Question("hi"), plans, client="me") as batches:
            await batches.receive()
        assert (await get(runtime, "GetStatus"))["status"]["requests"] == []


async def test_a_bug_in_one_session_is_its_own(tmp_path, monkeypatch):
    servers = [
        model_server("x", streaming(), models("a")),
        model_server("y", streaming(), models("b")),
    ]
    async with bridge(tmp_path, *servers) as runtime:
        client = _directory_of(runtime).client("x")

        async def bug(*_args, **_named):
            raise ZeroDivisionError

        monkeypatch.setattr(client, "ask", bug)
        replies = await ask(runtime, all=True)
        errors = [r["payload"]["error"] for r in replies if r["message_type"] == "SessionEnded"]
        assert sorted(map(str, errors)) == [
            "None",
            "geoos itself failed; see: geoosctl logs --level error",
        ]
        assert logged(runtime, "bug")[0].level == "error"
