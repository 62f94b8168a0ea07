"""geoosd.bridge.core.outbox: numbers, acknowledgements, overflow."""

from geoosd.bridge.core.outbox import Outbox
from geoosd.wire.framing import FrameDecoder
from geoosd.wire.messages import (
    Gap,
    Message,
    SessionEnded,
    SessionStarted,
    TokenVisualizationUpdate,
    decode,
)


def token(session: str, position: int) -> TokenVisualizationUpdate:
    return TokenVisualizationUpdate(f"t{position}", position, session=session)


def read(data: bytes) -> list[Message]:
    return [decode(frame, 0.0) for frame in FrameDecoder().receive(data)]


def drain(outbox: Outbox) -> list[Message]:
    found = []
    while data := outbox.take():
        found += read(data)
    return found


def test_numbers_and_acknowledgements():
    outbox = Outbox(10, first=7)
    assert outbox.next == 7
    assert not outbox.ready
    for position in range(3):
        outbox.push(token("a", position), 5.0)
    assert outbox.ready
    sent = drain(outbox)
    assert [(message.n, message.timestamp) for message in sent] == [(7, 5.0), (8, 5.0), (9, 5.0)]
    assert outbox.take() == b""
    assert outbox.next == 7
    outbox.acknowledge(8)
    assert len(outbox) == 1
    assert outbox.next == 9
    outbox.acknowledge(100)
    assert outbox.next == 10
    assert outbox.statistics() == (0, 10, 0, 0, 0, 3, 10)


def test_resent_after_a_reconnect():
    outbox = Outbox(10)
    for position in range(4):
        outbox.push(token("a", position), 1.0)
    drain(outbox)
    outbox.acknowledge(2)
    outbox.push(token("a", 4), 1.0)
    outbox.rewind()
    assert [message.n for message in drain(outbox)] == [3, 4, 5]


def test_an_acknowledgement_of_what_was_not_sent_lets_nothing_go():
    outbox = Outbox(10)
    outbox.push(token("a", 0), 1.0)
    outbox.acknowledge(50)
    assert len(outbox) == 1


def test_take_is_bounded_but_never_stuck():
    outbox = Outbox(100)
    for position in range(10):
        outbox.push(token("a", position), 1.0)
    size = len(outbox.take(1))
    assert 0 < size < 1000
    assert len(read(outbox.take(3 * size + 20))) == 3


def test_overflow_folds_ended_sessions_first():
    outbox = Outbox(20)
    outbox.push(SessionStarted("live"), 1.0)
    outbox.push(token("live", 0), 1.0)
    outbox.push(SessionStarted("over"), 1.0)
    for position in range(16):
        outbox.push(token("over", position), 1.0)
    outbox.push(SessionEnded("over"), 1.0)
    assert outbox.statistics().dropped == 0
    outbox.push(token("live", 1), 1.0)
    left = [message.payload for message in drain(outbox)]
    assert left == [
        SessionStarted("live"),
        token("live", 0),
        SessionStarted("over"),
        SessionEnded("over"),
        token("live", 1),
        Gap(None, None, 16, "the bridge's outbox overflowed"),
    ]


def test_overflow_then_drops_the_oldest_and_says_so_once():
    outbox = Outbox(16)
    outbox.push(SessionStarted("a"), 1.0)
    for position in range(200):
        outbox.push(token("a", position), 1.0)
    statistics = outbox.statistics()
    assert statistics.depth <= 17
    assert statistics.gaps == 1
    payloads = [message.payload for message in drain(outbox)]
    gaps = [payload for payload in payloads if isinstance(payload, Gap)]
    tokens = [payload for payload in payloads if isinstance(payload, TokenVisualizationUpdate)]
    assert payloads[0] == SessionStarted("a")
    assert [gap.dropped for gap in gaps] == [200 - len(tokens)]
    assert statistics.dropped == 200 - len(tokens)
    assert tokens[-1].sequence_position == 199


def test_a_gap_that_was_sent_stands_and_a_new_loss_gets_its_own():
    outbox = Outbox(8)
    for position in range(9):
        outbox.push(token("a", position), 1.0)
    first = drain(outbox)
    for position in range(9, 12):
        outbox.push(token("a", position), 1.0)
    second = drain(outbox)
    gaps = [m.payload.dropped for m in first + second if isinstance(m.payload, Gap)]
    assert len(gaps) == 2
    assert sum(gaps) == outbox.statistics().dropped


def test_what_may_not_be_dropped_stays_while_its_session_lives():
    outbox = Outbox(4)
    for number in range(10):
        outbox.push(SessionStarted(str(number)), 1.0)
    assert len(outbox) == 10
    assert outbox.statistics().dropped == 0


def test_ended_sessions_go_as_a_whole_at_last():
    outbox = Outbox(8)
    outbox.push(SessionStarted("live"), 1.0)
    for number in range(100):
        outbox.push(SessionStarted(str(number)), 1.0)
        outbox.push(SessionEnded(str(number)), 1.0)
    assert len(outbox) <= 9
    payloads = [message.payload for message in drain(outbox)]
    assert payloads[0] == SessionStarted("live")
    gaps = [payload.dropped for payload in payloads if isinstance(payload, Gap)]
    assert gaps == [201 - (len(payloads) - 1)]


def test_resize():
    outbox = Outbox(100)
    for position in range(50):
        outbox.push(token("a", position), 1.0)
    outbox.resize(10)
    outbox.push(token("a", 50), 1.0)
    assert len(outbox) <= 11
    outbox.resize(0)
    assert outbox.statistics().capacity == 1


def test_room_is_half_of_it():
    outbox = Outbox(4)
    for _ in range(2):
        assert outbox.has_room
        outbox.push(SessionStarted("s"), 0.0)
    outbox.push(SessionStarted("s"), 0.0)
    assert not outbox.has_room
