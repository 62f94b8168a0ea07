"""The canary's way: what its hops tell, and what its absence does."""

import pytest

from geoosd.wire.canary import PATIENCE, SLOW, Watch, journey, passed

HOPS = {"bridge": 10.0, "compositor": 10.25, "broadcaster": 10.5, "viewer": 11.5}


def test_a_journey_has_a_leg_to_each_hop():
    found = journey("c1", HOPS)
    assert found.total == 1.5
    assert found.legs == {"compositor": 0.25, "broadcaster": 0.25, "viewer": 1.0}
    assert found.slowest == "viewer"
    assert found.is_sane


@pytest.mark.parametrize("missing", HOPS)
def test_a_canary_that_skipped_a_hop_tells_nothing(missing):
    assert journey("c1", {name: at for name, at in HOPS.items() if name != missing}) is None


def watch(*arrivals, opened=0.0):
    watched = Watch()
    watched.opened(opened)
    for hops, at in arrivals:
        watched.arrived(journey("c", hops), at)
    return watched


FAST = {"bridge": 1.0, "compositor": 1.001, "broadcaster": 1.002, "viewer": 1.004}


@pytest.mark.parametrize(
    ("watched", "now", "verdict", "says"),
    [
        (Watch(), 1000.0, "healthy", "waits for the first"),
        (watch(), 9.0, "healthy", "waits for the first"),
        (watch(), 11.0, "critical", "for 11 s"),
        (watch((FAST, 100.0)), 105.0, "healthy", "bridge to viewer in 4.0 ms"),
        (watch((FAST, 100.0)), 111.0, "critical", "for 11 s"),
        (watch((HOPS, 100.0)), 101.0, "warning", "1.5 s from the bridge to a viewer, 1.0 s of"),
        (watch((FAST, 100.0)), 100.0 + PATIENCE, "healthy", "4.0 ms"),
        (watch(({**FAST, "viewer": 1.0 + SLOW}, 100.0)), 101.0, "warning", "a canary took 1.0 s"),
        (watch((HOPS, 100.0), (FAST, 101.0)), 101.0, "healthy", "4.0 ms"),
        (watch(({**FAST, "broadcaster": 0.5}, 5.0)), 6.0, "warning", "the clock was set"),
    ],
)
def test_the_path_is_judged_by_what_came_through(watched, now, verdict, says):
    found, summary, remedy = watched.finding(now)
    assert found == verdict
    assert says in summary
    assert (remedy is None) == (verdict == "healthy")


def test_the_slow_hop_is_named_by_its_daemon():
    late = {**FAST, "compositor": 3.0, "broadcaster": 3.0, "viewer": 3.0}
    assert watch((late, 1.0)).finding(2.0)[2] == "geoosctl logs --unit compositor"
    assert watch((HOPS, 1.0)).finding(2.0)[2] == "geoosctl logs --unit broadcaster"


def test_while_the_way_is_known_to_be_broken_nothing_is_expected():
    watched = watch((FAST, 100.0))
    watched.closed()
    assert watched.silent(500.0) == 0.0
    assert watched.finding(500.0)[0] == "healthy"
    watched.opened(500.0)
    assert watched.finding(511.0)[0] == "critical"


def test_a_daemon_tells_when_one_passed():
    assert passed(None) == {}
    assert passed(1.25) == {"canary": "1.250"}
