"""What control sees that no daemon can say of itself."""

import pytest

from geoosd.control.core.examine import Examiner, Host, Socket
from geoosd.control.core.observation import Absence, Observation
from geoosd.wire.reports import DaemonHealth, DaemonStatus, Queue

MB = 1 << 20


def host(now=100.0, **given):
    facts = {"wall": 1e9 + now, "monotonic": now, "version": "1.0", "state_dir": "/state"}
    return Host(**{"disk_free": 9000 * MB, **facts, **given})


def seen(name="bridge", *, queues=(), restarts=0, version="1.0", memory=1, **details):
    status = DaemonStatus(
        name, "active", "", 1, version, 0.0, memory * MB, queues=list(queues), details=details
    )
    return Observation(name, status, DaemonHealth("healthy", []), restarts=restarts)


def check(found, name):
    daemon, _, wanted = name.partition(": ")
    return next((each for each in found[daemon] if each.name == wanted), None)


def verdict(found, name):
    got = check(found, name)
    return None if got is None else got.status


def test_all_is_well():
    found = Examiner().take([seen(), seen("control")], host())
    assert {each.status for checks in found.values() for each in checks} == {"healthy"}
    assert [each.name for each in found["bridge"]] == ["queues"]
    names = [each.name for each in found["control"]]
    assert names == ["queues", "versions", "disk", "clock", "sockets"]


def test_a_queue_that_is_nearly_full_or_lost_something():
    examiner = Examiner()

    def look(now, depth, dropped):
        outbox = Queue("outbox", depth, 100, "drop_oldest", dropped)
        ring = Queue("feed ring", 100, 100, "drop_oldest", dropped)
        return check(examiner.take([seen(queues=[outbox, ring])], host(now)), "bridge: queues")

    assert look(0.0, 79, 5).status == "healthy"
    full = look(1.0, 80, 5)
    assert (full.status, full.remedy) == ("warning", "geoosctl status")
    assert full.summary == "outbox holds 80 of 100"
    assert look(2.0, 100, 8).summary == "outbox holds 100 of 100; outbox lost 3"
    assert look(61.0, 0, 8).summary == "outbox lost 3"
    assert look(63.0, 0, 8).status == "healthy"


def test_a_daemon_that_starts_over_and_over():
    examiner = Examiner()
    for restarts in range(3):
        found = examiner.take([seen(restarts=restarts)], host(float(restarts)))
        assert check(found, "bridge: restarts") is None
    looping = check(examiner.take([seen(restarts=3)], host(4.0)), "bridge: restarts")
    assert (looping.status, looping.summary) == (
        "critical",
        "was restarted 3 times within 10 minutes",
    )
    assert check(examiner.take([seen(restarts=3)], host(700.0)), "bridge: restarts") is None


def test_one_that_does_not_answer_has_no_queues():
    absent = Observation("bridge", absent=Absence("why", "do"))
    assert Examiner().take([absent], host())["bridge"] == []


@pytest.mark.parametrize(
    ("memory", "limit", "status"),
    [
        (100, "", None),
        (100, "none", None),
        (89, str(100 * MB), None),
        (90, str(100 * MB), "warning"),
    ],
)
def test_memory_near_the_managers_limit(memory, limit, status):
    found = Examiner().take([seen(memory=memory, memory_limit=limit)], host())
    assert verdict(found, "bridge: memory") == status
    if status:
        assert check(found, "bridge: memory").remedy == "geoosctl restart bridge"


def test_versions_that_differ():
    found = check(
        Examiner().take([seen(version="0.9"), seen("compositor")], host()), "control: versions"
    )
    assert (found.status, found.summary) == ("warning", "bridge runs 0.9; control runs 1.0")
    assert found.remedy == "geoosctl restart"


@pytest.mark.parametrize(
    ("free", "status"), [(None, "unknown"), (511 * MB, "warning"), (63 * MB, "critical")]
)
def test_the_disk(free, status):
    found = Examiner().take([], host(disk_free=free))
    assert verdict(found, "control: disk") == status


@pytest.mark.parametrize(
    ("available", "total", "status"),
    [(None, None, None), (5, 0, None), (60, 1000, "healthy"), (49, 1000, "warning")],
)
def test_the_machines_memory(available, total, status):
    found = Examiner().take([], host(memory_available=available, memory_total=total))
    assert verdict(found, "control: memory") == status


def test_a_clock_that_was_set():
    examiner = Examiner()
    assert verdict(examiner.take([], host(0.0)), "control: clock") == "healthy"
    assert verdict(examiner.take([], host(10.0)), "control: clock") == "healthy"
    stepped = check(examiner.take([], host(20.0, wall=1e9 + 20 + 3600)), "control: clock")
    assert stepped.summary == "the clock was set by +3600 s, 0 s ago; ages may be wrong"
    later = examiner.take([], host(79.0, wall=1e9 + 79 + 3600))
    assert verdict(later, "control: clock") == "warning"
    later = examiner.take([], host(80.0, wall=1e9 + 80 + 3600))
    assert verdict(later, "control: clock") == "healthy"


@pytest.mark.parametrize(
    ("modes", "status", "says", "remedy"),
    [
        ([0o660, 0o660], "healthy", "2 are there", None),
        ([0o600, None], "critical", "/b is gone", "remake b"),
        ([0o660, 0o666], "critical", "/b has mode 0666 instead of 0660", "chmod 660 /b"),
        ([0o000, 0o660], "critical", "/a has mode 0000", "chmod 660 /a"),
    ],
)
def test_sockets_that_nobody_can_open(modes, status, says, remedy):
    sockets = [
        Socket(f"/{name}", mode, f"remake {name}") for name, mode in zip("ab", modes, strict=True)
    ]
    found = check(
        Examiner().take([], host(sockets=sockets, group_needs_sockets=True)), "control: sockets"
    )
    assert (found.status, found.remedy) == (status, remedy)
    assert says in found.summary


@pytest.mark.parametrize(
    ("mode", "status"), [(0o600, "healthy"), (0o660, "healthy"), (0o400, "critical")]
)
def test_sockets_of_one_user_need_no_group(mode, status):
    found = check(Examiner().take([], host(sockets=[Socket("/a", mode, "")])), "control: sockets")
    assert found.status == status
