"""RFC 6455 at the broadcaster's port: the cases of the Autobahn suite's families 1–7 and 10.

That suite wants an echo. Ours answers a text that is no Subscribe by an Error, a Subscribe by
nothing, and a binary message by an Error; where the suite expects an echo, a case here expects that
answer. Families 8, 9 and 11–13 are about limits and compression, which are not offered.
"""

import struct
from typing import NamedTuple

import pytest
import trio
from broadcaster_wire import BINARY, CLOSE, MORE, PING, PONG, TEXT, close, frame, raw_viewer
from test_broadcaster_viewers import standing

ANSWER = "an Error"
SUBSCRIBE = b'{"message_type":"Subscribe","payload":{"tick":0}}'


class Case(NamedTuple):
    """*sent* bytes, *chunk* at a time; then the *answers* and the close *code* that must come.

    An answer is ANSWER or the payload of a Pong. When *code* is 1000 the case closes by itself.
    ``None`` is a connection that is dropped without a Close frame.
    """

    sent: bytes
    answers: list = []  # noqa: RUF012 - never changed
    code: int | None = 1000
    chunk: int | None = None


def wishes(size):
    """A Subscribe of exactly *size* bytes."""
    return SUBSCRIBE.replace(b"{", b"{" + b" " * (size - len(SUBSCRIBE)), 1)


def fragments(opcode, *parts):
    last = len(parts) - 1
    return b"".join(
        frame(opcode if i == 0 else MORE, part, fin=i == last) for i, part in enumerate(parts)
    )


FRAMING = {
    f"1.{family}.{number}": Case(frame(opcode, b"*" * size), [ANSWER])
    for family, opcode in ((1, TEXT), (2, BINARY))
    for number, size in enumerate((0, 125, 126, 127, 128, 4000), 1)
} | {
    "1.1.6 too big": Case(frame(TEXT, b"*" * 65535), [], 1009),
    "1.1.7 too big": Case(frame(TEXT, b"*" * 65536), [], 1009),
    "1.1.8 chopped": Case(frame(TEXT, b"*" * 4000), [ANSWER], chunk=997),
    "1.2.7 too big": Case(frame(BINARY, b"\xfe" * 65536), [], 1009),
    "1.2.8 chopped": Case(frame(BINARY, b"\xfe" * 4000), [ANSWER], chunk=997),
}
PINGS = {
    "2.1": Case(frame(PING), [b""]),
    "2.2": Case(frame(PING, b"Hello, world!"), [b"Hello, world!"]),
    "2.3": Case(frame(PING, b"\0\xff\xfe\xfd"), [b"\0\xff\xfe\xfd"]),
    "2.4": Case(frame(PING, b"\xfe" * 125), [b"\xfe" * 125]),
    "2.5": Case(frame(PING, b"\xfe" * 126), [], 1002),
    "2.6": Case(frame(PING, b"\xfe" * 125), [b"\xfe" * 125], chunk=1),
    "2.7": Case(frame(PONG)),
    "2.8": Case(frame(PONG, b"unsolicited")),
    "2.9": Case(frame(PONG, b"unsolicited") + frame(PING, b"p"), [b"p"]),
    "2.10": Case(
        b"".join(frame(PING, b"%d" % i) for i in range(10)), [b"%d" % i for i in range(10)]
    ),
    "2.11": Case(
        b"".join(frame(PING, b"%d" % i) for i in range(10)),
        [b"%d" % i for i in range(10)],
        chunk=1,
    ),
}
RESERVED = {
    "3.1": Case(frame(TEXT, b"a", reserved=1), [], 1002),
    "3.2": Case(frame(TEXT, b"a") + frame(TEXT, b"a", reserved=2) + frame(PING), [ANSWER], 1002),
    "3.3": Case(
        frame(TEXT, b"a") + frame(TEXT, b"a", reserved=3) + frame(PING), [ANSWER], 1002, chunk=8
    ),
    "3.4": Case(frame(TEXT, b"a") + frame(TEXT, b"a", reserved=4), [ANSWER], 1002, chunk=1),
    "3.5": Case(frame(BINARY, b"\xff" * 8, reserved=5), [], 1002),
    "3.6": Case(frame(PING, b"\xff" * 8, reserved=6), [], 1002),
    "3.7": Case(frame(CLOSE, b"\3\xe8", reserved=7), [], 1002),
}
OPCODES = {
    f"4.1 opcode {opcode}": Case(frame(opcode) + frame(PING), [], 1002) for opcode in range(3, 8)
} | {
    f"4.2 opcode {opcode}": Case(frame(TEXT, b"a") + frame(opcode, b"x"), [ANSWER], 1002, chunk=9)
    for opcode in range(11, 16)
}
TWO = (b"frag", b"ment")
FRAGMENTS = {
    "5.1": Case(frame(PING, b"a", fin=False) + frame(MORE, b"b"), [], 1002),
    "5.2": Case(frame(PONG, b"a", fin=False) + frame(MORE, b"b"), [], 1002),
    "5.3": Case(fragments(TEXT, *TWO), [ANSWER]),
    "5.4": Case(fragments(TEXT, *TWO), [ANSWER], chunk=3),
    "5.5": Case(fragments(TEXT, *TWO), [ANSWER], chunk=1),
    "5.6": Case(
        frame(TEXT, b"a", fin=False) + frame(PING, b"in between") + frame(MORE, b"b"),
        [b"in between", ANSWER],
    ),
    "5.7": Case(
        frame(TEXT, b"a", fin=False) + frame(PING, b"in between") + frame(MORE, b"b"),
        [b"in between", ANSWER],
        chunk=4,
    ),
    "5.8": Case(
        frame(TEXT, b"a", fin=False) + frame(PING, b"in between") + frame(MORE, b"b"),
        [b"in between", ANSWER],
        chunk=1,
    ),
    "5.9": Case(frame(MORE, b"nothing began") + frame(TEXT, b"a"), [], 1002),
    "5.10": Case(frame(MORE, b"nothing began"), [], 1002, chunk=1),
    "5.12": Case(frame(MORE, b"nothing began", fin=False), [], 1002),
    "5.15": Case(fragments(TEXT, *TWO) + frame(MORE, b"c", fin=False), [ANSWER], 1002),
    "5.16": Case((frame(MORE, b"a", fin=False) + frame(TEXT, b"b")) * 2, [], 1002),
    "5.18": Case(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), [], 1002),
    "5.19": Case(
        frame(TEXT, b"1", fin=False)
        + frame(MORE, b"2", fin=False)
        + frame(PING, b"x")
        + frame(MORE, b"3", fin=False)
        + frame(PING, b"y")
        + frame(MORE, b"4"),
        [b"x", b"y", ANSWER],
    ),
}
GREETING = "κόσμε".encode()
BROKEN = GREETING + b"\xed\xa0\x80" + b"edited"
GOOD_TEXTS = [
    b"",
    GREETING,
    b"\x7f",
    "\ud7ff\ue000\ufffd\U00010000\U0010ffff".encode(),
    b"\xef\xbf\xbf",
]
BAD_TEXTS = [
    BROKEN,
    b"\xce",
    b"\xce\xba\xe1\xbd",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80\xbf",
    b"\xc0 ",
    b"\xfe",
    b"\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
]
UTF8 = (
    {
        f"6 good {number}": Case(frame(TEXT, text), [ANSWER])
        for number, text in enumerate(GOOD_TEXTS)
    }
    | {
        f"6 good {number} in pieces": Case(
            fragments(TEXT, *(bytes((byte,)) for byte in text)), [ANSWER], chunk=5
        )
        for number, text in enumerate(GOOD_TEXTS)
        if text
    }
    | {
        f"6 bad {number}": Case(frame(TEXT, text), [], 1007)
        for number, text in enumerate(BAD_TEXTS)
    }
    | {
        f"6 bad {number} in pieces": Case(
            fragments(TEXT, *(bytes((byte,)) for byte in text)), [], 1007, chunk=1
        )
        for number, text in enumerate(BAD_TEXTS)
    }
)
GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
CLOSING = {
    "7.1.1": Case(frame(TEXT, b"a"), [ANSWER]),
    "7.1.2": Case(close(1000) + close(1000), [], 1000),
    "7.1.3": Case(close(1000) + frame(PING), [], 1000),
    "7.1.4": Case(close(1000) + frame(TEXT, b"late"), [], 1000),
    "7.1.5": Case(frame(TEXT, b"a", fin=False) + close(1000) + frame(MORE, b"b"), [], 1000),
    "7.3.1": Case(close(), [], 0),
    "7.3.2": Case(frame(CLOSE, b"a"), [], 1002),
    "7.3.3": Case(close(1000), [], 1000),
    "7.3.4": Case(close(1000, b"Hello World!"), [], 1000),
    "7.3.5": Case(close(1000, b"*" * 123), [], 1000),
    "7.3.6": Case(close(1000, b"*" * 124), [], 1002),
    "7.5.1": Case(close(1000, BROKEN), [], 1007),
    **{f"7.7 code {code}": Case(close(code), [], code) for code in GOOD_CODES},
    **{f"7.9 code {code}": Case(close(code), [], 1002) for code in BAD_CODES},
}
MISC = {
    "10.1.1": Case(
        fragments(TEXT, *(wishes(4096)[i : i + 1300] for i in range(0, 4096, 1300))), []
    ),
    "10.1.1 too big": Case(
        fragments(TEXT, *(wishes(8192)[i : i + 1300] for i in range(0, 8192, 1300))), [], 1009
    ),
    "unmasked": Case(frame(TEXT, b"a", masked=False), [], 1002),
    "length in more bytes than needed": Case(b"\x81\xfe\x00\x01\0\0\0\0a", [], 1002),
    "length with its highest bit set": Case(
        b"\x81\xff" + struct.pack("!Q", 1 << 63) + b"\0\0\0\0", [], 1002
    ),
    "length beyond memory": Case(
        b"\x81\xff" + struct.pack("!Q", 1 << 40) + b"\0\0\0\0" + b"a" * 9000, [], 1009
    ),
}
CASES = FRAMING | PINGS | RESERVED | OPCODES | FRAGMENTS | UTF8 | CLOSING | MISC


@pytest.mark.parametrize("name", CASES)
async def test_a_case_of_the_protocol(tmp_path, name):
    case = CASES[name]
    async with standing(tmp_path) as stand:
        with trio.fail_after(10):
            async with raw_viewer(stand.port) as viewer:
                data = case.sent + (close(1000) if case.code == 1000 else b"")
                try:
                    await viewer.send(data, case.chunk)
                except trio.BrokenResourceError:
                    assert case.code != 1000
                seen, code = await viewer.until_close()
            assert code == case.code, (seen, code)
            answers = [payload if opcode == PONG else ANSWER for opcode, payload in seen]
            assert all(opcode == PONG or b'"Error"' in payload for opcode, payload in seen)
            assert answers == case.answers
            await stand.until(lambda: not stand.service.hub.viewers)
        assert stand.service.port.errors == 0
