"""The whole compositor in process: ingest to feed, places over restarts, bad input, pictures."""

import base64
import io
import math
import os
import struct

import msgspec
import numpy as np
import pytest
import trio
import trio.testing
from PIL import Image

from geoosd import config
from geoosd.compositor.adapters.feed import SocketFeed
from geoosd.compositor.adapters.ingest import PATIENCE, TICK, Ingest
from geoosd.compositor.adapters.keeper import Keeper
from geoosd.compositor.adapters.snapshot import StateFiles
from geoosd.compositor.adapters.themes import Themes
from geoosd.compositor.core.field import key_of
from geoosd.compositor.core.scene import MEMORY_DECAY, Scene
from geoosd.compositor.core.views import VIEWS
from geoosd.compositor.service import SPEC
from geoosd.errors import VarlinkError
from geoosd.runtime import logs, service, varlink
from geoosd.wire import framing
from geoosd.wire.messages import (
    Ack,
    After,
    Canary,
    Demand,
    Error,
    FeedRequest,
    Gap,
    Hello,
    NeuralData,
    NeuralStateUpdate,
    ProducerHello,
    SessionEnded,
    SessionStarted,
    Snapshot,
    SnapshotRequest,
    ThemeChanged,
    TokenVisualizationUpdate,
    decode,
    encode,
)
from geoosd.wire.varlink import INVALID_ARGUMENT, NOT_FOUND


class Peer:
    """A producer or a feed consumer."""

    def __init__(self, stream, *, feed):
        self.stream = stream
        self.feed = feed
        self.decoder = framing.FrameDecoder(framing.MAX_FEED_FRAME)
        self.waiting = []

    async def raw(self, data):
        await self.stream.send_all(struct.pack("<I", len(data)) + data)

    async def say(self, payload, *, n=None):
        data = encode(payload, 1.0, n=n)
        await self.raw(b"\0" + data if self.feed else data)

    async def hear(self):
        with trio.fail_after(10):
            while not self.waiting:
                chunk = await self.stream.receive_some()
                if not chunk:
                    raise EOFError
                self.waiting += self.decoder.receive(chunk)
        frame = self.waiting.pop(0)
        return decode(frame[1:] if self.feed else frame, 0.0)

    async def expect(self, kind):
        message = await self.hear()
        assert type(message.payload) is kind, message
        return message.payload


class World:
    """Starts compositors, one after the other, over the same directories."""

    def __init__(self, tmp_path, nursery):
        self.paths = config.Paths(tmp_path / "run", tmp_path / "state")
        self.nursery = nursery
        self.stopped = trio.Event()
        self.peers = []

    async def start(self, *overrides):
        loaded = config.load(None, ["compositor.backend=numpy", *overrides])
        self.book = logs.unconfigured("compositor")
        runtime = self.runtime = service.Runtime(
            "compositor", loaded, self.paths, log_book=self.book.__enter__()
        )
        stopped = self.stopped = trio.Event()

        async def life(task_status):
            await service.serve(SPEC, runtime, task_status=task_status)
            stopped.set()

        await self.nursery.start(life)

    async def stop(self):
        self.runtime.draining.set()
        with trio.fail_after(10):
            await self.stopped.wait()
        self.book.__exit__(None, None, None)

    async def connect(self, name):
        stream = await trio.open_unix_socket(str(self.paths.socket(name)))
        self.peers.append(Peer(stream, feed=name == "feed.sock"))
        return self.peers[-1]

    async def consumer(self, wanted="oldest"):
        peer = await self.connect("feed.sock")
        await peer.say(FeedRequest(wanted))
        return peer, await peer.expect(Hello)

    async def call(self, method, parameters=None):
        path = self.paths.varlink("compositor")
        return await varlink.call(path, method, parameters, timeout=10)


@pytest.fixture
async def world(tmp_path, nursery):
    made = World(tmp_path, nursery)
    yield made
    for peer in made.peers:
        await peer.stream.aclose()
    if not made.stopped.is_set():
        await made.stop()


def token(text="a", position=0, **fields):
    return TokenVisualizationUpdate(text, position, **{"model": "m", "token_id": 7} | fields)


async def test_a_message_is_placed_numbered_and_acknowledged(world):
    await world.start()
    consumer, hello = await world.consumer()
    assert (hello.seq, hello.oldest, hello.theme.name) == (0, 1, "aurora")
    producer = await world.connect("ingest.sock")
    await producer.say(ProducerHello("bridge", 5))
    await producer.say(SessionStarted("s", "m"), n=5)
    await producer.say(token(session="s", activation=0.5), n=6)
    while (ack := await producer.expect(Ack)).through < 6:
        assert ack.through in (4, 5)
    started, seen = await consumer.hear(), await consumer.hear()
    assert (started.seq, seen.seq, seen.timestamp) == (1, 2, 1.0)
    assert seen.payload.district == 1
    assert seen.payload.cell == 7
    assert seen.payload.hilbert_position == (1.5 / 1024, 2.5 / 1024)
    assert seen.payload.provenance == {"hilbert_position": "derived"}
    status = (await world.call("io.geoos.Daemon.GetStatus"))["status"]
    assert status["details"]["producers"] == "bridge"
    assert status["rates"]["tokens"] > 0
    assert [queue["name"] for queue in status["queues"]] == [
        "feed ring",
        "feed consumer 1",
        "pictures",
    ]
    health = await world.call("io.geoos.Daemon.GetHealth")
    assert health["status"] == "healthy"
    metrics = (await world.call("io.geoos.Daemon.GetMetrics"))["text"]
    assert 'geoos_compositor_messages_total{type="SessionStarted"} 1.0' in metrics


async def test_repeats_are_dropped_and_what_is_re_sent_after_a_restart_is_taken(world):
    await world.start()
    first = await world.connect("ingest.sock")
    await first.say(ProducerHello("bridge", 1))
    for n in (1, 2):
        await first.say(token(position=n), n=n)
    while (await first.expect(Ack)).through < 2:
        pass
    again = await world.connect("ingest.sock")
    await again.say(ProducerHello("bridge", 2))
    for n in (2, 3):
        await again.say(token(position=n), n=n)
    while (await again.expect(Ack)).through < 3:
        pass
    consumer, _ = await world.consumer()
    heard = [(await consumer.hear()).payload.sequence_position for _ in range(3)]
    assert heard == [1, 2, 3]
    await world.stop()
    await world.start()
    later = await world.connect("ingest.sock")
    await later.say(ProducerHello("bridge", 3))
    await later.say(token(position=3), n=3)
    while (await later.expect(Ack)).through < 3:
        pass
    consumer, hello = await world.consumer()
    assert hello.seq == 1


async def test_sessions_of_a_dead_producer_are_ended_in_its_stead(autojump_clock, nursery):
    taken = []

    async def take(batch):
        taken.extend(message.payload for message in batch)
        return []

    ingest = Ingest(take, now=lambda: 1.0)

    async def producer(name, *payloads):
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(ingest.serve, theirs)
        peer = Peer(ours, feed=False)
        await peer.say(ProducerHello(name, 1))
        for payload in payloads:
            await peer.say(payload)
        await trio.testing.wait_all_tasks_blocked()
        return ours

    first = await producer(
        "bridge-1", SessionStarted("done"), SessionEnded("done"), SessionStarted("open")
    )
    quiet = await producer("watchdog")
    await first.aclose()
    await quiet.aclose()
    await trio.sleep(PATIENCE / 2)
    again = await producer("bridge-1")  # back in time: nothing is ended
    await trio.sleep(PATIENCE * 2)
    await again.aclose()
    await producer("bridge-2")  # its next life has another name
    await trio.sleep(PATIENCE * 0.9)
    assert len(taken) == 3
    await trio.sleep(PATIENCE * 0.2)
    assert taken[3:] == [SessionEnded("open", error="bridge-1 went away before the answer ended")]
    assert ingest.unfinished.of("bridge-1") == []
    nursery.cancel_scope.cancel()


async def test_a_connection_is_one_producer_s(world):
    await world.start()
    producer = await world.connect("ingest.sock")
    for name in ("one", "another", "one"):
        await producer.say(ProducerHello(name, 1))
    heard = [(await producer.hear()).payload for _ in range(2)]
    (error,) = [each for each in heard if isinstance(each, Error)]
    assert error.field == "payload.producer"
    assert "this connection is one's" in error.message
    status = await world.call("io.geoos.Daemon.GetStatus")
    assert status["status"]["details"]["producers"] == "one"


async def test_what_counts_as_taken_is_taken_though_the_connection_breaks(autojump_clock, nursery):
    """It breaks while a batch waits for the disk; sent again, the message would be a repeat."""
    taken, disk = [], trio.Event()

    async def take(batch):
        await disk.wait()
        taken.extend(message.payload.current_token for message in batch)
        return []

    ingest = Ingest(take, now=lambda: 1.0)

    async def producer():
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(ingest.serve, theirs)
        peer = Peer(ours, feed=False)
        await peer.say(ProducerHello("p", 1))
        await peer.raw(b"{nonsense")
        await peer.say(token("once"), n=1)
        return peer

    first = await producer()
    await trio.sleep(TICK / 2)
    await first.stream.aclose()
    await trio.sleep(TICK * 2)  # the answer to the nonsense finds nobody, which ends the connection
    disk.set()
    again = await producer()
    while not isinstance((await again.hear()).payload, Ack):
        pass
    assert taken == ["once"]
    nursery.cancel_scope.cancel()


async def place_some(world):
    producer = await world.connect("ingest.sock")
    consumer, _ = await world.consumer()
    tokens = [
        token(model="second"),
        token(model="first"),
        token("héllo", model="first", token_id=None),
        token(model="first", token_id=1 << 40),
        token(model=None, token_id=None, hilbert_position=(0.25, 1.0)),
    ]
    places = []
    for each in tokens:
        await producer.say(each)
        placed = (await consumer.hear()).payload
        places.append((placed.district, placed.cell, placed.hilbert_position, placed.provenance))
    return places


async def test_what_a_full_disk_refused_is_saved_when_there_is_room(world):
    """Also when nothing new comes; and clearing the scene away does not pass for success."""
    await world.start("compositor.snapshot_interval=0.02")
    state = world.runtime.state_dir
    blocked = state / ".places.json.new"
    blocked.mkdir()
    producer = await world.connect("ingest.sock")
    await producer.say(token())
    consumer, _ = await world.consumer()
    await consumer.hear()
    for _ in range(5):
        await trio.sleep(0.02)
        health = await world.call("io.geoos.Daemon.GetHealth")
        assert health["status"] == "critical"
    (worst, *_) = health["checks"]
    assert "cannot save the map" in worst["summary"]
    assert worst["remedy"] == f"df -h {state}; ls -ld {state}"
    blocked.rmdir()
    with trio.fail_after(10):
        while True:
            health = await world.call("io.geoos.Daemon.GetHealth")
            if health["status"] == "healthy":
                break
            await trio.sleep(0.01)
    assert (state / "places.json").exists()


async def test_a_scene_that_cannot_be_saved_is_told_apart(world):
    await world.start("bridge.record=full", "compositor.snapshot_interval=0.02")
    (world.runtime.state_dir / ".scene.npz.new").mkdir()
    await place_some(world)
    with trio.fail_after(10):
        while True:
            health = await world.call("io.geoos.Daemon.GetHealth")
            if health["status"] == "critical":
                break
            await trio.sleep(0.01)
    assert "cannot save the scene" in health["checks"][0]["summary"]
    assert (world.runtime.state_dir / "places.json").exists()


async def test_the_same_token_has_the_same_place_after_a_restart(world):
    await world.start()
    before = await place_some(world)
    assert [place[0] for place in before] == [1, 2, 3, 2, 0]
    assert [place[3]["hilbert_position"] for place in before] == [
        "derived",
        "derived",
        "assumed",
        "assumed",
        "measured",
    ]
    # On disk before anybody saw it: the copy is what kill -9 would have left.
    kept = (world.runtime.state_dir / "places.json").read_bytes()
    await world.stop()
    (world.runtime.state_dir / "places.json").write_bytes(kept)
    await world.start()
    producer = await world.connect("ingest.sock")
    await producer.say(token(model="newcomer"))
    consumer, _ = await world.consumer()
    assert (await consumer.hear()).payload.district == 4
    assert await place_some(world) != before  # the consumer reads the newcomer first
    await world.stop()
    await world.start()
    assert await place_some(world) == before


async def left_state(world):
    """The directory of a compositor that placed some tokens, keeps them, and has stopped."""
    await world.start("bridge.record=full")
    await place_some(world)
    await world.stop()
    return world.runtime.state_dir


async def test_no_token_is_on_disk_unless_record_is_full(world):
    state = await left_state(world)
    assert (state / "scene.npz").exists()
    await world.start("bridge.record=full")
    consumer, _ = await world.consumer()
    await consumer.say(SnapshotRequest())
    assert len((await consumer.expect(Snapshot)).tokens) == 5
    await world.stop()
    # What a kill in mid-write and a torn file leave behind is text too.
    (state / ".scene.npz.new").write_bytes(b"tokens")
    (state / "scene.npz.unreadable").write_bytes(b"tokens")
    await world.start("bridge.record=metadata")
    assert not (state / "scene.npz").exists()
    await place_some(world)
    await world.stop()
    assert [path.name for path in state.iterdir()] == ["places.json"]
    assert "cell" not in (state / "places.json").read_text()


async def test_torn_state_is_set_aside_with_a_warning(world):
    state = await left_state(world)
    (state / "themes").mkdir()
    (state / "themes" / "mine.json").write_bytes(b'{"name": "mine", "title": "Mi')
    for name in ("places.json", "scene.npz"):
        path = state / name
        path.write_bytes(path.read_bytes()[:40])
    await world.start("bridge.record=full")
    health = await world.call("io.geoos.Daemon.GetHealth")
    assert health["status"] == "warning"
    assert (state / "places.json.unreadable").exists()
    assert (state / "scene.npz.unreadable").exists()
    assert (state / "themes" / "mine.json.unreadable").exists()
    records, _ = world.runtime.logs.ring.newest(10, lambda each: each.level == "warning")
    assert len(records) == 3


async def test_the_memory_of_places_that_are_lost_is_not_shown_in_others(world):
    state = await left_state(world)
    (state / "places.json").unlink()
    await world.start("bridge.record=full")
    consumer, _ = await world.consumer()
    await consumer.say(SnapshotRequest())
    snapshot = await consumer.expect(Snapshot)
    assert (snapshot.cells, snapshot.tokens, snapshot.districts) == ("", [], [])
    assert (state / "scene.npz.unreadable").exists()
    assert (await world.call("io.geoos.Daemon.GetHealth"))["status"] == "warning"


BAD = [
    (b"{nonsense", "malformed", None),
    (b"\xff\xfe", "malformed", None),
    (b"[1]", "invalid", None),
    (b'{"message_type":"Telepathy","payload":{}}', "unknown_type", "message_type"),
    (b'{"message_type":"Subscribe","payload":{}}', "invalid", "message_type"),
    (encode(token(), 1.0).replace(b'"current_token":"a"', b'"current_token":3'), "invalid",
     "payload.current_token"),
    (encode(token(), 1.0).replace(b'"sequence_position":0', b'"sequence_position":-1'), "invalid",
     "payload.sequence_position"),
    (encode(token(), 1.0).replace(b'"activation":null', b'"activation":1.5'), "invalid",
     "payload.activation"),
    (encode(token(), 1.0).replace(b'"entropy":null', b'"entropy":1e999'), "invalid",
     "payload.entropy"),
    (encode(token(), 1.0).replace(b'"entropy":null', b'"entropy":NaN'), "malformed", None),
    (encode(token("x" * 5000), 1.0), "invalid", "payload.current_token"),
    (encode(NeuralStateUpdate("d" * 20), 1.0) + b" " * 17_000, "invalid", "payload"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "code", "field"), BAD)
async def test_bad_input_is_answered_and_disturbs_nothing(world, data, code, field):
    await world.start()
    producer = await world.connect("ingest.sock")
    await producer.raw(data)
    error = await producer.expect(Error)
    assert (error.code, error.field) == (code, field)
    assert error.message.startswith("cannot ")
    await producer.say(token("still here"))
    consumer, _ = await world.consumer()
    assert (await consumer.hear()).payload.current_token == "still here"
    status = (await world.call("io.geoos.Daemon.GetStatus"))["status"]
    assert status["details"]["refused_messages"] == "1"


async def test_an_over_long_message_ends_only_its_connection(world):
    await world.start()
    producer = await world.connect("ingest.sock")
    await producer.stream.send_all(struct.pack("<I", (1 << 20) + 1))
    assert (await producer.expect(Error)).code == "too_large"
    with pytest.raises(EOFError):
        await producer.hear()
    consumer = await world.connect("feed.sock")
    await consumer.stream.send_all(struct.pack("<I", 1 << 31))
    assert (await consumer.expect(Error)).code == "too_large"
    with pytest.raises(EOFError):
        await consumer.hear()
    assert (await world.call("io.geoos.Daemon.GetHealth"))["status"] == "healthy"


async def test_a_bad_numbered_message_need_not_come_again(world):
    await world.start()
    producer = await world.connect("ingest.sock")
    await producer.say(ProducerHello("p", 1))
    await producer.raw(b'{"message_type":"Nonsense","n":1}')
    seen = set()
    while len(seen) < 2:
        payload = (await producer.hear()).payload
        if isinstance(payload, Error) or payload.through == 1:
            seen.add(type(payload))


async def test_the_feed_resumes_and_says_what_is_lost(world):
    await world.start()
    producer = await world.connect("ingest.sock")
    for position in range(4):
        await producer.say(token(position=position))
    await producer.say(Gap(None, None, 3, "overflow"))
    await producer.say(Canary("c", {"bridge": 1.0}))
    consumer, hello = await world.consumer()
    heard = [await consumer.hear() for _ in range(6)]
    assert [each.seq for each in heard] == [1, 2, 3, 4, None, None]
    assert heard[4].payload.dropped == 3
    resumed, _ = await world.consumer(After(hello.epoch, 3))
    assert (await resumed.hear()).seq == 4
    other, _ = await world.consumer(After("another", 3))
    assert (await other.hear()).seq == 1
    newest, at = await world.consumer("newest")
    assert at.seq == 4  # the last number that a message carries
    await producer.say(SessionEnded("s"))
    assert (await newest.hear()).seq == 7


async def test_a_snapshot_holds_cells_sessions_and_tokens(world):
    await world.start()
    producer = await world.connect("ingest.sock")
    consumer, _ = await world.consumer()
    await producer.say(SessionStarted("s", "m", "up"))
    await producer.say(token(session="s", activation=0.75))
    for _ in range(2):
        await consumer.hear()
    await consumer.say(SnapshotRequest())
    snapshot = await consumer.expect(Snapshot)
    assert snapshot.at_seq == 2
    assert snapshot.sessions[0].phase == "generating"
    assert snapshot.tokens[0].cell == 7
    district, cell, weight = struct.unpack("<IIf", base64.b64decode(snapshot.cells))
    assert (district, cell) == (1, 7)
    assert weight == pytest.approx(1.0, rel=0.01)
    assert snapshot.districts[0].model == "m"


async def test_demand_travels_upstream(world):
    await world.start()
    producer = await world.connect("ingest.sock")
    await producer.say(ProducerHello("p", 0))
    assert (await producer.expect(Ack)).through == -1
    consumer, _ = await world.consumer()
    await consumer.say(Demand(frames=True, attention_layers=[3, 1]))
    assert await producer.expect(Demand) == Demand(True, [1, 3])
    late = await world.connect("ingest.sock")
    await late.say(ProducerHello("late", 0))
    assert await late.expect(Demand) == Demand(True, [1, 3])
    await consumer.stream.aclose()
    assert await producer.expect(Demand) == Demand()


async def test_a_feed_consumer_is_told_what_it_got_wrong(world):
    await world.start()
    consumer = await world.connect("feed.sock")
    await consumer.raw(b"\x09{}")
    assert (await consumer.expect(Error)).code == "malformed"
    await consumer.say(token())
    assert (await consumer.expect(Error)).field == "message_type"
    await consumer.raw(b'\0{"message_type":"FeedRequest","payload":{"from":"tuesday"}}')
    assert (await consumer.expect(Error)).field == "payload.from"
    await consumer.say(FeedRequest("oldest"))
    await consumer.expect(Hello)


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_pictures(world, name, kind):
    await world.start()
    reply = await world.call(
        "io.geoos.Compositor.Render", {"width": 200, "height": 100, "format": name}
    )
    with Image.open(io.BytesIO(base64.b64decode(reply["image"]))) as picture:
        assert picture.format == kind
        assert picture.size == (200, 100)
    assert (reply["width"], reply["height"]) == (200, 100)
    assert reply["media_type"] == f"image/{name}"


async def test_pictures_that_cannot_be_drawn_are_refused(world):
    await world.start()
    for wrong in ({"width": 5000}, {"height": 0}, {"view": "inside"}, {"format": "gif"}, {"w": 1}):
        with pytest.raises(VarlinkError, match=next(iter(wrong))) as refused:
            await world.call("io.geoos.Compositor.Render", wrong)
        assert refused.value.error == INVALID_ARGUMENT
    with pytest.raises(VarlinkError, match="aurora") as refused:
        await world.call("io.geoos.Compositor.Render", {"theme": "nope"})
    assert refused.value.error == NOT_FOUND


async def render(world, **wanted):
    reply = await world.call("io.geoos.Compositor.Render", {"width": 320, "height": 200} | wanted)
    with Image.open(io.BytesIO(base64.b64decode(reply["image"]))) as picture:
        return reply, np.asarray(picture.convert("RGB")).astype(int)


async def test_every_view_is_a_picture_of_its_own(world):
    await world.start()
    producer, (consumer, _) = await world.connect("ingest.sock"), await world.consumer()
    for number in range(8):
        await producer.say(token(" w", number, token_id=number * 999, confidence=0.5, session="s"))
    data = NeuralData(layer_activations=[1.0, 2.0], attention_weights=[[1.0, 0.0], [0.5, 0.5]])
    await producer.say(NeuralStateUpdate(session="s", data=data))
    for _ in range(9):
        await consumer.hear()
    found = {}
    for view in VIEWS:
        _, found[view] = await render(world, view=view)
        assert found[view].max() > 100, view
    assert len({picture.tobytes() for picture in found.values()}) == len(VIEWS)
    with pytest.raises(VarlinkError, match=", ".join(VIEWS)) as refused:
        await render(world, view="inside")
    assert refused.value.error == INVALID_ARGUMENT


async def test_pictures_are_panned_and_zoomed_and_as_sharp_as_wanted(world):
    await world.start()
    await place_some(world)
    whole, picture = await render(world)
    near, _ = await render(world, zoom=4)
    assert near["scale"] == pytest.approx(4 * whole["scale"])
    there, _ = await render(world, center_x=7.5, center_y=9.5)
    assert (there["center_x"], there["center_y"]) == (7.5, 9.5)
    _, labelled = await render(world, labels=True)
    assert (labelled != picture).any()
    sharp, fine = await render(world, dpr=2)
    assert (sharp["width"], sharp["height"], fine.shape) == (640, 400, (400, 640, 3))
    assert sharp["scale"] == pytest.approx(2 * whole["scale"])
    for wrong, said in (
        ({"zoom": 0}, "zoom"), ({"center_x": 3}, "belong together"), ({"dpr": 9}, "dpr"),
        ({"width": 4096, "dpr": 2}, "at most 4096"), ({"labels": 1}, "labels"),
    ):  # fmt: skip
        with pytest.raises(VarlinkError, match=said) as refused:
            await render(world, **wrong)
        assert refused.value.error == INVALID_ARGUMENT


async def test_what_comes_before_the_state_is_there_cannot_replace_it(world, monkeypatch):
    await world.start("bridge.record=full")
    await place_some(world)
    await world.stop()
    kept = (world.runtime.state_dir / "places.json").read_bytes()
    there, go_on, started = trio.Event(), trio.Event(), trio.Event()
    load = Keeper.load_themes

    async def late(keeper):
        await load(keeper)
        there.set()
        await go_on.wait()

    async def start():
        await world.start("bridge.record=full")
        started.set()

    monkeypatch.setattr(Keeper, "load_themes", late)
    world.nursery.start_soon(start)
    with trio.fail_after(10):
        await there.wait()
    for method, parameters in (
        ("SetTheme", {"name": "paper"}),
        ("Save", None),
        ("ListThemes", None),
        ("AdoptLayout", {"model": "m", "tokens": 0, "first": 0, "places": ""}),
    ):
        with pytest.raises(VarlinkError, match="the compositor is starting"):
            await world.call(f"io.geoos.Compositor.{method}", parameters)
    assert (await world.call("io.geoos.Daemon.GetStatus"))["status"]["state"] == "starting"
    assert (world.runtime.state_dir / "places.json").read_bytes() == kept
    go_on.set()
    with trio.fail_after(10):
        await started.wait()
    await world.call("io.geoos.Compositor.SetTheme", {"name": "paper"})


async def test_a_theme_is_used_told_and_kept(world):
    await world.start()
    listed = await world.call("io.geoos.Compositor.ListThemes")
    assert listed["current"] == "aurora"
    assert {"aurora", "ember", "paper"} <= {theme["name"] for theme in listed["themes"]}
    consumer, _ = await world.consumer("newest")
    await world.call("io.geoos.Compositor.SetTheme", {"name": "ember"})
    assert (await consumer.expect(ThemeChanged)).theme.name == "ember"
    await world.stop()
    await world.start()
    assert (await world.call("io.geoos.Compositor.GetTheme"))["theme"]["name"] == "ember"
    named = await world.call("io.geoos.Compositor.GetTheme", {"name": "paper"})
    assert named["theme"]["title"] == "Paper"


async def test_a_disk_that_hangs_stops_nothing(world):
    """A pipe in place of the temporary file: opening it takes until somebody reads."""
    await world.start("bridge.record=full", "compositor.snapshot_interval=0.02")
    pipe = world.runtime.state_dir / ".scene.npz.new"
    os.mkfifo(pipe)
    producer = await world.connect("ingest.sock")
    consumer, _ = await world.consumer()
    await producer.say(token())
    assert (await consumer.hear()).payload.cell == 7
    for number in range(20):
        # Some of these come while the save hangs; a new model's place is on disk nevertheless.
        await producer.say(token(model=f"m{number}"))
        assert (await consumer.hear()).payload.model == f"m{number}"
        await trio.sleep(0.005)
    assert len(StateFiles(world.runtime.state_dir).load_places().districts) == 21
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    pipe.unlink()
    with trio.fail_after(10):
        while True:
            health = await world.call("io.geoos.Daemon.GetHealth")
            if health["status"] == "healthy" and (pipe.parent / "scene.npz").exists():
                break
            await trio.sleep(0.01)
    os.close(reader)


async def test_a_theme_that_a_user_saves_is_kept_and_shown_at_once(world):
    await world.start()
    consumer, hello = await world.consumer()
    mine = msgspec.to_builtins(hello.theme) | {"title": "Mine", "accent": "#ff0000"}
    await world.call("io.geoos.Compositor.SaveTheme", {"theme": mine})
    assert (await consumer.expect(ThemeChanged)).theme.title == "Mine"
    await world.call("io.geoos.Compositor.SaveTheme", {"theme": mine | {"name": "other"}})
    for theme, reason in (({"name": "../etc"}, "name"), ({"accent": "red"}, "accent")):
        with pytest.raises(VarlinkError) as caught:
            await world.call("io.geoos.Compositor.SaveTheme", {"theme": mine | theme})
        assert caught.value.error == INVALID_ARGUMENT
        assert reason in str(caught.value.parameters)
    await world.stop()
    await world.start()
    answer = await world.call("io.geoos.Compositor.ListThemes")
    titles = {theme["name"]: theme["title"] for theme in answer["themes"]}
    assert titles[hello.theme.name] == titles["other"] == "Mine"
    (world.runtime.state_dir / "themes" / ".other.json.new").mkdir()
    with pytest.raises(VarlinkError, match="cannot save theme other"):
        await world.call("io.geoos.Compositor.SaveTheme", {"theme": mine | {"name": "other"}})


async def test_themes_are_bounded(world, monkeypatch):
    monkeypatch.setattr("geoosd.compositor.adapters.themes.MAX_THEMES", 3)
    await world.start()
    answer = await world.call("io.geoos.Compositor.ListThemes")
    theme = answer["themes"][0]
    await world.call("io.geoos.Compositor.SaveTheme", {"theme": theme})
    with pytest.raises(VarlinkError, match="cannot keep another theme"):
        await world.call("io.geoos.Compositor.SaveTheme", {"theme": theme | {"name": "more"}})


async def adopt(world, places, model="m", part=2):
    """As geoosctl map adopt does; the last answer."""
    for first in range(0, max(len(places), 1), part):
        data = struct.pack(f"<{len(places[first : first + part])}i", *places[first : first + part])
        asked = {"model": model, "tokens": len(places), "first": first}
        answer = await world.call(
            "io.geoos.Compositor.AdoptLayout", asked | {"places": base64.b64encode(data).decode()}
        )
    return answer


async def test_a_layout_is_adopted_and_survives_a_restart(world):
    await world.start()
    producer = await world.connect("ingest.sock")
    consumer, _ = await world.consumer()
    await producer.say(token(token_id=0))
    assert (await consumer.hear()).payload.district == 1
    answer = await adopt(world, [2, 0, 1])
    assert answer["changed"]
    assert await adopt(world, [2, 0, 1]) == {"layout": answer["layout"], "changed": False}
    await producer.say(token(token_id=0))
    lies = (await consumer.hear()).payload
    assert (lies.district, lies.cell) == (2, 2)
    await world.stop()
    await world.start()
    exported = {file.name: file.content.read() for file in await world.runtime.export()}
    assert exported[f"layout-{answer['layout']}.i32"] == struct.pack("<3i", 2, 0, 1)
    producer = await world.connect("ingest.sock")
    consumer, _ = await world.consumer()
    await producer.say(token(token_id=0))
    lies = (await consumer.hear()).payload
    assert (lies.district, lies.cell) == (2, 2)
    assert await adopt(world, []) == {"layout": 0, "changed": True}
    await producer.say(token(token_id=0))
    assert (await consumer.hear()).payload.district == 1
    assert not list(world.runtime.state_dir.glob("layout-*"))


async def test_a_layout_that_is_none_or_cannot_be_kept_changes_nothing(world):
    await world.start()
    for places, reason in (([0, 0], "each once"), ([0, 1, 7], "each once")):
        with pytest.raises(VarlinkError, match=reason) as caught:
            await adopt(world, places)
        assert caught.value.error == INVALID_ARGUMENT
    for wrong, reason in (
        ({"model": ""}, "model"),
        ({"tokens": (1 << 20) + 1}, "tokens"),
        ({"places": "?"}, "places is no base64"),
        ({"first": 1}, "begin at 0"),
    ):
        with pytest.raises(VarlinkError, match=reason) as caught:
            await world.call(
                "io.geoos.Compositor.AdoptLayout",
                {"model": "m", "tokens": 1, "places": "AAAAAA=="} | wrong,
            )
        assert caught.value.error == INVALID_ARGUMENT
    (world.runtime.state_dir / ".places.json.new").mkdir()
    with pytest.raises(VarlinkError, match="cannot keep the layout of m: is a directory"):
        await adopt(world, [1, 0])
    producer = await world.connect("ingest.sock")
    consumer, _ = await world.consumer()
    await producer.say(token(token_id=0))
    assert (await consumer.hear()).payload.cell == 0


async def test_a_layout_whose_file_is_lost_is_told(world):
    await world.start()
    await adopt(world, [1, 0])
    await world.stop()
    (lost,) = world.runtime.state_dir.glob("layout-*")
    lost.unlink()
    await world.start()
    health = await world.call("io.geoos.Daemon.GetHealth")
    (state,) = [check for check in health["checks"] if check["name"] == "state"]
    assert state["status"] == "warning"
    assert state["summary"].startswith(f"cannot find {lost}: tokens of m lie by their ids")
    producer = await world.connect("ingest.sock")
    consumer, _ = await world.consumer()
    await producer.say(token(token_id=0))
    assert (await consumer.hear()).payload.cell == 0


async def test_the_state_is_saved_on_request(world):
    await world.start("bridge.record=full")
    await place_some(world)
    scene = world.runtime.state_dir / "scene.npz"
    assert not scene.exists()
    await world.call("io.geoos.Compositor.Save")
    files = StateFiles(scene.parent)
    kept = files.load_scene(files.load_places().districts)
    assert kept.thoughts[0][0].current_token == "a"
    scene.unlink()
    (scene.parent / ".scene.npz.new").mkdir()
    with pytest.raises(VarlinkError, match="geoosctl health"):
        await world.call("io.geoos.Compositor.Save")


async def test_a_day_of_idling_saves_nothing_and_changes_nothing(autojump_clock, tmp_path):
    """On a virtual clock: 24 hours with a snapshot due every minute."""
    loaded = config.load(None, ["bridge.record=full"])
    paths = config.Paths(tmp_path / "run", tmp_path / "state")
    with logs.unconfigured("compositor") as book:
        runtime = service.Runtime("compositor", loaded, paths, log_book=book)
        scene = Scene(8.0)
        keeper = Keeper(runtime, scene, Themes(runtime.state_dir))
        places = await keeper.restore()
        said = token()
        places.place(said)
        await keeper.secure(places)
        scene.apply(said, 5.0, trio.current_time())
        await keeper.save()
        path = runtime.state_dir / "scene.npz"
        saved, began = path.stat(), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            await trio.sleep(86_400)
            nursery.cancel_scope.cancel()
        assert path.stat().st_mtime_ns == saved.st_mtime_ns
        await keeper.save()  # as SIGTERM does
        again = Scene(8.0)
        await Keeper(runtime, again, Themes(runtime.state_dir)).restore()
    assert again.recent == scene.recent
    now = trio.current_time()
    assert again.memory.value(key_of(1, 7), now) == pytest.approx(
        math.exp(-(now - began) / MEMORY_DECAY), rel=1e-6
    )


async def test_slow_consumers_get_gaps_and_hold_up_nobody(nursery):
    """Five consumers at once; two of them do not read until everything has been published."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    feed = SocketFeed(
        "e",
        snapshot=lambda seq: Snapshot(seq, [], [], ""),
        theme=lambda: None,
        now=lambda: 0.0,
        on_demand=lambda _demand: None,
        listen=lambda: listener,
        count=100,
    )
    await nursery.start(feed.run)
    port = listener.socket.getsockname()[1]
    peers = [Peer(await trio.open_tcp_stream("127.0.0.1", port), feed=True) for _ in range(5)]
    for peer in peers:
        await peer.say(FeedRequest("oldest"))
        await peer.expect(Hello)
    assert feed.consumers == 5
    slow, quick = peers[:2], peers[2:]
    published = 4000
    for number in range(published):
        feed.publish(token("x" * 4000, number), 0.0)
        feed.wake()
        for peer in quick:
            assert (await peer.hear()).seq == number + 1
    assert any(queue.dropped == 0 and queue.depth > 0 for queue in feed.queues()[1:])
    for peer in slow:
        last, lost, heard = 0, 0, 0
        while last < published:
            message = await peer.hear()
            if isinstance(message.payload, Gap):
                assert message.payload.from_seq == last + 1
                last = message.payload.to_seq
                lost += message.payload.dropped
            else:
                assert message.seq == last + 1
                last = message.seq
                heard += 1
        assert lost > 0
        assert lost + heard == published
    for peer in peers:
        await peer.stream.aclose()


async def test_the_legacy_socket_takes_old_producers(world, tmp_path):
    legacy = tmp_path / "old.sock"
    await world.start(f"compositor.legacy_socket={legacy}")
    stream = await trio.open_unix_socket(str(legacy))
    old = Peer(stream, feed=False)
    world.peers.append(old)
    await old.raw(
        msgspec.json.encode(
            {
                "message_type": "TokenVisualizationUpdate",
                "timestamp": 1_700_000_000_000,
                "payload": {
                    "current_token": "x",
                    "sequence_position": 0,
                    "hilbert_position": [0.5, 0.5],
                },
            }
        )
    )
    consumer, _ = await world.consumer()
    seen = await consumer.hear()
    assert seen.timestamp == 1_700_000_000.0
    assert seen.payload.hilbert_position == (0.5, 0.5)
    assert seen.payload.district == 0
    await world.stop()
    assert not legacy.exists()


async def test_a_full_disk_is_critical_and_stops_nothing(world, monkeypatch):
    await world.start()
    blocked = world.runtime.state_dir / ".places.json.new"
    blocked.mkdir()
    producer = await world.connect("ingest.sock")
    await producer.say(token())
    consumer, _ = await world.consumer()
    assert (await consumer.hear()).payload.cell == 7
    health = await world.call("io.geoos.Daemon.GetHealth")
    assert health["status"] == "critical"
    blocked.rmdir()
    await producer.say(token())
    assert (await consumer.hear()).payload.cell == 7
    health = await world.call("io.geoos.Daemon.GetHealth")
    assert health["status"] == "healthy"
