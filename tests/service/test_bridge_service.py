"""The bridge between a fake model server and a fake compositor."""

import json
import re
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import h11
import httpx
import pytest
import trio

from geoosd import config
from geoosd.bridge.adapters import upstream as upstream_module
from geoosd.bridge.adapters import watched as watched_module
from geoosd.bridge.service import SPEC, Bridge
from geoosd.errors import ConfigError, VarlinkError
from geoosd.runtime import logs, service, varlink
from geoosd.wire import framing, messages
from geoosd.wire.messages import Ack, Demand, Error, ProducerHello

RECORDED = Path(__file__).parents[1] / "data" / "sse"
STREAM = (RECORDED / "02_chat_logprobs_usage_timings_progress.body").read_bytes()
COMPLETION = (RECORDED / "21_completion_prompt_form.body").read_bytes()
PROPS = (RECORDED / "props_without_template.json").read_bytes()
BRIDGE = "io.geoos.Bridge"


def models(*ids: str, owner: str = "somebody") -> bytes:
    return json.dumps({"data": [{"id": each, "owned_by": owner} for each in ids]}).encode()


@dataclass
class FakeUpstream:
    """A model server: answers POSTs from a script, then with the recorded stream."""

    port: int = 0
    listing: tuple[int, bytes] = (200, models("gemma"))
    props: tuple[int, bytes] = (404, b"")
    script: deque = field(default_factory=deque)
    answer: bytes = STREAM
    asked: list = field(default_factory=list)
    hold: trio.Event | None = None
    hung_up: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, task_status=trio.TASK_STATUS_IGNORED):
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        await trio.serve_listeners(self._connection, listeners, task_status=task_status)

    async def _connection(self, stream):
        connection = h11.Connection(h11.SERVER)
        try:
            while True:
                request, body = await self._request(stream, connection)
                if request is None:
                    return
                await self._answer(stream, connection, request, body)
                connection.start_next_cycle()
        except (trio.BrokenResourceError, h11.ProtocolError):
            self.hung_up.set()

    async def _request(self, stream, connection):
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return request, body
            else:
                return None, b""

    async def _answer(self, stream, connection, request, body):
        target = request.target.decode()
        if request.method == b"GET":
            status, data = {"/v1/models": self.listing, "/props": self.props}[target]
            await self._send(stream, connection, status, "application/json", [data])
            return
        self.asked.append((target, json.loads(body), dict(request.headers)))
        if self.script:
            status, data = self.script.popleft()
            await self._send(stream, connection, status, "application/json", [data])
            return
        half = len(self.answer) // 2
        parts = [self.answer[:half], self.answer[half:]]
        await self._send(stream, connection, 200, "text/event-stream", parts)

    async def _send(self, stream, connection, status, kind, parts):
        head = h11.Response(
            status_code=status, headers=[("content-type", kind), ("transfer-encoding", "chunked")]
        )
        await stream.send_all(connection.send(head))
        for index, part in enumerate(parts):
            if part:
                await stream.send_all(connection.send(h11.Data(data=part)))
            if self.hold is not None and index == 0 and len(parts) > 1:
                await self.hold.wait()
        await stream.send_all(connection.send(h11.EndOfMessage()))


@dataclass
class FakeCompositor:
    """Takes what the bridge sends; acknowledges while told to."""

    path: Path
    acknowledge: bool = True
    hellos: list = field(default_factory=list)
    taken: list = field(default_factory=list)
    stream: trio.SocketStream | None = None

    async def serve(self, task_status=trio.TASK_STATUS_IGNORED):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(self.path))
        sock.listen()
        await trio.serve_listeners(
            self._connection, [trio.SocketListener(sock)], task_status=task_status
        )

    async def _connection(self, stream):
        self.stream = stream
        decoder = framing.FrameDecoder()
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            await self._read(stream, decoder)

    async def _read(self, stream, decoder):
        async for data in stream:
            for frame in decoder.receive(data):
                message = messages.decode(frame, 0.0)
                if isinstance(message.payload, ProducerHello):
                    self.hellos.append(message.payload)
                    continue
                self.taken.append(message)
                if self.acknowledge:
                    await self.say(Ack(message.n))

    async def say(self, payload):
        await self.stream.send_all(framing.encode_frame(messages.encode(payload, 1.0)))


@pytest.fixture
async def upstream(nursery):
    fake = FakeUpstream()
    await nursery.start(fake.serve)
    return fake


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(upstream_module, "RETRY_DELAY", 0.001)
    monkeypatch.setattr(watched_module, "SEEK_SECONDS", 0.05)
    monkeypatch.setattr(watched_module, "LOADING_SECONDS", 0.05)
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 0.05)


def settings(*upstreams: config.Upstream, **bridge: object) -> config.Config:
    raw = config.RawConfig(bridge=config.RawBridge(listen="127.0.0.1:0", **bridge))
    loaded = config.resolve(raw)
    return config.msgspec.structs.replace(loaded, upstreams=upstreams)


@asynccontextmanager
async def running(tmp_path, loaded):
    paths = config.Paths(tmp_path / "run", tmp_path / "state")
    with logs.unconfigured("bridge") as book:
        runtime = service.Runtime("bridge", loaded, paths, log_book=book)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                await nursery.start(service.serve, SPEC, runtime)
                yield runtime
                runtime.draining.set()


async def ask(runtime, **parameters) -> list[dict]:
    path = runtime.paths.varlink("bridge")
    async with varlink.stream(path, f"{BRIDGE}.Prompt", {"prompt": "hi", **parameters}) as replies:
        return [reply["message"] async for reply in replies]


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - real sockets: there is no event to wait for
            await trio.sleep(0.005)


async def get(runtime, method):
    return await varlink.call(runtime.paths.varlink("bridge"), f"io.geoos.Daemon.{method}")


def kinds(replies):
    return list(dict.fromkeys(reply["message_type"] for reply in replies))


def text(replies, session=None):
    return "".join(
        reply["payload"]["current_token"]
        for reply in replies
        if reply["message_type"] == "TokenVisualizationUpdate"
        and session in (None, reply["payload"]["session"])
    )


async def test_prompt_reaches_caller_and_compositor(tmp_path, upstream, nursery):
    compositor = FakeCompositor(tmp_path / "run" / "ingest.sock")
    await nursery.start(compositor.serve)
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        replies = await ask(runtime, system="be brief", parameters={"max_tokens": 32})
        assert kinds(replies) == [
            "SessionStarted",
            "SessionProgress",
            "TokenVisualizationUpdate",
            "NeuralStateUpdate",
            "SessionEnded",
        ]
        assert text(replies).startswith("Tell me a short story about a lighthouse.")
        assert replies[-1]["payload"]["error"] is None
        (path, body, _headers) = upstream.asked[0]
        assert path == "/v1/chat/completions"
        assert body["messages"][0] == {"role": "system", "content": "be brief"}
        assert (body["model"], body["max_tokens"], body["logprobs"]) == ("gemma", 32, True)
        await until(lambda: len(compositor.taken) == len(replies))
        assert [message.payload for message in compositor.taken] == [
            messages.decode(json.dumps(reply).encode(), 0.0).payload for reply in replies
        ]
        numbers = [message.n for message in compositor.taken]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert compositor.hellos[0].next == numbers[0]
        status = (await get(runtime, "GetStatus"))["status"]
        assert status["rates"]["tokens"] > 0
        assert status["requests"] == []
        assert {link["name"]: link["state"] for link in status["links"]} == {
            "compositor": "connected",
            "upstream fake": "connected",
        }
        assert (await get(runtime, "GetHealth"))["status"] == "healthy"
        metrics = (await get(runtime, "GetMetrics"))["text"]
        assert "sse_tokens_total 32.0" in metrics
        assert 'geoos_upstream_up{upstream="fake"} 1.0' in metrics
        who = 'gen_ai_operation_name="chat",gen_ai_request_model="gemma"'
        assert 'gen_ai_client_operation_duration_seconds_count{error_type="",' + who in metrics
        counted = replies[-1]["payload"]["usage"]["completion_tokens"]
        where = f'server_address="127.0.0.1",server_port="{upstream.port}"'
        assert f'gen_ai_token_type="output",{where}}} {counted}.0' in metrics
        timed = re.search(r"pipeline_latency_seconds_count (\d+)", metrics)
        assert int(timed[1]) > 0
        listed = await varlink.call(runtime.paths.varlink("bridge"), f"{BRIDGE}.ListModels")
        assert listed["models"] == [
            {
                "id": "gemma",
                "upstream": "fake",
                "upstream_url": upstream.url,
                "state": "ready",
                "circuit": "closed",
                "retry_in": None,
                "chat": True,
                "capabilities": {
                    "chat": True,
                    "completions": None,
                    "logprobs": True,
                    "token_ids": True,
                    "prompt_progress": True,
                    "usage": True,
                    "tokenize": None,
                    "tools": None,
                },
                "learnt": dict.fromkeys(
                    ["chat", "logprobs", "token_ids", "prompt_progress", "usage"], "answer"
                ),
            }
        ]


async def test_a_model_without_template_is_asked_for_plain_text(tmp_path, upstream):
    upstream.listing = (200, models("gemma", owner="llamacpp"))
    upstream.props = (200, PROPS)
    upstream.answer = COMPLETION
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        replies = await ask(runtime, system="S")
        assert text(replies).startswith(" a topic")
        path, body, _headers = upstream.asked[0]
        assert path == "/v1/completions"
        assert (body["prompt"], body["logprobs"]) == ("S\n\nhi", 5)
        assert body["return_progress"] is True
        await ask(runtime, model="no-such-model")  # it answers with the only one that it has
        path, body, _headers = upstream.asked[1]
        assert (path, body["model"], body["max_tokens"]) == (
            "/v1/completions",
            "no-such-model",
            256,
        )


async def test_retries_before_the_first_byte(tmp_path, upstream):
    upstream.script.extend([(503, b'{"error":{"message":"Loading model"}}'), (400, b"{}")])
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        replies = await ask(runtime)
        assert replies[-1]["payload"]["error"] is None
        assert ["logprobs" in body for _path, body, _headers in upstream.asked] == [
            True,
            True,
            False,
        ]


async def test_refusals_are_told(tmp_path, upstream):
    upstream.script.extend([(400, b'{"error":"no"}')] * 2)
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        replies = await ask(runtime)
        assert replies[-1]["payload"]["error"] == "the upstream answered 400: no"
        upstream.script.extend([(503, b'{"error":{"message":"Loading model"}}')] * 6)
        replies = await ask(runtime)
        assert replies[-1]["payload"]["error"] == "the upstream answered 503: Loading model"
        assert len(upstream.asked) == 2 + 6


async def test_several_models_one_failing(tmp_path, upstream, nursery):
    other = FakeUpstream(listing=(200, models("qwen")))
    other.script.append((500, b'{"error":{"message":"out of memory"}}'))
    await nursery.start(other.serve)
    loaded = settings(
        config.Upstream("one", upstream.url), config.Upstream("two", other.url, priority=1)
    )
    async with running(tmp_path, loaded) as runtime:
        replies = await ask(runtime, all=True)
        ends = [r["payload"] for r in replies if r["message_type"] == "SessionEnded"]
        assert sorted(str(end["error"]) for end in ends) == [
            "None",
            "the upstream answered 500: out of memory",
        ]
        assert replies[-1]["message_type"] == "SessionEnded"
        started = {
            r["payload"]["upstream"]: r["payload"]["session"]
            for r in replies
            if r["message_type"] == "SessionStarted"
        }
        assert text(replies, started["one"]).startswith("Tell me")
        replies = await ask(runtime, models=["gemma", "two/whatever"])
        assert {r["payload"]["session"] for r in replies} != set(started.values())
        assert [body["model"] for _path, body, _headers in other.asked] == ["qwen", "whatever"]


async def test_failover_only_where_nothing_was_sent(tmp_path, upstream, nursery, monkeypatch):
    monkeypatch.setattr(watched_module, "WATCH_SECONDS", 60.0)  # the request is to find out
    dying, life = FakeUpstream(), trio.CancelScope()

    async def live(task_status):
        with life:
            await dying.serve(task_status=task_status)

    await nursery.start(live)
    loaded = settings(
        config.Upstream("dead", dying.url), config.Upstream("fake", upstream.url, priority=1)
    )
    async with running(tmp_path, loaded) as runtime:
        assert "dead" in runtime.status_text
        life.cancel()
        await trio.testing.wait_all_tasks_blocked()
        replies = await ask(runtime, model="gemma")
        assert replies[-1]["payload"]["error"] is None
        assert (len(dying.asked), len(upstream.asked)) == (0, 1)
        await until_async(lambda: check_of(runtime, "upstream dead", "refuses connections"))
        checks = (await get(runtime, "GetHealth"))["checks"]
        found = {check["name"]: check for check in checks}
        assert found["upstream dead"]["status"] == "warning"
        assert "[[bridge.upstream]] dead" in found["upstream dead"]["remedy"]
        assert found["upstream"]["status"] == "healthy"
        metrics = (await get(runtime, "GetMetrics"))["text"]
        assert 'geoos_upstream_unanswered_total{upstream="dead"} 1.0' in metrics
        records, _position = runtime.logs.ring.newest(99, lambda record: True)
        (lost,) = [each for each in records if each.event == "upstream is down"]
        assert (lost.level, lost.upstream, lost.error) == ("warning", "dead", "refuses connections")


def _directory_of(runtime):
    handler = runtime.varlink._methods[f"{BRIDGE}.ListModels"][1]
    return handler.__self__._directory


async def test_no_upstream_has_a_remedy(tmp_path):
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    loaded = settings(config.Upstream("fake", f"http://127.0.0.1:{port}"))
    async with running(tmp_path, loaded) as runtime:
        with pytest.raises(VarlinkError, match="start a model server, or see: geoosctl health"):
            await ask(runtime)
        health = await get(runtime, "GetHealth")
        assert health["status"] == "warning"
        check = next(each for each in health["checks"] if each["name"] == "upstream")
        assert check["summary"] == "no upstream: fake refuses connections"
        assert check["remedy"] == "start it, or correct bridge.upstream; then: geoosctl models"
        assert (await get(runtime, "GetStatus"))["status"]["status"] == "no upstream"


async def test_loading_then_ready(tmp_path, upstream):
    upstream.listing = (503, b'{"error":{"message":"Loading model"}}')
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        check = (await get(runtime, "GetHealth"))["checks"]
        assert any(each["summary"] == "fake: model loading" for each in check)
        upstream.listing = (200, models("gemma"))
        await until(lambda: "default upstream fake" in runtime.status_text)


async def test_a_prompt_waits_for_the_engine_that_is_being_started(tmp_path, nursery):
    """``geoosd up`` says ready before the embedded model is put together."""
    late = FakeUpstream(port=await unused_port(), answer=COMPLETION, props=(200, PROPS))
    late.listing = (200, models("gemma", owner="llamacpp"))
    loaded = settings(config.Upstream("engine", late.url))
    listen = config.Address("127.0.0.1", late.port)
    loaded = config.msgspec.structs.replace(loaded, engine_listen=listen)
    async with running(tmp_path, loaded) as runtime, trio.open_nursery() as asking:
        with pytest.raises(VarlinkError, match="no upstream answers"):
            await ask(runtime)
        runtime.paths.varlink("engine").touch()
        await until_async(lambda: check_of(runtime, "upstream", "model loading"))
        replies = []

        async def wait():
            replies.extend(await ask(runtime))

        asking.start_soon(wait)
        await until_async(lambda: has_phase(runtime, "queued"))
        await nursery.start(late.serve)
        await until(lambda: replies)
        assert replies[-1]["payload"]["error"] is None
        assert [path for path, *_ in late.asked] == ["/v1/completions"]


async def test_an_engine_that_never_comes_up_is_down(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_module, "STARTING_SECONDS", 0.1)
    listen = config.Address("127.0.0.1", await unused_port())
    loaded = settings(config.Upstream("engine", f"http://{listen}"))
    loaded = config.msgspec.structs.replace(loaded, engine_listen=listen)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "engine.varlink").touch()
    async with running(tmp_path, loaded) as runtime:
        await until_async(lambda: check_of(runtime, "upstream", "no upstream"))


async def unused_port():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        return listener.socket.getsockname()[1]


async def until_async(condition):
    with trio.fail_after(10):
        while not await condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


async def check_of(runtime, name, text):
    checks = (await get(runtime, "GetHealth"))["checks"]
    return any(check["name"] == name and text in check["summary"] for check in checks)


async def has_phase(runtime, phase):
    requests = (await get(runtime, "GetStatus"))["status"]["requests"]
    return any(request["phase"] == phase for request in requests)


async def test_a_better_server_that_appears_becomes_the_default(tmp_path, upstream, monkeypatch):
    late = FakeUpstream(listing=(200, models("qwen")))
    probe = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    late.port = probe.socket.getsockname()[1]
    await probe.aclose()
    monkeypatch.setattr(
        config,
        "well_known",
        lambda engine: (
            config.Upstream("lmstudio", late.url, kind="lmstudio", priority=0),
            config.Upstream("engine", upstream.url, kind="llama.cpp", priority=3),
        ),
    )
    async with running(tmp_path, settings()) as runtime, trio.open_nursery() as nursery:
        details = (await get(runtime, "GetStatus"))["status"]["details"]
        ours = {"upstreams": "discovered", "default": "engine", "models": "gemma"}
        assert details.items() >= ours.items()
        await nursery.start(late.serve)
        await until(lambda: "default upstream lmstudio" in runtime.status_text)
        await ask(runtime)
        assert late.asked[0][1]["model"] == "qwen"
        nursery.cancel_scope.cancel()
    assert not upstream.asked


async def test_a_caller_that_goes_away_ends_the_work_upstream(tmp_path, upstream):
    upstream.hold = trio.Event()
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        path = runtime.paths.varlink("bridge")
        async with varlink.stream(path, f"{BRIDGE}.Prompt", {"prompt": "hi"}) as replies:
            async for reply in replies:
                if reply["message"]["message_type"] == "TokenVisualizationUpdate":
                    break
            row = (await get(runtime, "GetStatus"))["status"]["requests"][0]
            assert (row["phase"], row["upstream"]) == ("generating", "fake")
        bridge = _directory_of(runtime)
        await until(lambda: not bridge.turns("fake").statistics().running)
        assert (await get(runtime, "GetStatus"))["status"]["requests"] == []
        upstream.hold.set()


async def test_requests_wait_their_turn(tmp_path, upstream):
    upstream.hold = trio.Event()
    loaded = settings(config.Upstream("fake", upstream.url, max_concurrency=1))
    async with running(tmp_path, loaded) as runtime, trio.open_nursery() as nursery:
        answers = []

        async def one():
            answers.append(await ask(runtime))

        nursery.start_soon(one)
        await until(lambda: len(upstream.asked) == 1)
        nursery.start_soon(one)
        turns = _directory_of(runtime).turns("fake")
        await until(lambda: turns.statistics().waiting == 1)
        status = (await get(runtime, "GetStatus"))["status"]
        queue = next(each for each in status["queues"] if each["name"] == "prompts fake")
        assert (queue["depth"], queue["policy"]) == (1, "refuse")
        rows = status["requests"]
        assert sorted(row["phase"] for row in rows) == ["generating", "queued"]
        upstream.hold.set()
        await until(lambda: len(answers) == 2)
        assert answers[1][1]["payload"] == {
            "session": answers[1][0]["payload"]["session"],
            "phase": "queued",
            "position": 0,
            "processed": None,
            "total": None,
            "upstream": None,
        }


async def test_the_compositor_comes_late_and_restarts(tmp_path, upstream, nursery):
    compositor = FakeCompositor(tmp_path / "run" / "ingest.sock", acknowledge=False)
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        replies = await ask(runtime)
        checks = (await get(runtime, "GetHealth"))["checks"]
        check = next(each for each in checks if each["name"] == "compositor")
        assert check["status"] == "warning"
        await nursery.start(compositor.serve)
        await until(lambda: len(compositor.taken) == len(replies))
        first = [message.n for message in compositor.taken]
        await compositor.say(Ack(first[4]))
        await compositor.say(Demand(frames=True))
        await compositor.say(Error("invalid", "payload.x", "cannot take that"))
        await compositor.stream.aclose()
        compositor.taken.clear()
        compositor.acknowledge = True
        await until(lambda: len(compositor.taken) == len(replies) - 5)
        assert [message.n for message in compositor.taken] == first[5:]
        queue = (await get(runtime, "GetStatus"))["status"]["queues"][0]
        await until(lambda: len(compositor.hellos) == 2)
        assert queue["capacity"] == 20_000


async def test_an_outbox_too_small_is_a_warning(tmp_path, upstream):
    loaded = settings(config.Upstream("fake", upstream.url), outbox=10)
    async with running(tmp_path, loaded) as runtime:
        await ask(runtime)
        checks = (await get(runtime, "GetHealth"))["checks"]
        check = next(each for each in checks if each["name"] == "outbox")
        assert check["status"] == "warning"
        assert "given up" in check["summary"]


async def test_reload(tmp_path, upstream, nursery, monkeypatch):
    other = FakeUpstream(listing=(200, models("qwen")))
    await nursery.start(other.serve)
    first = settings(config.Upstream("fake", upstream.url), config.Upstream("gone", upstream.url))
    paths = config.Paths(tmp_path / "run", tmp_path / "state")
    with logs.unconfigured("bridge") as book:
        runtime = service.Runtime("bridge", first, paths, log_book=book)
        second = settings(config.Upstream("fake", upstream.url), config.Upstream("new", other.url))
        given = [second]
        async with trio.open_nursery() as inner:
            await inner.start(
                lambda task_status: service.serve(
                    SPEC, runtime, reload_config=lambda: given[0], task_status=task_status
                )
            )
            kept = _directory_of(runtime).client("fake")
            await runtime.reload()
            assert _directory_of(runtime).client("fake") is kept
            await until(lambda: _directory_of(runtime).router.get("new").state == "ready")
            assert [row.id for row in _directory_of(runtime).router.rows()] == ["fake", "new"]
            given[0] = config.msgspec.structs.replace(
                second, bridge_listen=config.Address("127.0.0.1", 1)
            )
            with pytest.raises(ConfigError, match=r"cannot move bridge\.listen"):
                await runtime.reload()
            given[0] = settings(config.Upstream("x", other.url, api_key_credential="key"))
            monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
            with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set"):
                await runtime.reload()
            (tmp_path / "key").write_text("sesame\n")
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
            await runtime.reload()
            await until(lambda: _directory_of(runtime).router.get("x").state == "ready")
            await ask(runtime)
            assert other.asked[-1][2][b"authorization"] == b"Bearer sesame"
            runtime.draining.set()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"prompt": ""}, "prompt"),
        ({"model": "a", "all": True}, "one of model, models and all"),
        ({"models": []}, "models is empty"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_bad_prompts_name_the_field(tmp_path, upstream, parameters, reason):
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        with pytest.raises(VarlinkError, match=reason):
            await ask(runtime, **parameters)


async def test_what_no_upstream_has(tmp_path, upstream):
    upstream.listing = (503, b"{}")
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        with pytest.raises(VarlinkError, match="the model is loading"):
            await ask(runtime, all=True)
        runtime.draining.set()
        with pytest.raises(VarlinkError):
            await ask(runtime)


async def test_a_plan_with_a_model_that_is_nowhere(tmp_path, upstream):
    loaded = settings(
        config.Upstream("fake", upstream.url), config.Upstream("down", "http://127.0.0.1:9")
    )
    async with running(tmp_path, loaded) as runtime:
        replies = await ask(runtime, models=["down/x", "gemma"])
        ends = [r["payload"]["error"] for r in replies if r["message_type"] == "SessionEnded"]
        assert sorted(map(str, ends)) == ["None", "no upstream answers for this model"]


async def test_prompt_needs_more(tmp_path, upstream):
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        with pytest.raises(VarlinkError) as caught:
            await varlink.call(
                runtime.paths.varlink("bridge"), f"{BRIDGE}.Prompt", {"prompt": "hi"}
            )
        assert caught.value.error == "org.varlink.service.ExpectedMore"


async def test_a_proxied_request_is_seen(tmp_path, upstream, nursery):
    compositor = FakeCompositor(tmp_path / "run" / "ingest.sock")
    await nursery.start(compositor.serve)
    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        address = (await get(runtime, "GetStatus"))["status"]["addresses"][0]
        async with httpx.AsyncClient(trust_env=False) as client:
            body = {"model": "gemma", "stream": True, "messages": []}
            answer = await client.post(f"{address}/v1/chat/completions", json=body)
        assert answer.content == STREAM
        assert answer.headers["x-geoos-upstream"] == "fake"
        session = answer.headers["x-geoos-session"]
        await until(
            lambda: any(isinstance(m.payload, messages.SessionEnded) for m in compositor.taken)
        )
        assert {message.payload.session for message in compositor.taken} == {session}
        records, _position = runtime.logs.ring.newest(999, lambda record: True)
        assert any(record.session == session for record in records)
        assert not any("lighthouse" in str(record) for record in records)


async def test_a_bug_while_a_session_ends_does_not_hold_up_the_stop(
    tmp_path, upstream, monkeypatch
):
    """Nobody tells that such a request is over: its tap has forgotten it."""
    upstream.hold = trio.Event()

    def bug(*_):
        raise ZeroDivisionError

    async with running(tmp_path, settings(config.Upstream("fake", upstream.url))) as runtime:
        address = (await get(runtime, "GetStatus"))["status"]["addresses"][0]
        body = {"model": "gemma", "stream": True, "messages": []}
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("POST", f"{address}/v1/chat/completions", json=body) as answer,
        ):
            monkeypatch.setattr(Bridge, "_ended", bug)
            runtime.draining.set()
            upstream.hold.set()
            assert await answer.aread() == STREAM
    records, _position = runtime.logs.ring.newest(999, lambda record: True)
    said = [record.event for record in records]
    assert "bug" in said
    assert "drain deadline passed" not in said
