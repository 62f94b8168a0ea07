"""geoosd.bridge.core.queue: slots, room, turns among clients."""

from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core.queue import FairQueue


def test_slots_then_room_then_nothing():
    queue = FairQueue(slots=1, room=1)
    assert queue.enter("a", "me") == "turn"
    assert queue.enter("b", "me") == "waits"
    assert queue.enter("c", "me") == "full"
    assert (queue.running, queue.waiting, queue.refused) == (1, 1, 1)


def test_first_come_first_served_for_one_client():
    queue = FairQueue(slots=1, room=9)
    for ticket in "abc":
        queue.enter(ticket, "me")
    assert queue.order() == ["b", "c"]
    assert queue.leave("a") == ["b"]
    assert queue.order() == ["c"]


def test_clients_take_turns():
    queue = FairQueue(slots=1, room=9)
    queue.enter("0", "batch")
    for ticket in ("b1", "b2", "b3"):
        queue.enter(ticket, "batch")
    queue.enter("p1", "person")
    queue.enter("p2", "person")
    expected = ["b1", "p1", "b2", "p2", "b3"]
    assert queue.order() == expected
    served, ticket = [], "0"
    while granted := queue.leave(ticket):
        (ticket,) = granted
        served.append(ticket)
    assert served == expected
    assert queue.running == 0


def test_giving_up_makes_no_hole():
    queue = FairQueue(slots=1, room=9)
    queue.enter("a", "me")
    queue.enter("b", "me")
    queue.enter("c", "you")
    queue.enter("d", "me")
    assert queue.leave("b") == []
    assert queue.leave("c") == []
    assert queue.leave("nobody") == []
    assert queue.order() == ["d"]
    assert queue.leave("a") == ["d"]
    assert queue.leave("d") == [], "nor a turn for who has given up"
    assert (queue.running, queue.waiting) == (0, 0)


@given(
    slots=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from("xyz"), st.booleans(), st.integers(0, 99))),
)
def test_nobody_is_lost_and_the_order_holds(slots, steps):
    queue = FairQueue(slots=slots, room=5)
    running, waiting = set(), []
    for number, (client, enters, which) in enumerate(steps):
        if enters:
            entry = queue.enter(number, client)
            assert entry == (
                "turn" if len(running) < slots else "waits" if len(waiting) < 5 else "full"
            )
            if entry == "turn":
                running.add(number)
        elif running or waiting:
            everyone = [*sorted(running), *waiting]
            chosen = everyone[which % len(everyone)]
            expected = [each for each in queue.order() if each != chosen]
            granted = queue.leave(chosen)
            running.discard(chosen)
            assert len(granted) <= 1
            if granted:
                assert granted == expected[:1]
                running.add(granted[0])
        waiting = queue.order()
        assert queue.running == len(running) <= slots
        assert queue.waiting == len(waiting) <= 5
        assert not waiting or len(running) == slots
