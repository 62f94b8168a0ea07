"""Several workers as one: sums, the worst, and counters that go on."""

from geoosd.broadcaster.core import together
from geoosd.broadcaster.core.together import Sample, Totals
from geoosd.wire.reports import Check, DaemonHealth, DaemonStatus, Link, Queue


def status(viewers, seq, rate, lag, dropped):
    return DaemonStatus(
        name="broadcaster",
        state="active",
        status="",
        pid=100 + viewers,
        version="1",
        since=float(seq),
        memory_bytes=1000,
        addresses=["http://127.0.0.1:8765/"],
        rates={"messages": rate},
        queues=[
            Queue("ring", seq, 8192, "drop_oldest", 7),
            Queue("viewer lag", lag, 1000, "drop_oldest", dropped),
        ],
        links=[Link("feed", "/run/feed.sock", "connected", 1.0)],
        details={"viewers": str(viewers), "lagging": "1", "seq": str(seq), "epoch": "e"},
    )


def test_a_status_of_two():
    one = together.status_of({2: status(3, 40, 10.0, 5, 2), 1: status(4, 50, 9.5, 80, 3)})
    assert one.status == "7 viewers"
    assert one.memory_bytes == 2000
    assert one.since == 40.0
    assert one.rates == {"messages": 10.0}
    assert one.queues == [
        Queue("ring", 50, 8192, "drop_oldest", 7),
        Queue("viewer lag", 80, 1000, "drop_oldest", 5),
    ]
    assert [link.name for link in one.links] == ["feed 1", "feed 2"]
    assert one.details == {
        "viewers": "7",
        "lagging": "2",
        "prompts": "0",
        "seq": "50",
        "epoch": "e",
    }
    assert together.status_of({1: status(1, 1, 1.0, 0, 0)}).status == "1 viewer"


def test_what_the_fullest_worker_has_lost_of_the_same_feed_counts_once():
    one, two = status(1, 1, 1.0, 0, 2), status(1, 1, 1.0, 0, 3)
    two.queues[0] = Queue("ring", 1, 16_384, "drop_oldest", 9)
    ring, lag = together.status_of({1: one, 2: two}).queues
    assert (ring.capacity, ring.dropped, lag.dropped) == (16_384, 9, 5)


def test_checks_say_who_says_what_where_they_differ():
    fine = Check("feed", "healthy", "connected")
    bad = Check("feed", "critical", "no feed", "geoosctl status", 3.0)
    agreed = together.checks_of(
        {1: DaemonHealth("healthy", [fine]), 2: DaemonHealth("healthy", [fine])}
    )
    assert agreed == [fine]
    [check] = together.checks_of(
        {2: DaemonHealth("critical", [bad]), 1: DaemonHealth("healthy", [fine])}
    )
    assert check == Check(
        "feed",
        "critical",
        "worker 1: connected; worker 2: no feed",
        "geoosctl status",
        3.0,
    )


SENDS = Sample("broadcast_sends", "counter", "broadcast_sends_total", ())
FED = Sample("broadcast_messages", "counter", "broadcast_messages_total", ())
ACTIVE = Sample("broadcast_clients_active", "gauge", "broadcast_clients_active", ())


def test_totals_go_on_when_a_worker_is_started_again():
    totals = Totals()
    totals.take(1, 100, {SENDS: 5.0, FED: 8.0, ACTIVE: 2.0})
    totals.take(2, 200, {SENDS: 1.0, FED: 9.0, ACTIVE: 3.0})
    assert totals.all([1, 2]) == {SENDS: 6.0, FED: 9.0, ACTIVE: 5.0}
    # Gone for the moment: what it has sent stays sent, its viewers are not there.
    assert totals.all([2]) == {SENDS: 6.0, FED: 9.0, ACTIVE: 3.0}
    totals.take(1, 101, {SENDS: 2.0, FED: 8.0, ACTIVE: 1.0})
    assert totals.all([1, 2]) == {SENDS: 8.0, FED: 16.0, ACTIVE: 4.0}
    totals.take(1, 101, {SENDS: 3.0, ACTIVE: 0.0})
    assert totals.all([1, 2])[SENDS] == 9.0
