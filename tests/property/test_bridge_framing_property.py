"""An answer in chunks, cut anywhere: the data, the end and the trailers that h11 alone reads."""

import h11
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from geoosd.bridge.adapters.http_client import Origin, UpstreamConnection
from geoosd.errors import UpstreamError

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "a")])

SIZES = st.sampled_from([b"%x", b"%X", b"00%x", b"%x;name=value", b"%x "])
CHUNKS = st.lists(st.tuples(SIZES, st.binary(min_size=1, max_size=40) | st.just(b"\r\n")))
ENDS = st.sampled_from(
    [
        b"0\r\n\r\n",
        b"0\r\nA: 1\r\nB: 2\r\n\r\n",
        b"000;x\r\n\r\n",
        b"",
        b"0\r\n",
        b"zz\r\n",
        b"\r\n",
    ]
)
CUTS = st.lists(st.integers(1, 60), min_size=1)
WRONG = st.none() | st.tuples(st.integers(0, 400), st.sampled_from([b"\r", b"\n", b"1", b"x", b""]))


class Pieces:
    """A stream that gives *pieces* and then the end."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()

    async def receive_some(self, _):
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""


def cut(data, sizes):
    pieces = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def by_h11(pieces):
    """Body, trailers (None where the answer does not end) and what h11 has left."""
    state = h11.Connection(h11.CLIENT)
    state.send(REQUEST)
    state.send(h11.EndOfMessage())
    body = b""
    for piece in [*pieces, b""]:
        state.receive_data(piece)
        try:
            while (event := state.next_event()) is not h11.NEED_DATA:
                if type(event) is h11.Data:
                    body += event.data
                elif type(event) is h11.EndOfMessage:
                    return body, list(event.headers.raw_items())
        except h11.RemoteProtocolError:
            return body, None
    raise AssertionError("h11 takes a broken answer for a whole one")


async def by_us(pieces):
    connection = UpstreamConnection(Origin(False, "a", 1), Pieces(pieces))
    body, ended = b"", False
    try:
        await connection.ask(REQUEST, b"")
        while not ended:
            data, ended = await connection.receive()
            assert data or ended
            body += data
    except UpstreamError:
        return body, None
    return body, connection.trailers


@example([(b"%x", b"ab"), (b"%x", b"\r\n"), (b"%x", b"c")], b"0\r\n\r\n", [1], None)
@example([(b"%x", b"ab"), (b"%x", b"c")], b"0\r\n\r\n", [60, 4, 1], (54, b"x"))
@given(CHUNKS, ENDS, CUTS, WRONG)
def test_the_answer_is_what_h11_reads(chunks, end, cuts, wrong):
    body = b"".join(size % len(data) + b"\r\n" + data + b"\r\n" for size, data in chunks if data)
    answer = body + end
    if wrong is not None and wrong[0] < len(answer):
        at, byte = wrong
        answer = answer[:at] + byte + answer[at + 1 :]
    pieces = cut(HEAD + answer, cuts)
    theirs, trailers = by_h11(pieces)
    ours, our_trailers = trio.run(by_us, pieces)
    assert (ours, our_trailers) == (theirs, trailers)
