"""The bridge records, shows, replays, rates and forgets sessions; the disk may refuse them."""

import json
import sqlite3

import msgspec
import pytest
import trio
from scripted_upstream import ask as ask_http
from test_bridge_service import FakeCompositor, FakeUpstream, ask, running, settings, until

from geoosd import config
from geoosd.bridge.adapters import recorder as recorder_module
from geoosd.bridge.adapters.store_schema import VERSION
from geoosd.errors import ConfigError, VarlinkError
from geoosd.runtime import varlink
from geoosd.wire.messages import SessionEnded, SessionStarted, TokenVisualizationUpdate

BRIDGE = "io.geoos.Bridge"


@pytest.fixture
async def upstream(nursery):
    fake = FakeUpstream()
    await nursery.start(fake.serve)
    return fake


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(recorder_module, "TICK_SECONDS", 0.01)


async def call(runtime, method, **parameters):
    path = runtime.paths.varlink("bridge")
    return await varlink.call(path, f"{BRIDGE}.{method}", parameters)


def server(upstream):
    return config.Upstream("fake", upstream.url)


async def one_session(runtime):
    """Ask once; the session's id and its text."""
    with trio.fail_after(10):
        while True:
            try:
                messages = await ask(runtime)
                break
            except VarlinkError:
                await trio.sleep(0.02)
    tokens = [m["payload"] for m in messages if m["message_type"] == "TokenVisualizationUpdate"]
    return messages[0]["payload"]["session"], "".join(token["current_token"] for token in tokens)


async def listed(runtime):
    return [each["id"] for each in (await call(runtime, "ListSessions"))["sessions"]]


async def finding(runtime):
    health = await varlink.call(runtime.paths.varlink("bridge"), "io.geoos.Daemon.GetHealth")
    return next(check for check in health["checks"] if check["name"] == "recording")


async def test_metadata_is_recorded_and_no_text(tmp_path, upstream):
    async with running(tmp_path, settings(server(upstream))) as runtime:
        session, text = await one_session(runtime)
        (found,) = (await call(runtime, "ListSessions"))["sessions"]
        assert (found["id"], found["state"], found["path"]) == (session, "ended", "Prompt")
        assert found["upstream"] == "fake"
        assert found["tokens"] > 3
        assert found["finish_reason"]
        assert found["provenance"]["activation"] == "measured"
        part = await call(runtime, "GetSession", session=session)
        assert (part["messages"], part["prompt"]) == ([], None)
        with pytest.raises(VarlinkError, match='record = "full"'):
            await call(runtime, "ReplaySession", session=session)
        status = await varlink.call(runtime.paths.varlink("bridge"), "io.geoos.Daemon.GetStatus")
        queues = {queue["name"]: queue for queue in status["status"]["queues"]}
        assert queues["recording"]["policy"] == "refuse"
    data = b"".join(each.read_bytes() for each in (tmp_path / "state").rglob("*.db*"))
    words = [word for word in text.split() if len(word) > 4]
    assert words
    assert [word for word in words if word.encode() in data] == []


CHAT = {
    "model": "gemma",
    "stream": True,
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": [{"type": "text", "text": "say a"}, {"type": "image_url"}]},
    ],
}


async def proxied(runtime, body):
    """Ask through the proxy; the session's id."""
    status = await varlink.call(runtime.paths.varlink("bridge"), "io.geoos.Daemon.GetStatus")
    port = int(status["status"]["addresses"][0].rpartition(":")[2])
    answer = await ask_http(port, "POST", "/v1/chat/completions", body=json.dumps(body).encode())
    assert answer.status == 200
    return answer.get(b"x-geoos-session").decode()


@pytest.mark.parametrize("record", ["full", "metadata"])
async def test_what_was_asked_through_the_proxy(tmp_path, upstream, record):
    async with running(tmp_path, settings(server(upstream), record=record)) as runtime:
        session = await proxied(runtime, CHAT)
        long = await proxied(runtime, {**CHAT, "user": "x" * (1 << 18)})
        part = await call(runtime, "GetSession", session=session)
        said = (part["prompt"], part["system"], part["turns"])
        before = [{"role": "user", "text": "hello"}, {"role": "assistant", "text": "yes?"}]
        asked = ("say a\n[image_url]", "be brief", before)
        assert said == (asked if record == "full" else (None, None, []))
        part = await call(runtime, "GetSession", session=long)
        assert (part["prompt"], part["turns"]) == (None, [])
        assert bool(part["messages"]) is (record == "full")
    assert [body["messages"] for _, body, _ in upstream.asked] == [CHAT["messages"]] * 2


async def test_a_replay_is_the_recording_and_says_so(tmp_path, upstream, nursery):
    compositor = FakeCompositor(tmp_path / "run" / "ingest.sock")
    await nursery.start(compositor.serve)
    async with running(tmp_path, settings(server(upstream), record="full")) as runtime:
        session, text = await one_session(runtime)
        part = await call(runtime, "GetSession", session=session)
        assert part["prompt"] == "hi"
        path = runtime.paths.varlink("bridge")
        asked = {"session": session, "speed": 1000.0}
        async with varlink.stream(path, f"{BRIDGE}.ReplaySession", asked) as replies:
            told = [reply async for reply in replies]
        replay = told[0]["session"]
        await until(
            lambda: any(
                isinstance(m.payload, SessionEnded) and m.payload.session == replay
                for m in compositor.taken
            )
        )
        # not recorded itself
        assert len((await call(runtime, "ListSessions"))["sessions"]) == 1
    mine = [m.payload for m in compositor.taken if getattr(m.payload, "session", "") == replay]
    assert mine[0] == SessionStarted(replay, "gemma-3-270m", "fake", 1, replay_of=session)
    tokens = [payload for payload in mine if isinstance(payload, TokenVisualizationUpdate)]
    assert "".join(token.current_token for token in tokens) == text
    original = [
        msgspec.structs.replace(m.payload, session=replay)
        for m in compositor.taken
        if isinstance(m.payload, TokenVisualizationUpdate) and m.payload.session == session
    ]
    assert tokens == original
    assert [reply["message"]["message_type"] for reply in told] == [
        type(payload).__name__ for payload in mine
    ]


async def test_a_replay_runs_by_itself_and_can_be_stopped(tmp_path, upstream, nursery):
    compositor = FakeCompositor(tmp_path / "run" / "ingest.sock")
    await nursery.start(compositor.serve)
    upstream.hold = trio.Event()
    async with running(tmp_path, settings(server(upstream), record="full")) as runtime:
        async with trio.open_nursery() as asking:
            asking.start_soon(one_session, runtime)
            await until(lambda: upstream.asked)
            await trio.sleep(0.2)  # so that the recording is long enough to be stopped in
            upstream.hold.set()
        (found,) = (await call(runtime, "ListSessions"))["sessions"]
        replay = (await call(runtime, "ReplaySession", session=found["id"], speed=0.001))["session"]
        status = await varlink.call(runtime.paths.varlink("bridge"), "io.geoos.Daemon.GetStatus")
        assert status["status"]["details"]["replays"] == "1"
        await call(runtime, "StopReplay", session=replay)
        with pytest.raises(VarlinkError, match="no replay"):
            await call(runtime, "StopReplay", session="none")
        second = (await call(runtime, "ReplaySession", session=found["id"], speed=0.001))["session"]
    ends = {
        m.payload.session: m.payload for m in compositor.taken if type(m.payload) is SessionEnded
    }
    assert ends[replay].error == "the replay was stopped"
    assert ends[second].error == "the replay was stopped"  # draining does not wait for it


async def test_feedback_and_deletion(tmp_path, upstream):
    async with running(tmp_path, settings(server(upstream))) as runtime:
        session, _ = await one_session(runtime)
        given = await call(runtime, "AddFeedback", session=session, rating=5, comment="fine")
        assert given["feedback"]["rating"] == 5
        listed = await call(runtime, "ListFeedback", session=session)
        assert listed["feedback"] == [given["feedback"]]
        assert listed["models"][0]["count"] == 1
        for wrong in ({"rating": 6}, {"rating": 1, "first": 3, "last": 2}):
            with pytest.raises(VarlinkError) as refused:
                await call(runtime, "AddFeedback", session=session, **wrong)
            assert refused.value.error == "io.geoos.InvalidArgument"
        with pytest.raises(VarlinkError, match="not recorded"):
            await call(runtime, "AddFeedback", session="none", rating=1)
        await call(runtime, "DeleteSession", session=session)
        for method in ("GetSession", "DeleteSession"):
            with pytest.raises(VarlinkError, match="cannot find"):
                await call(runtime, method, session=session)
        assert (await call(runtime, "ListFeedback"))["feedback"] == []


async def test_less_is_kept_as_soon_as_a_reload_says_so(tmp_path, upstream):
    loaded = settings(server(upstream), record="full")
    async with running(tmp_path, loaded) as runtime:
        session, _ = await one_session(runtime)
        assert (await call(runtime, "GetSession", session=session))["messages"]
        less = msgspec.structs.replace(loaded.bridge, record="metadata")
        runtime.config = msgspec.structs.replace(loaded, bridge=less)
        await runtime.reload()
        part = await call(runtime, "GetSession", session=session)
        assert (part["messages"], part["prompt"]) == ([], None)
        assert part["session"]["record"] == "metadata"


async def test_off_makes_no_file(tmp_path, upstream):
    async with running(tmp_path, settings(server(upstream), record="off")) as runtime:
        await one_session(runtime)
        assert await call(runtime, "ListSessions") == {"sessions": [], "next": None}
        assert (await finding(runtime))["status"] == "healthy"
    assert list((tmp_path / "state").rglob("*.db")) == []


async def test_a_full_disk_stops_the_recording_alone(tmp_path, upstream, monkeypatch):
    """SQLITE_FULL is what ENOSPC becomes; the system test has a file system that is full."""
    full = True
    real = recorder_module.store_sessions.write

    def write(store, batch):
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count={pages if full else 1 << 30}")
        real(store, batch)

    monkeypatch.setattr(recorder_module.store_sessions, "write", write)
    async with running(tmp_path, settings(server(upstream), record="full")) as runtime:
        session, text = await one_session(runtime)
        assert text
        with trio.fail_after(10):
            while (await finding(runtime))["status"] != "warning":
                await one_session(runtime)
        found = await finding(runtime)
        assert "full" in found["summary"]
        assert str(tmp_path / "state") in found["remedy"]
        full = False
        with trio.fail_after(10):
            while "cannot record" in (await finding(runtime))["summary"]:  # noqa: ASYNC110
                await trio.sleep(0.02)
        sessions = (await call(runtime, "ListSessions"))["sessions"]
        assert session in [each["id"] for each in sessions]  # its line, if not its messages
        assert all(each["state"] == "ended" for each in sessions)
        events = [record.event for record in runtime.logs.ring.newest(100, lambda _: True)[0]]
        assert events.count("cannot record") == 1
        assert "recording goes on" in events


async def test_a_broken_file_is_set_aside(tmp_path, upstream):
    state = tmp_path / "state" / "bridge"
    state.mkdir(parents=True)
    (state / "sessions.db").write_bytes(b"no database at all" * 100)
    async with running(tmp_path, settings(server(upstream))) as runtime:
        found = await finding(runtime)
        assert (found["status"], "set aside" in found["summary"]) == ("warning", True)
        await one_session(runtime)
        assert len((await call(runtime, "ListSessions"))["sessions"]) == 1
    assert (state / "sessions.db.unreadable").read_bytes().startswith(b"no database")


@pytest.mark.parametrize("how", ["database", "all"])
async def test_a_file_that_was_removed_is_begun_anew(tmp_path, upstream, how):
    """SQLite would go on with the file that has no name, and all of it would be lost at the end."""
    state = tmp_path / "state" / "bridge"
    async with running(tmp_path, settings(server(upstream), record="full")) as runtime:
        first, _ = await one_session(runtime)
        assert await listed(runtime) == [first]
        for path in list(state.glob("sessions.db*" if how == "all" else "sessions.db")):
            path.unlink()
        assert await listed(runtime) == []
        second, _ = await one_session(runtime)
        await until(lambda: (state / "sessions.db").exists())
        assert await listed(runtime) == [second]
        assert (await finding(runtime))["status"] == "healthy"
        (state / "sessions.db").unlink()
        with trio.fail_after(10):
            while not (state / "sessions.db").exists():
                await one_session(runtime)  # the one that notices is lost, if it ended before that
        last, _ = await one_session(runtime)
        assert (await listed(runtime))[0] == last
    async with running(tmp_path, settings(server(upstream), record="full")) as runtime:
        assert (await listed(runtime))[0] == last
    assert not list(state.glob("*unreadable*"))


async def test_a_newer_file_refuses_the_start(tmp_path, upstream):
    async with running(tmp_path, settings(server(upstream))) as runtime:
        await one_session(runtime)
    path = tmp_path / "state" / "bridge" / "sessions.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(BaseExceptionGroup) as refused:
        async with running(tmp_path, settings(server(upstream))):
            pass
    assert refused.group_contains(ConfigError, match="written by a newer geoos")
    assert path.read_bytes() == before


async def test_what_was_recorded_survives_a_restart(tmp_path, upstream):
    async with running(tmp_path, settings(server(upstream), record="full")) as runtime:
        session, _ = await one_session(runtime)
    assert not (tmp_path / "state" / "bridge" / "sessions.db-wal").exists()
    async with running(tmp_path, settings(server(upstream), record="full")) as runtime:
        part = await call(runtime, "GetSession", session=session)
        assert json.dumps(part["messages"])
        assert part["session"]["messages"] == len(part["messages"]) > 3
