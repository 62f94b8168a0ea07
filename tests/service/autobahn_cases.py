"""The cases of the Autobahn test suite's families 1–7 and 10, by their numbers there.

Read from autobahntestsuite 25.10.1 (Apache-2.0). That suite wants an echo. Ours answers a text that
is no Subscribe, and every binary message, by an Error: where the suite expects an echo, a case here
expects that. Messages end at 4 KiB, so what is larger there must be refused with 1009 here.
Families 9, 12 and 13 are about speed and compression, which is not offered; there is no 8 or 11.
"""

import struct
from typing import NamedTuple

from broadcaster_wire import BINARY, CLOSE, MORE, PING, PONG, TEXT, close, frame

ANSWER = "an Error"


class Case(NamedTuple):
    """*sent* bytes, *chunk* at a time; then the *answers* and the close *code* that must come.

    An answer is ANSWER or the payload of a Pong. When *code* is 1000 the case closes by itself.
    """

    sent: bytes
    answers: list = []  # noqa: RUF012 - never changed
    code: int | None = 1000
    chunk: int | None = None


def fragments(opcode, *parts):
    last = len(parts) - 1
    return b"".join(
        frame(opcode if i == 0 else MORE, part, fin=i == last) for i, part in enumerate(parts)
    )


def octets(text):
    """A text message in frames of one byte."""
    return fragments(TEXT, *(bytes((byte,)) for byte in text))


def numbered(family, cases):
    return {f"{family}.{number}": case for number, case in enumerate(cases, 1)}


def sizes(opcode, byte):
    return [
        *(Case(frame(opcode, byte * size), [ANSWER]) for size in (0, 125, 126, 127, 128)),
        *(Case(frame(opcode, byte * size), [], 1009) for size in (65535, 65536)),
        Case(frame(opcode, byte * 65536), [], 1009, chunk=997),
    ]


TEN = [b"payload-%d" % number for number in range(10)]
TEN_PINGS = b"".join(frame(PING, payload) for payload in TEN)
PINGS = [
    Case(frame(PING), [b""]),
    Case(frame(PING, b"Hello, world!"), [b"Hello, world!"]),
    Case(frame(PING, b"\0\xff\xfe\xfd\xfc\xfb\0\xff"), [b"\0\xff\xfe\xfd\xfc\xfb\0\xff"]),
    Case(frame(PING, b"\xfe" * 125), [b"\xfe" * 125]),
    Case(frame(PING, b"\xfe" * 126), [], 1002),
    Case(frame(PING, b"\xfe" * 125), [b"\xfe" * 125], chunk=1),
    Case(frame(PONG)),
    Case(frame(PONG, b"unsolicited pong payload")),
    Case(frame(PONG, b"unsolicited") + frame(PING, b"ping payload"), [b"ping payload"]),
    Case(TEN_PINGS, TEN),
    Case(TEN_PINGS, TEN, chunk=1),
]


def after_a_text(bad, chunk=None):
    """A small text, what breaks the protocol, a Ping."""
    return Case(frame(TEXT, b"Hello, world!") + bad + frame(PING), [ANSWER], 1002, chunk)


RESERVED = [
    Case(frame(TEXT, b"Hello, world!", reserved=1), [], 1002),
    after_a_text(frame(TEXT, b"Hello, world!", reserved=2)),
    after_a_text(frame(TEXT, b"Hello, world!", reserved=3), chunk=19),
    after_a_text(frame(TEXT, b"Hello, world!", reserved=4), chunk=1),
    Case(frame(BINARY, b"\0\xff\xfe\xfd\xfc\xfb\0\xff", reserved=5), [], 1002),
    Case(frame(PING, b"Hello, world!", reserved=6), [], 1002),
    Case(frame(CLOSE, b"\3\xe8", reserved=7), [], 1002),
]


def opcodes(first):
    return [
        Case(frame(first), [], 1002),
        Case(frame(first + 1, b"reserved opcode payload"), [], 1002),
        after_a_text(frame(first + 2)),
        after_a_text(frame(first + 3, b"Hello, world!")),
        after_a_text(frame(first + 4, b"Hello, world!"), chunk=1),
    ]


TWO = fragments(TEXT, b"fragment1", b"fragment2")
WITH_A_PING = (
    frame(TEXT, b"fragment1", fin=False) + frame(PING, b"ping payload") + frame(MORE, b"fragment2")
)
FRAME = 15
"""Bytes of a frame that says "fragment1": sent one by one."""


def nothing_to_continue(fin):
    """Cases 5.9 to 5.14: in one chop, by frames, by octets."""
    stray = frame(MORE, b"non-continuation payload", fin=fin)
    sent = stray + frame(TEXT, b"Hello, world!")
    return [Case(sent, [], 1002, chunk) for chunk in (None, len(stray), 1)]


def stray_before_two(fin):
    return Case((frame(MORE, b"fragment1", fin=fin) + TWO) * 2, [], 1002)


FIVE = (
    frame(TEXT, b"fragment1", fin=False)
    + frame(MORE, b"fragment2", fin=False)
    + frame(PING, b"pongme 1!")
    + frame(MORE, b"fragment3", fin=False)
    + frame(MORE, b"fragment4", fin=False)
    + frame(PING, b"pongme 2!")
    + frame(MORE, b"fragment5")
)
FRAGMENTS = [
    Case(frame(PING, b"fragment1", fin=False) + frame(MORE, b"fragment2"), [], 1002),
    Case(frame(PONG, b"fragment1", fin=False) + frame(MORE, b"fragment2"), [], 1002),
    *(Case(TWO, [ANSWER], chunk=chunk) for chunk in (None, FRAME, 1)),
    *(Case(WITH_A_PING, [b"ping payload", ANSWER], chunk=chunk) for chunk in (None, FRAME, 1)),
    *nothing_to_continue(fin=True),
    *nothing_to_continue(fin=False),
    Case(TWO + frame(MORE, b"3", fin=False) + frame(TEXT, b"4"), [ANSWER], 1002),
    stray_before_two(fin=False),
    stray_before_two(fin=True),
    Case(frame(TEXT, b"fragment1", fin=False) + frame(TEXT, b"fragment2"), [], 1002),
    Case(FIVE, [b"pongme 1!", b"pongme 2!", ANSWER]),
    Case(FIVE, [b"pongme 1!", b"pongme 2!", ANSWER], chunk=FRAME),
]

KOSME = "κ\u1f79σμε".encode()  # 11 bytes
HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()
BROKEN = KOSME + b"\xed\xa0\x80" + b"edited"
TOO_FAR = KOSME + b"\xf4\x90\x80\x80" + b"edited"


def begun(payload, sent):
    """The beginning of one frame of *payload*: its head and *sent* bytes."""
    whole = frame(TEXT, payload)
    return whole[: len(whole) - len(payload) + sent]


VALID = [
    Case(frame(TEXT, HELLO), [ANSWER]),
    Case(fragments(TEXT, "Hello-µ@ßöä".encode(), "üàá-UTF-8!!".encode()), [ANSWER]),
    Case(octets(HELLO), [ANSWER]),
    Case(octets(KOSME), [ANSWER]),
]
FAIL_FAST = [
    # What comes after the byte that makes it invalid is never sent: nothing waits for it.
    Case(frame(TEXT, KOSME, fin=False) + frame(MORE, b"\xf4\x90\x80\x80", fin=False), [], 1007),
    Case(frame(TEXT, TOO_FAR[:12], fin=False) + frame(MORE, b"\x90", fin=False), [], 1007),
    Case(begun(TOO_FAR, len(KOSME) + 4), [], 1007),
    Case(begun(TOO_FAR, 13), [], 1007),
]
INCOMPLETE = [
    *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80"),
    *(b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"),
]
LONELY = [(0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD)]
LONE_SURROGATES = "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf"
PAIRS = (
    "eda080edb080 eda080edbfbf edadbfedb080 edadbfedbfbf "
    "edae80edb080 edae80edbfbf edafbfedb080 edafbfedbfbf"
)
NO_CHARACTERS = [
    b"\xef\xbf\xbe",
    b"\xef\xbf\xbf",
    *(chr(plane << 16 | low).encode() for plane in range(1, 17) for low in (0xFFFE, 0xFFFF)),
]


def of_hex(text):
    return [bytes.fromhex(each) for each in text.split()]


SEQUENCES = [
    [
        *(f"hello{sign}world".encode() for sign in "$¢€\U00024b62"),
        KOSME,
    ],
    [KOSME[:length] for length in range(1, len(KOSME) + 1)],
    of_hex("00 c280 e0a080 f0908080"),
    of_hex("f888808080 fc8480808080"),
    of_hex("7f dfbf efbfbf f48fbfbf"),
    of_hex("f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf"),
    of_hex("ed9fbf ee8080 efbfbd f48fbfbf f4908080"),
    [*of_hex("80 bf 80bf 80bf80 80bf80bf 80bf80bf80 80bf80bf80bf"), bytes(range(0x80, 0xBF))],
    [b"".join(b"%c " % byte for byte in range(*ends)) for ends in LONELY],
    INCOMPLETE,
    [b"".join(INCOMPLETE)],
    of_hex("fe ff fefeffff"),
    of_hex("c0af e080af f08080af f8808080af fc80808080af"),
    of_hex("c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf"),
    of_hex("c080 e08080 f0808080 f880808080 fc8080808080"),
    of_hex(LONE_SURROGATES),
    of_hex(PAIRS),
    NO_CHARACTERS,
    of_hex("efbfb9 efbfba efbfbb efbfbc efbfbd efbfbe efbfbf"),
]
"""6.5 and on: what is valid is what Python decodes."""


def is_valid(text):
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def sequence(text):
    return Case(frame(TEXT, text), *(([ANSWER],) if is_valid(text) else ([], 1007)))


CLOSING = [
    Case(frame(TEXT, b"Hello World!"), [ANSWER]),
    Case(close(1000) + close(1000), [], 1000),
    Case(close(1000) + frame(PING), [], 1000),
    Case(close(1000) + frame(TEXT, b"Hello World!"), [], 1000),
    Case(frame(TEXT, b"fragment1", fin=False) + close(1000) + frame(MORE, b"2"), [], 1000),
    Case(
        frame(TEXT, b"BAsd7&jh23" * 26215) + frame(TEXT, b"Hello") + close(1000) + frame(PING),
        [],
        1009,
    ),
]
REASONS = [
    Case(close(), [], 0),
    Case(frame(CLOSE, b"a"), [], 1002),
    Case(close(1000), [], 1000),
    Case(close(1000, b"Hello World!"), [], 1000),
    Case(close(1000, b"*" * 123), [], 1000),
    Case(close(1000, b"*" * 124), [], 1002),
]
GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
UNDEFINED_CODES = (5000, 65535)

CASES = {
    **numbered("1.1", sizes(TEXT, b"*")),
    **numbered("1.2", sizes(BINARY, b"\xfe")),
    **numbered("2", PINGS),
    **numbered("3", RESERVED),
    **numbered("4.1", opcodes(3)),
    **numbered("4.2", opcodes(11)),
    **numbered("5", FRAGMENTS),
    "6.1.1": Case(frame(TEXT), [ANSWER]),
    "6.1.2": Case(fragments(TEXT, b"", b"", b""), [ANSWER]),
    "6.1.3": Case(fragments(TEXT, b"", b"middle frame payload", b""), [ANSWER]),
    **numbered("6.2", VALID),
    "6.3.1": Case(frame(TEXT, BROKEN), [], 1007),
    "6.3.2": Case(octets(BROKEN), [], 1007),
    **numbered("6.4", FAIL_FAST),
    **{
        name: case
        for family, texts in enumerate(SEQUENCES, 5)
        for name, case in numbered(f"6.{family}", map(sequence, texts)).items()
    },
    **numbered("7.1", CLOSING),
    **numbered("7.3", REASONS),
    "7.5.1": Case(close(1000, BROKEN), [], 1007),
    **numbered("7.7", [Case(close(code), [], code) for code in GOOD_CODES]),
    **numbered("7.9", [Case(close(code), [], 1002) for code in BAD_CODES]),
    **numbered("7.13", [Case(close(code), [], 1002) for code in UNDEFINED_CODES]),
    "10.1.1": Case(fragments(TEXT, *[b"*" * 1300] * 50, b"*" * 536), [], 1009),
}
_COUNTS = """
    1.1:8 1.2:8 2:11 3:7 4.1:5 4.2:5 5:20
    6.1:3 6.2:4 6.3:2 6.4:4 6.5:5 6.6:11 6.7:4 6.8:2 6.9:4 6.10:3 6.11:5 6.12:8 6.13:5 6.14:10
    6.15:1 6.16:3 6.17:5 6.18:5 6.19:5 6.20:7 6.21:8 6.22:34 6.23:7
    7.1:6 7.3:6 7.5:1 7.7:13 7.9:9 7.13:2 10.1:1
"""
COUNTS = dict(part.split(":") for part in _COUNTS.split())
"""How many cases each part of the suite has."""
_HUGE = struct.pack("!Q", 1 << 63)
_BEYOND = struct.pack("!Q", 1 << 40)
MORE_CASES = {
    "chopped": Case(frame(TEXT, b"*" * 4000), [ANSWER], chunk=997),
    "as large as may be": Case(fragments(TEXT, *[b"*" * 1024] * 4), [ANSWER]),
    "one byte larger": Case(fragments(TEXT, *[b"*" * 1024] * 4, b"*"), [], 1009),
    "unmasked": Case(frame(TEXT, b"a", masked=False), [], 1002),
    "length in more bytes than needed": Case(b"\x81\xfe\x00\x01\0\0\0\0a", [], 1002),
    "length with its highest bit set": Case(b"\x81\xff" + _HUGE + b"\0\0\0\0", [], 1002),
    "length beyond memory": Case(b"\x81\xff" + _BEYOND + b"\0\0\0\0" + b"a" * 9000, [], 1009),
    **{
        f"by octets: {text.hex()[:40]}": Case(octets(text), *sequence(text)[1:3])
        for texts in SEQUENCES
        for text in texts
    },
}
"""Beyond the suite."""
