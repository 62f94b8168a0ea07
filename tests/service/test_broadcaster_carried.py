"""A viewer's socket that goes from one fan-out to another while it is full."""

import os
import socket

import trio
from broadcaster_wire import CLOSE, TEXT, RawViewer
from trio.testing import wait_all_tasks_blocked

from geoosd.broadcaster.adapters.fanout import Fanout
from geoosd.broadcaster.adapters.stream import FanoutStream
from geoosd.broadcaster.core.handover import Carried
from geoosd.broadcaster.core.hub import Hub, Limits
from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire import messages
from geoosd.wire.messages import After, Hello, Message, TokenVisualizationUpdate

TOKENS = 3000


def say(hub, number):
    token = TokenVisualizationUpdate(current_token=f"{number:>100}", sequence_position=number)
    hub.publish(Message(token, 0.0, number), messages.encode(token, 0.0, seq=number))


def filled():
    hub = Hub(Limits(max_lag=2 * TOKENS))
    hub.restart(Hello("e", 0), 0.0)
    for number in range(1, TOKENS + 1):
        say(hub, number)
    return hub


def made(hub, sock, viewer, nursery):
    fanout = Fanout(hub, max_stall_seconds=30.0, now=lambda: 0.0)
    stream = FanoutStream(sock, viewer, fanout, nursery, b"")
    stream.handshake_is_done(lambda: None)
    fanout.add(stream)
    return fanout, stream


async def test_a_full_socket_goes_on_in_the_middle_of_a_frame():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader = RawViewer(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
    first, second = filled(), filled()
    duplicate = socket.socket(fileno=os.dup(ours.fileno()))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            viewer = Viewer("v1", "", 0.0, Subscription(Filter(), 0))
            _, stream = made(first, duplicate, viewer, nursery)
            first.welcome(viewer, After("e", 0), None, 0.0)
            stream.catch_up()
            await wait_all_tasks_blocked()
            assert viewer.rest is not None, "the socket is full in the middle of a frame"
            carried = Carried.of(viewer, first.epoch)
            nursery.cancel_scope.cancel()
        duplicate.close()  # that process ends, without a word to the viewer
        async with trio.open_nursery() as nursery:
            new = carried.viewer()
            fanout, stream = made(second, ours, new, nursery)
            assert second.go_on(new, carried)
            say(second, TOKENS + 1)
            stream.catch_up()
            numbers = []
            while len(numbers) < TOKENS + 1:
                opcode, payload = await reader.next()
                assert opcode == TEXT
                said = messages.decode(payload, 0.0)
                numbers += [said.seq] if said.seq is not None else []
            assert numbers == list(range(1, TOKENS + 2))
            assert (new.sent, new.lag) == (TOKENS + 1, 0)
            fanout.close(stream, 1000, "")
            assert (await reader.next())[0] == CLOSE
            nursery.cancel_scope.cancel()
    stream.abort()
    theirs.close()
