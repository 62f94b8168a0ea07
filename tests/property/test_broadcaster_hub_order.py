"""The hub under any interleaving: in order, each once, and nothing missing but by a Gap."""

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from geoosd.broadcaster.core.handover import Carried
from geoosd.broadcaster.core.hub import Hub, Limits, Scene
from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire import messages
from geoosd.wire.messages import (
    After,
    Canary,
    Hello,
    Message,
    NeuralStateUpdate,
    SessionStarted,
    Snapshot,
    Subscribe,
    TokenVisualizationUpdate,
)

TOKEN = TokenVisualizationUpdate(current_token="t", sequence_position=0, model="m")
STATE = NeuralStateUpdate()
STARTED = SessionStarted("s", "m")
CANARY = Canary("c", {})


class Client:
    """One viewer's socket: takes what its credit allows; then checks what it got."""

    def __init__(self, world, number, channels, tick):
        self.viewer = Viewer(str(number), "", 0.0, Subscription(Filter(channels), tick))
        self.world = world
        self.wire = bytearray()
        self.credit = 0
        self.filters = []  # from which number on which filter holds

    def send(self, data):
        sent = min(self.credit, len(data))
        self.credit -= sent
        self.wire += bytes(data[:sent])
        return sent

    def pump(self):
        hub = self.world.hub
        while (data := hub.next_bytes(self.viewer, 0.0)) is not None:
            sent = self.send(data)
            hub.took(self.viewer, sent)
            if sent < len(data):
                return

    def received(self):
        """All whole text messages on the wire; a close frame ends them."""
        data, found, at = bytes(self.wire), [], 0
        while at < len(data):
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            body = data[start : start + size]
            if len(body) < size:
                break
            if data[at] == 0x88:
                assert start + size == len(data), "something follows the Close frame"
                break
            assert data[at] == 0x81
            found.append(json.loads(body))
            at = start + size
        return found


class World:
    """A hub, a driver without I/O, and a record of everything that was published."""

    def __init__(self, limits):
        self.hub = Hub(limits)
        self.hub.restart(Hello("e1", 0), 0.0)
        self.clients = []
        self.published = []
        self.feed = []
        self.seq = 0
        self.flushing = None

    def client(self, index):
        return self.clients[index % len(self.clients)] if self.clients else None

    def publish(self, payload, skip):
        self.seq += 1 + skip
        self._publish(payload, self.seq)
        self.published.append((self.seq, type(payload)))

    def _publish(self, payload, seq):
        said = Message(payload, 0.0, seq), messages.encode(payload, 0.0, seq=seq)
        self.feed.append(said)
        self.hub.publish(*said)

    def unnumbered(self):
        self._publish(CANARY, None)

    def hand_over(self):
        """Another hub goes on with everybody, at whatever moment this is."""
        old, self.hub = self.hub, Hub(self.hub.limits)
        self.hub.restart(Hello("e1", 0), 0.0)
        for said in self.feed:
            self.hub.publish(*said)
        self.flushing = None
        for client in self.clients:
            packed = msgspec.msgpack.encode(Carried.of(client.viewer, old.epoch))
            carried = msgspec.msgpack.decode(packed, type=Carried)
            client.viewer = carried.viewer()
            self.hub.admit(client.viewer)
            assert self.hub.go_on(client.viewer, carried)
            client.pump()

    def join(self, channels, tick, after, credit):
        client = Client(self, len(self.clients), channels, tick)
        client.credit = credit
        client.joined_after = self.seq
        self.clients.append(client)
        self.hub.admit(client.viewer)
        resume = After("e1", max(0, self.seq - after)) if after is not None else None
        if self.hub.can_resume(client.viewer, resume):
            client.joined_after = resume.after
        scene = Snapshot(self.seq, [], [], "")
        frame = b"\x81\x7e" + len(messages.encode(scene, 0.0)).to_bytes(2, "big")
        frame += messages.encode(scene, 0.0)
        client.filters = [(client.joined_after, client.viewer.subscription.filter)]
        self.hub.welcome(client.viewer, resume, Scene("e1", self.seq, frame), 0.0)
        client.pump()

    def flush_begin(self, tick):
        for group in self.hub.groups:
            if (lane := group.lanes.get(tick)) is not None:
                yield from self._flush(lane)

    def _flush(self, lane):
        if lane.has_overflowed:
            self.hub.mend_overflow(lane)
        while (batch := lane.take()) is not None:
            for viewer in tuple(lane.due):
                yield
                if viewer not in lane.due:
                    continue
                client = self.of(viewer)
                sent = client.send(batch.data)
                if sent == len(batch.data):
                    lane.took_all(viewer)
                else:
                    self.hub.took_part(viewer, batch, sent)
                    client.pump()
            if lane.has_overflowed:
                self.hub.mend_overflow(lane)
        for viewer in lane.take_strays():
            self.of(viewer).pump()

    def of(self, viewer):
        return self.clients[int(viewer.id)]

    def step_flush(self, tick, steps):
        """Advance a flush by some viewers: others act in between."""
        if self.flushing is None:
            self.flushing = self.flush_begin(tick)
        for _ in range(steps):
            if next(self.flushing, self) is self:
                self.flushing = None
                return

    def settle(self):
        """Finish the flush, give everybody credit, flush all ticks, catch up."""
        if self.flushing is not None:
            for _ in self.flushing:
                pass
        for client in self.clients:
            client.credit = 1 << 30
        for _ in range(2):
            for client in self.clients:
                client.pump()
            for tick in (0, 16, 33, 100):
                for _ in self.flush_begin(tick):
                    pass


channels = st.sampled_from(
    [
        frozenset({"tokens", "state", "sessions"}),
        frozenset({"sessions"}),
        frozenset({"tokens", "canary"}),
    ]
)
index = st.integers(0, 7)
action = st.one_of(
    st.tuples(
        st.just("publish"), st.sampled_from([TOKEN, TOKEN, STATE, STARTED]), st.integers(0, 2)
    ),
    st.tuples(st.just("burst"), st.integers(1, 12)),
    st.tuples(st.just("unnumbered")),
    st.tuples(
        st.just("join"),
        channels,
        st.sampled_from([0, 16]),
        st.one_of(st.none(), st.integers(0, 20)),
        st.integers(0, 2000),
    ),
    st.tuples(st.just("flush"), st.sampled_from([0, 16]), st.integers(1, 6)),
    st.tuples(st.just("credit"), index, st.integers(1, 1500)),
    st.tuples(st.just("ping"), index),
    st.tuples(st.just("tick"), index, st.sampled_from([0, 16])),
    st.tuples(st.just("leave"), index),
)
change = st.tuples(st.just("channels"), index, channels)
handover = st.tuples(st.just("hand_over"))


def act(world, name, *values):
    if name == "publish":
        world.publish(*values)
    elif name == "burst":
        for _ in range(values[0]):
            world.publish(TOKEN, 0)
    elif name == "join":
        world.join(*values)
    elif name == "flush":
        world.step_flush(*values)
    elif name in ("unnumbered", "hand_over"):
        getattr(world, name)()
    elif (client := world.client(values[0])) is not None:
        _act_on(world, client, name, *values[1:])


def _act_on(world, client, name, *values):
    if name == "credit":
        client.credit += values[0]
    elif name == "ping":
        world.hub.queue(client.viewer, b"\x81\x15" + b'{"message_type":"P"} ')
    elif name == "tick":
        changed = client.viewer.subscription.changed_by(Subscribe(tick=values[0]))
        world.hub.subscribe(client.viewer, changed, 0.0)
    elif name == "channels":
        _change(world, client, values[0])
    else:
        world.hub.close(client.viewer, 1000, "")
    client.pump()


def _change(world, client, names):
    """Another filter counts from where the hub says that the viewer stands."""
    hub, viewer = world.hub, client.viewer
    given = hub.given(viewer)
    if given is not None:
        assert given == world.seq or viewer.lag, "nothing waits, and it does not stand at the end"
        if viewer.position < viewer.lane.ring.first:
            given = world.seq  # what fell out is told of in a Gap, first
    changed = viewer.subscription.changed_by(Subscribe(sorted(names)))
    hub.subscribe(viewer, changed, 0.0)
    if given is not None and not viewer.closing:
        client.filters.append((given, changed.filter))


def check(world, client):
    got = client.received()
    numbers = [message["seq"] for message in got if "seq" in message]
    assert numbers == sorted(set(numbers)), "out of order, or twice"
    gaps = [m["payload"] for m in got if m["message_type"] == "Gap"]

    def takes(seq, channel):
        held = [filter_ for after, filter_ in client.filters if after < seq]
        return bool(held) and held[-1].takes(channel, "m")

    wanted = [(seq, kind) for seq, kind in world.published if takes(seq, messages.CHANNEL_OF[kind])]
    if client.viewer.closing:
        last = max([client.joined_after, *numbers, *(gap["to_seq"] for gap in gaps)])
        wanted = [(seq, kind) for seq, kind in wanted if seq <= last]
    missing = [(seq, kind) for seq, kind in wanted if seq not in numbers]
    assert set(numbers) <= {seq for seq, _ in wanted}
    for seq, kind in missing:
        assert any(gap["from_seq"] <= seq <= gap["to_seq"] for gap in gaps), "unexplained"
        assert kind is not SessionStarted or client.viewer.closing, "a control message is missing"
    if not client.viewer.closing:
        dropped = client.viewer.dropped
        assert sum(gap["dropped"] for gap in gaps) == dropped
        told = any("canary" in filter_.channels for _, filter_ in client.filters)
        unnumbered = len(world.feed) - len(world.published) if told else 0
        assert 0 <= dropped - len(missing) <= unnumbered
        assert client.viewer.lag == 0
        canaries = sum(message["message_type"] == "Canary" for message in got)
        assert client.viewer.sent == len(numbers) + canaries


@settings(max_examples=300)
@given(st.lists(action | change, max_size=60), st.integers(3, 12), st.integers(4, 40))
def test_every_viewer_gets_everything_in_order_or_is_told(actions, max_lag, ring_frames):
    world = World(Limits(max_lag=max_lag, ring_frames=ring_frames))
    for each in actions:
        act(world, *each)
    world.settle()
    for client in world.clients:
        check(world, client)


@settings(max_examples=300)
@given(st.lists(action | handover, max_size=60), st.integers(3, 12), st.integers(4, 40))
def test_another_hub_can_go_on_at_any_moment(actions, max_lag, ring_frames):
    world = World(Limits(max_lag=max_lag, ring_frames=ring_frames))
    for each in [*actions, ("hand_over",)]:
        act(world, *each)
    world.settle()
    for client in world.clients:
        check(world, client)


@given(st.lists(action, max_size=40), st.integers(3, 12), st.integers(4, 40))
def test_a_new_epoch_announces_what_was_left_and_starts_again(actions, max_lag, ring_frames):
    world = World(Limits(max_lag=max_lag, ring_frames=ring_frames))
    for each in actions:
        act(world, *each)
    if world.flushing is not None:
        for _ in world.flushing:
            pass
    for viewer in world.hub.restart(Hello("e2", 0), 0.0):
        assert viewer.lane is None
        world.hub.welcome(viewer, None, None, 0.0)
    for client in world.clients:
        client.joined_after = min(client.joined_after, world.seq)
    before, world.published, world.seq = world.published, [], 0
    world.publish(TOKEN, 0)
    world.settle()
    for client in world.clients:
        got = client.received()
        hellos = [i for i, m in enumerate(got) if m["message_type"] == "Hello"]
        if client.viewer.closing:
            continue
        assert len(hellos) == 2
        old, new = got[: hellos[1]], got[hellos[1] + 1 :]
        wants_tokens = "tokens" in client.viewer.subscription.filter.channels
        assert [m["seq"] for m in new if "seq" in m] == ([1] if wants_tokens else [])
        gaps = [m["payload"] for m in old if m["message_type"] == "Gap"]
        numbers = {m["seq"] for m in old if "seq" in m}
        takes = client.viewer.subscription.filter.takes
        for seq, kind in before:
            if seq > client.joined_after and takes(messages.CHANNEL_OF[kind], "m"):
                told = any(gap["from_seq"] <= seq <= gap["to_seq"] for gap in gaps)
                assert seq in numbers or told
