"""geoosd.runtime.health: worst first, remedies, since when."""

from geoosd.runtime.health import HealthRegistry


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_nothing_checked_is_unknown():
    report = HealthRegistry().report()
    assert (report.status, report.checks) == ("unknown", [])


def test_the_worst_comes_first_with_its_remedy():
    health = HealthRegistry(Clock())
    health.set("b", "healthy", "fine")
    health.set("a", "healthy", "fine")
    health.set("link", "critical", "down", "start it")
    health.set("disk", "warning", "nearly full", "make room")
    report = health.report()
    assert report.status == "critical"
    assert [check.name for check in report.checks] == ["link", "disk", "a", "b"]
    assert report.checks[0].remedy == "start it"
    assert report.checks[2].remedy is None


def test_since_is_when_the_verdict_changed():
    clock = Clock()
    health = HealthRegistry(clock)
    health.set("link", "critical", "down")
    clock.now = 200.0
    health.set("link", "critical", "still down")
    (check,) = health.report().checks
    assert (check.summary, check.since) == ("still down", 100.0)
    health.set("link", "healthy", "up")
    assert health.report().checks[0].since == 200.0


def test_a_probe_is_asked_each_time_and_may_be_removed():
    found = [("healthy", "empty", None), ("warning", "full", "wait")]
    health = HealthRegistry(Clock())
    health.add_probe("queue", lambda: found.pop(0))
    assert health.report().status == "healthy"
    assert health.report().status == "warning"
    health.remove("queue")
    assert health.report().checks == []
    health.remove("queue")
