"""Frames on the feed: only for those who demand them, only while something changes."""

import io
import re
from itertools import pairwise

import trio
from PIL import Image
from prometheus_client import CollectorRegistry
from test_compositor_service import world  # noqa: F401

from geoosd.compositor.adapters.frames import Frames
from geoosd.compositor.core.pacing import Pacer
from geoosd.runtime.varlink import unavailable
from geoosd.wire import framing
from geoosd.wire.messages import (
    Demand,
    NeuralData,
    NeuralStateUpdate,
    ProducerHello,
    TokenVisualizationUpdate,
)
from geoosd.wire.pictures import VIEWS, decode_picture


async def next_picture(peer):
    """The next picture on the feed; messages are passed over."""
    with trio.fail_after(10):
        while True:
            while not peer.waiting:
                chunk = await peer.stream.receive_some()
                assert chunk, "the feed ended"
                peer.waiting += peer.decoder.receive(chunk)
            kind, data = framing.split_feed_frame(peer.waiting.pop(0))
            if kind == framing.KIND_PICTURE:
                return decode_picture(data)


def is_dark(picture):
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.size == (picture.width, picture.height) == (1280, 720)
        # An empty map has its curve and a line of text; a star is nearly white.
        return max(high for _low, high in image.convert("RGB").getextrema()) < 170


async def test_who_watches_sees_a_token_light_up(world):  # noqa: F811
    await world.start("compositor.fps=60")
    producer = await world.connect("ingest.sock")
    await producer.say(ProducerHello("p", 1))
    watcher, hello = await world.consumer("newest")
    plain, _ = await world.consumer("newest")
    await watcher.say(Demand(frames=True))
    first = await next_picture(watcher)
    assert is_dark(first)
    assert first.seq == hello.seq
    await producer.say(TokenVisualizationUpdate("a", 0, token_id=7, model="m", activation=1.0), n=1)
    with trio.fail_after(10):
        while is_dark(later := await next_picture(watcher)):
            pass
    assert later.seq > first.seq
    # Who does not watch gets the message and no picture.
    assert (await plain.expect(TokenVisualizationUpdate)).token_id == 7
    assert plain.waiting == []
    await world.stop()


def drawn(metrics):
    """How many pictures have been drawn, for whomever."""
    (line,) = re.findall(r"^geoos_compositor_picture_seconds_count (\S+)$", metrics, re.MULTILINE)
    return int(float(line))


async def test_nothing_is_drawn_but_what_somebody_looks_at(world):  # noqa: F811
    await world.start("compositor.fps=60")

    async def count():
        return drawn((await world.call("io.geoos.Daemon.GetMetrics"))["text"])

    warmed_up = await count()
    assert warmed_up == 1
    producer = await world.connect("ingest.sock")
    await producer.say(ProducerHello("p", 1))
    plain, _ = await world.consumer("newest")
    for n in range(1, 301):
        await producer.say(TokenVisualizationUpdate("a", n, token_id=n, model="m"), n=n)
        await plain.expect(TokenVisualizationUpdate)
    assert await count() == warmed_up
    await world.call("io.geoos.Compositor.Render", {"width": 64, "height": 64})
    assert await count() == warmed_up + 1
    await world.stop()


async def test_other_views_are_drawn_for_those_who_want_them(world):  # noqa: F811
    await world.start("compositor.fps=60")
    producer = await world.connect("ingest.sock")
    both, _ = await world.consumer("newest")
    await both.say(Demand(frames=True, views=["layers", "nothing like it"]))
    other, _ = await world.consumer("newest")
    await other.say(Demand(views=["attention"]))
    data = NeuralData(layer_activations=[1.0, 3.0])
    await producer.say(NeuralStateUpdate(session="s", data=data))
    seen = {}
    with trio.fail_after(10):
        while len(seen) < 2:
            picture = await next_picture(both)
            seen[VIEWS[picture.view]] = picture
    assert set(seen) == {"activation", "layers"}
    assert is_dark(seen["activation"])
    assert not is_dark(seen["layers"])
    assert VIEWS[(await next_picture(other)).view] == "attention"
    await world.stop()


class Screen:
    """Frames at the pace of a virtual clock; drawing takes no time."""

    def __init__(self, fps, decay):
        self.watched = True
        self.refusing = False
        self.times = []
        self.dark_at = 0.0
        self.decay = decay
        self.frames = Frames(
            Pacer(fps),
            is_watched=lambda: self.watched,
            fades_until=lambda now: max(now, self.dark_at),
            draw=self.draw,
            registry=CollectorRegistry(),
        )

    def light_up(self):
        """Something that is dark again after so long."""
        self.dark_at = trio.current_time() + self.decay
        self.frames.changed()

    async def draw(self):
        if self.refusing:
            raise unavailable("cannot draw now: too many")
        self.times.append(trio.current_time())


async def test_frames_keep_the_pace_and_end_when_all_is_dark(autojump_clock, nursery):
    screen = Screen(10, 12.0)
    nursery.start_soon(screen.frames.run)
    await trio.sleep(1000)
    assert screen.times == []
    screen.light_up()
    began = trio.current_time()
    await trio.sleep(1000)
    count = len(screen.times)
    assert 119 <= count <= 122  # twelve seconds, ten frames a second
    assert 12.0 <= screen.times[-1] - began < 12.2
    assert min(later - time for time, later in pairwise(screen.times)) > 0.099
    await trio.sleep(86_400)
    assert len(screen.times) == count
    screen.frames.changed()
    await trio.sleep(10)
    assert len(screen.times) - count == 1
    nursery.cancel_scope.cancel()


async def test_nobody_watching_costs_no_frame(autojump_clock, nursery):
    screen = Screen(10, 1.0)
    screen.watched = False
    nursery.start_soon(screen.frames.run)
    for _ in range(100):
        screen.light_up()
        await trio.sleep(0.05)
    assert screen.times == []
    assert screen.frames.count == 0
    screen.watched = True
    screen.frames.changed()
    await trio.sleep(1)
    assert len(screen.times) >= 9
    nursery.cancel_scope.cancel()


async def test_a_frame_that_is_refused_is_left_out(autojump_clock, nursery):
    screen = Screen(10, 0.5)
    screen.refusing = True
    nursery.start_soon(screen.frames.run)
    screen.light_up()
    await trio.sleep(1)
    assert screen.times == []
    screen.refusing = False
    await trio.sleep(1)
    # What had been refused is shown, once, though all has become dark meanwhile.
    assert len(screen.times) == screen.frames.count == 1
    nursery.cancel_scope.cancel()
