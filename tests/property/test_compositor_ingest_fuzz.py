"""Whatever bytes a producer sends, the service goes on, and intake raises what it documents."""

import struct

import trio
from hypothesis import given
from hypothesis import strategies as st

from geoosd.compositor.adapters.ingest import Ingest
from geoosd.compositor.core import intake
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.errors import MessageError
from geoosd.wire.framing import FrameDecoder
from geoosd.wire.messages import Ack, Error, TokenVisualizationUpdate, decode, encode

GOOD = encode(TokenVisualizationUpdate("a", 1, token_id=3, model="m"), 1.0)
PLAUSIBLE = st.sampled_from(
    [
        GOOD,
        b'{"message_type":"ProducerHello","payload":{"producer":"p","next":1}}',
        b'{"message_type":"TokenVisualizationUpdate","n":7,"payload":{"current_token":""}}',
        b'{"message_type":"Gap","payload":{"from_seq":null,"to_seq":null,"dropped":1,"reason":""}}',
    ]
)


@st.composite
def mangled(draw):
    data = bytearray(draw(PLAUSIBLE))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@given(st.one_of(mangled(), st.binary(max_size=200)))
def test_intake_raises_only_message_errors(data):
    try:
        message = intake.read(data, 0.0)
    except MessageError:
        intake.number_of(data)
    else:
        if isinstance(message.payload, TokenVisualizationUpdate):
            places = Places()
            places.place(message.payload)
            Scene(8.0).apply(message.payload, message.timestamp, 0.0)
            encode(message.payload, message.timestamp, seq=1)


@given(st.lists(st.one_of(mangled(), st.binary(max_size=60)), max_size=6), st.binary(max_size=8))
def test_no_bytes_end_the_ingest_server(payloads, rest):
    wire = b"".join(struct.pack("<I", len(each)) + each for each in payloads) + rest
    taken = []

    async def take(batch):
        taken.extend(batch)
        return []

    async def main():
        ingest = Ingest(take, now=lambda: 0.0)
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, ingest.serve, [listener])
            answers = b""
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(wire)
                await stream.send_eof()
                with trio.fail_after(5):
                    async for chunk in stream:
                        answers += chunk
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                taken.clear()
                await stream.send_all(struct.pack("<I", len(GOOD)) + GOOD)
                await stream.send_eof()
                with trio.fail_after(5):
                    async for _ in stream:
                        pass
            nursery.cancel_scope.cancel()
        return answers

    answers = trio.run(main)
    assert [each.payload.token_id for each in taken] == [3]
    for frame in FrameDecoder().receive(answers):
        assert isinstance(decode(frame, 0.0).payload, Error | Ack)
