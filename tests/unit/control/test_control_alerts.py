"""Alerts fire once and resolve once; quantities come out of the metrics."""

import pytest

from geoosd.control.core.alerts import RESOLVE_SECONDS, Alerts, Quantities
from geoosd.wire.alerting import parse

PAS, FAILURES = parse("pas < 0.85"), parse("upstream_failures > 3")


def turns(alerts, value, now, quantity="pas"):
    found = alerts.take({quantity: value}, now, 1000.0 + now)
    return [(what, alert.rule) for what, alert in found]


def test_an_alert_is_told_when_it_fires_and_when_it_resolves():
    alerts = Alerts([PAS, FAILURES])
    assert turns(alerts, 0.9, 0.0) == []
    assert turns(alerts, 0.8, 1.0) == [("fired", "pas < 0.85")]
    assert turns(alerts, 0.7, 2.0) == []
    (firing,) = alerts.firing
    assert (firing.value, firing.since) == (0.7, 1001.0)
    assert turns(alerts, 0.9, 3.0) == []
    assert turns(alerts, 0.9, 1.9 + RESOLVE_SECONDS) == []
    assert turns(alerts, 0.9, 2.0 + RESOLVE_SECONDS) == [("resolved", "pas < 0.85")]
    assert alerts.firing == []


def test_one_that_comes_and_goes_is_told_of_once():
    alerts = Alerts([FAILURES])
    told = [
        turn
        for number in range(100)
        for turn in turns(alerts, 4 if number % 10 == 0 else 0, float(number), "upstream_failures")
    ]
    assert told == [("fired", "upstream_failures > 3")]


def test_what_is_not_known_leaves_it_as_it_was():
    alerts = Alerts([PAS])
    turns(alerts, 0.5, 0.0)
    assert turns(alerts, None, 500.0) == []
    assert turns(alerts, 9.0, 500.0, "restarts") == []
    assert len(alerts.firing) == 1


def test_other_rules_resolve_what_fires_by_the_old_ones():
    alerts = Alerts([PAS, FAILURES])
    turns(alerts, 0.5, 0.0)
    assert [(what, each.rule) for what, each in alerts.configure([FAILURES])] == [
        ("resolved", "pas < 0.85")
    ]
    assert turns(alerts, 0.5, 1.0) == []


def text(failures=0, fast=0, slow=0, lost=0):
    return (
        f'geoos_upstream_failures_total{{daemon="bridge",upstream="a"}} {failures}\n'
        f'broadcast_latency_seconds_bucket{{daemon="broadcaster",le="0.01"}} {fast}\n'
        f'broadcast_latency_seconds_bucket{{daemon="broadcaster",le="0.1"}} {fast + slow}\n'
        f'broadcast_latency_seconds_bucket{{daemon="broadcaster",le="+Inf"}} {fast + slow}\n'
        f'geoos_outbox_dropped{{daemon="bridge"}} {lost}\n'
        f'broadcast_dropped_total{{daemon="broadcaster"}} {lost}\n'
    )


def take(quantities, now, shown, *, pas=None, restarts=0, down=0):
    return quantities.take(shown, pas=pas, restarts=restarts, down=down, now=now)


def test_the_quantities():
    quantities = Quantities()
    first = take(quantities, 0.0, text(failures=10, fast=1000, lost=7), pas=0.9)
    assert first == {
        "pas": 0.9,
        "upstream_failures": 0,
        "broadcast_p99_ms": 0,
        "pipeline_p99_ms": None,
        "lost_messages": 0,
        "restarts": 0,
        "daemons_down": 0,
    }
    second = take(
        quantities, 60.0, text(failures=14, fast=1050, slow=50, lost=8), restarts=2, down=1
    )
    assert second["upstream_failures"] == 4
    assert second["broadcast_p99_ms"] == pytest.approx(98.2)
    assert second["lost_messages"] == 2
    assert (second["restarts"], second["daemons_down"], second["pas"]) == (2, 1, None)
    third = take(quantities, 121.0, text(failures=14, fast=1150, slow=50, lost=8))
    assert third["broadcast_p99_ms"] == pytest.approx(9.9)
    assert third["upstream_failures"] == 4
    assert take(quantities, 361.0, text(failures=14))["upstream_failures"] == 0


@pytest.mark.parametrize(
    ("fast", "slow", "value"),
    [
        (0, 0, 0.0),  # nothing is slow where nothing happens
        (0, 1, 0.0),
        (1, 1, 10.0),
        (98, 1, 10.0),
        (99, 1, 10.0),
        (98, 2, 55.0),
        (0, 2, 55.0),
    ],
)
def test_one_hiccup_among_few_is_no_alert(fast, slow, value):
    quantities = Quantities()
    take(quantities, 0.0, text())
    found = take(quantities, 60.0, text(fast=fast, slow=slow))
    assert found["broadcast_p99_ms"] == pytest.approx(value)
    later = take(quantities, 121.0, text(fast=fast, slow=slow))
    assert later["broadcast_p99_ms"] == 0.0
