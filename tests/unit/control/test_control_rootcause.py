"""geoosd.control.core.rootcause."""

from dataclasses import replace

import pytest

from geoosd.control.core.observation import SLOW, Absence, Observation
from geoosd.control.core.remedy import Place
from geoosd.control.core.rootcause import Judgement, judge
from geoosd.wire.reports import Check, DaemonHealth, DaemonStatus, Link, worst

NOW = 1000.0


def status(name, links=(), state="active"):
    return DaemonStatus(name, state, "", 42, "0.1.0", 900.0, 1 << 20, links=list(links))


def fine(name, *checks, links=(), state="active", restarted_ago=None, wanted=False):
    found = list(checks) or [Check("self", "healthy", "works", None, 900.0)]
    health = DaemonHealth(worst([each.status for each in found]), found)
    found = status(name, links, state)
    return Observation(name, found, health, restarted_ago=restarted_ago, wanted=wanted)


def gone(name, reason="refused: nobody listens"):
    return Observation(name, absent=Absence(reason, f"geoosd {name}"))


def bad(name, summary="is down", remedy="mend it", verdict="critical"):
    return Check(name, verdict, summary, remedy, 950.0)


def link(name, peer, state="down"):
    return Link(name, peer, state, 950.0)


def names(judgement: Judgement) -> list[str]:
    return [check.name for check in judgement.checks]


def test_nothing_known_is_unknown():
    assert judge([], NOW) == Judgement("unknown", None, None, [])
    asked = judge([Observation("bridge")], NOW)
    assert asked.status == "unknown"
    assert asked.root_cause is None


def test_everything_healthy_is_healthy():
    found = judge([fine("bridge"), fine("compositor")], NOW)
    assert (found.status, found.root_cause, found.remedy) == ("healthy", None, None)
    assert "bridge: process" in names(found)
    assert "compositor: self" in names(found)


def test_a_daemon_without_checks_is_not_called_healthy():
    found = judge([Observation("bridge", status("bridge"), DaemonHealth("unknown", []))], NOW)
    assert found.status == "unknown"
    assert found.checks[0].summary == "answers, but reports no checks"


def test_an_absent_compositor_explains_its_neighbours():
    found = judge(
        [
            fine(
                "bridge",
                bad("ingest link"),
                bad("outbox", "fills", verdict="warning"),
                bad("disk", "is full"),
            ),
            gone("compositor"),
            fine("broadcaster", bad("feed link")),
        ],
        NOW,
    )
    assert found.status == "critical"
    assert found.root_cause == "the compositor does not answer: refused: nobody listens"
    assert found.remedy == "geoosd compositor"
    assert names(found)[0] == "compositor: process"
    checks = {check.name: check for check in found.checks}
    for name in ("bridge: ingest link", "bridge: outbox", "broadcaster: feed link"):
        assert checks[name].summary.endswith("(because the compositor does not answer)")
        assert checks[name].remedy is None
    assert checks["bridge: disk"].remedy == "mend it"
    assert names(found).index("bridge: disk") < names(found).index("bridge: ingest link")


def test_of_several_absent_the_one_that_explains_most_comes_first():
    found = judge([gone("broadcaster"), gone("stranger"), gone("bridge"), gone("compositor")], NOW)
    assert found.root_cause is not None
    assert found.root_cause.startswith(
        "the compositor does not answer, nor do the bridge, the broadcaster, the stranger: refused"
    )


def test_an_absent_engine_explains_that_there_is_no_upstream():
    found = judge([fine("bridge", bad("upstream")), gone("engine")], NOW)
    assert found.root_cause is not None
    assert found.root_cause.startswith("the engine does not answer")
    assert "because the engine" in {c.name: c.summary for c in found.checks}["bridge: upstream"]


def test_a_link_that_is_down_between_two_that_live():
    found = judge(
        [fine("bridge", links=[link("ingest", "/run/geoos/ingest.sock")]), fine("compositor")], NOW
    )
    assert found.status == "warning"
    assert found.root_cause == (
        "the bridge has no connection to the compositor: /run/geoos/ingest.sock is down"
    )
    assert found.remedy == "geoosctl logs --unit compositor"
    assert names(found)[0] == "bridge: ingest link"


def test_the_daemons_own_check_of_a_link_is_not_doubled():
    found = judge(
        [
            fine("bridge", bad("ingest"), links=[link("ingest", "/x/ingest.sock")]),
            fine("compositor"),
        ],
        NOW,
    )
    assert names(found).count("bridge: ingest") == 1
    assert "bridge: ingest link" not in names(found)
    assert found.remedy == "mend it"


@pytest.mark.parametrize(
    "links",
    [
        [link("ingest", "/x/ingest.sock", "connected")],
        [link("redis", "10.0.0.1:6379")],
    ],
)
def test_links_that_say_nothing_of_a_daemon_of_ours(links):
    found = judge([fine("bridge", links=links), fine("compositor")], NOW)
    assert found.root_cause is None or "has no connection" not in found.root_cause


def test_a_model_that_loads_is_said_before_the_missing_upstream():
    found = judge(
        [
            fine("bridge", bad("upstream", "no server is ready")),
            fine("engine", bad("model", "Loading gemma", verdict="warning")),
        ],
        NOW,
    )
    assert found.root_cause == "model loading: Loading gemma"
    assert found.remedy == "geoosctl health --watch"
    assert names(found)[0] == "engine: model"


@pytest.mark.parametrize(
    ("daemon", "summary"),
    [("engine", "model loading: gemma"), ("bridge", "gemma: model loading")],
)
def test_a_model_that_loads_is_said_once(daemon, summary):
    check = "model" if daemon == "engine" else "upstream"
    found = judge([fine(daemon, bad(check, summary, verdict="warning"))], NOW)
    assert found.root_cause == "model loading: gemma"


def test_of_a_model_that_loads_the_engine_knows_most_and_others_nothing():
    upstream = bad("upstream", "gemma: model loading", verdict="warning")
    engine = bad("model", "model loading: gemma, 40 %", verdict="warning")
    found = judge([fine("bridge", upstream), fine("engine", engine)], NOW)
    assert found.root_cause == "model loading: gemma, 40 %"
    found = judge([fine("compositor", bad("places", "are loading", verdict="warning"))], NOW)
    assert found.root_cause == "compositor: places: are loading"


def test_an_engine_whose_model_server_fails_explains_the_missing_upstream():
    ends = bad("model", "the model server keeps ending", "geoosctl restart engine")
    upstream = bad("upstream", "no upstream: engine refuses connections", verdict="warning")
    found = judge([fine("bridge", upstream), fine("engine", ends)], NOW)
    assert found.root_cause == "engine: the model server keeps ending"
    assert found.remedy == "geoosctl restart engine"
    assert names(found)[:2] == ["engine: model", "bridge: upstream"]
    assert found.checks[1].remedy is None


def test_an_engine_that_starts_is_a_model_that_loads():
    found = judge([fine("bridge"), fine("engine", state="starting")], NOW)
    assert found.status == "warning"
    assert found.root_cause == "model loading: is starting: "


def test_another_daemon_that_starts_is_no_model():
    found = judge([fine("bridge", state="starting"), fine("compositor")], NOW)
    assert found.root_cause == "bridge: process: is starting: "


def test_one_of_several_upstreams():
    summary = "upstream far at http://far:1 refuses connections"
    bridge = fine("bridge", bad("upstream far", summary, "start it", verdict="warning"))
    found = judge([bridge], NOW)
    assert (found.root_cause, found.remedy) == (summary, "start it")


def test_one_upstream_that_is_down_does_not_explain_another():
    bridge = fine(
        "bridge",
        bad("upstream far", "upstream far at http://f:1 is gone", "start f", verdict="warning"),
        bad("upstream near", "upstream near at http://n:2 is gone", "mend n", verdict="warning"),
    )
    shown = {check.name: check for check in judge([bridge], NOW).checks}
    assert shown["bridge: upstream near"].summary == "upstream near at http://n:2 is gone"
    assert shown["bridge: upstream near"].remedy == "mend n"


def test_no_upstream():
    found = judge(
        [
            fine(
                "bridge",
                bad("model", verdict="warning"),
                bad("upstream", "nothing answers on 1234", None),
            )
        ],
        NOW,
    )
    assert found.root_cause == "no upstream: nothing answers on 1234"
    assert found.remedy == "geoosctl models"
    assert judge([fine("bridge", bad("upstream"))], NOW).remedy == "mend it"


def test_a_missing_upstream_does_not_hide_what_is_critical():
    upstream = bad("upstream", "nothing answers on 1234", verdict="warning")
    found = judge([fine("bridge", upstream), fine("broadcaster", bad("workers"))], NOW)
    assert found.root_cause == "broadcaster: workers: is down"
    lost = judge([fine("bridge", upstream), canary("broadcaster", LOST, passed=1)], NOW)
    assert lost.root_cause.startswith("the data path is broken")


def test_a_recent_restart_is_a_warning_and_explains_what_is_not_up_again():
    found = judge(
        [
            fine("bridge", links=[link("ingest", "/x/ingest.sock")]),
            fine("compositor", restarted_ago=12.2),
            fine("broadcaster", restarted_ago=3.0),
        ],
        NOW,
    )
    assert found.status == "warning"
    assert found.root_cause == ("the compositor restarted 12 s ago: it ended and was started again")
    assert found.remedy == "geoosctl logs --unit compositor"
    explained = {check.name: check.summary for check in found.checks}["bridge: ingest link"]
    assert explained.endswith("(because the compositor restarted 12 s ago)")


def test_a_restart_that_was_asked_for_is_no_trouble():
    found = judge([fine("bridge"), fine("compositor", restarted_ago=3.0, wanted=True)], NOW)
    assert (found.status, found.root_cause, found.remedy) == ("healthy", None, None)
    said = {check.name: check.summary for check in found.checks}["compositor: process"]
    assert said.endswith("; restarted 3 s ago, as was asked")


def test_a_restart_that_was_asked_for_explains_what_is_not_up_again():
    found = judge(
        [
            fine("bridge", links=[link("ingest", "/x/ingest.sock")]),
            fine("compositor", restarted_ago=2.0, wanted=True),
        ],
        NOW,
    )
    assert found.status == "warning"
    assert found.root_cause == "the compositor restarted 2 s ago, as was asked"
    assert found.remedy is None
    explained = {check.name: check.summary for check in found.checks}["bridge: ingest link"]
    assert explained.endswith("(because the compositor restarted 2 s ago, as was asked)")


def test_a_crash_is_told_beside_a_restart_that_was_asked_for():
    found = judge(
        [
            fine("compositor", restarted_ago=2.0, wanted=True),
            fine("bridge", restarted_ago=5.0),
        ],
        NOW,
    )
    assert found.root_cause == "the bridge restarted 5 s ago: it ended and was started again"


def test_a_restart_does_not_hide_what_is_critical():
    found = judge([fine("bridge", restarted_ago=1.0), fine("compositor", bad("gpu"))], NOW)
    assert found.root_cause == "compositor: gpu: is down"


def test_the_worst_check_where_nothing_explains_anything():
    found = judge(
        [
            fine("broadcaster", bad("queue", "is full", None, "warning")),
            fine("control", bad("watch", "looks away", verdict="warning")),
        ],
        NOW,
    )
    assert found.status == "warning"
    assert found.root_cause == "broadcaster: queue: is full"
    assert found.remedy == "geoosctl logs --unit broadcaster"


# -- stopped on purpose ----------------------------------------------------------------------------


def stopped(name, reason="stopped"):
    return Observation(name, absent=Absence(reason, f"sudo geoosctl start {name}", stopped=True))


def test_what_was_stopped_is_told_and_is_no_fault():
    complaint = bad("ingest link", "nobody takes it")
    found = judge([fine("bridge", complaint), stopped("compositor")], NOW)
    assert (found.status, found.root_cause) == ("warning", "the compositor is stopped")
    assert found.remedy == "sudo geoosctl start compositor"
    assert names(found)[:2] == ["compositor: process", "bridge: ingest link"]
    missed = found.checks[1]
    assert (missed.status, missed.remedy) == ("warning", None)
    assert missed.summary == "nobody takes it (because the compositor is stopped)"


def test_several_that_are_stopped_are_named():
    both = judge([stopped("bridge"), stopped("compositor")], NOW)
    assert both.root_cause == "the compositor is stopped, and so is the bridge"
    three = judge([stopped("bridge"), stopped("engine", "masked"), stopped("compositor")], NOW)
    assert three.root_cause == "the compositor is stopped, and so are the bridge, the engine"


def test_a_fault_comes_before_what_was_stopped():
    full = bad("state", "the disk is full", "make room")
    found = judge([stopped("bridge"), fine("compositor", full), fine("broadcaster")], NOW)
    assert (found.status, found.remedy) == ("critical", "make room")
    assert found.root_cause == "compositor: state: the disk is full"
    dead = judge([stopped("bridge"), gone("compositor"), fine("broadcaster")], NOW)
    assert dead.status == "critical"
    assert dead.root_cause.startswith("the compositor does not answer: ")


# -- what control examined -------------------------------------------------------------------------


def canary(name, *checks, passed=None):
    """A daemon that a canary passed so many seconds ago."""
    seen = fine(name, *checks)
    if passed is not None:
        seen.status.details["canary"] = str(NOW - passed)
    return seen


LOST = bad("canary", "no canary came through from the bridge for 30 s")


@pytest.mark.parametrize(
    ("passed", "says", "unit"),
    [
        ((1, 1, 1), "canaries leave the broadcaster, but do not reach the viewer", "broadcaster"),
        ((1, 1, 30), "canaries leave the compositor, but do not reach the broadcaster", None),
        ((1, 30, 30), "canaries leave the bridge, but do not reach the compositor", None),
        ((1, None, None), "canaries leave the bridge, but do not reach the compositor", None),
        ((30, 30, 30), "the bridge lets no canary go", "bridge"),
        ((None, 1, 1), "the bridge lets no canary go", "bridge"),
    ],
)
def test_where_the_canary_is_lost(passed, says, unit):
    daemons = [
        canary(name, *([LOST] if name == "broadcaster" else ()), passed=ago)
        for name, ago in zip(("bridge", "compositor", "broadcaster"), passed, strict=True)
    ]
    found = judge(daemons, NOW)
    assert found.root_cause == f"the data path is broken: {says}"
    if unit:
        assert found.remedy == f"geoosctl logs --unit {unit}"


def test_a_slow_canary_is_not_a_lost_one():
    slow = bad("canary", "a canary took 2.0 s", verdict="warning")
    found = judge([canary("broadcaster", slow, passed=1)], NOW)
    assert found.root_cause == "the data path is slow: a canary took 2.0 s"


def slow(name, *checks, took=SLOW):
    return replace(fine(name, *checks), took=took)


def test_a_daemon_whose_answers_are_slow():
    late = bad("canary", "a canary took 2.0 s", verdict="warning")
    found = judge([slow("bridge"), fine("compositor"), fine("broadcaster", late)], NOW)
    assert (found.status, found.root_cause) == (
        "warning",
        "the bridge is slow: its answers take 0.4 s",
    )
    assert found.remedy == "top -b -n 1 -H -p 42"
    assert names(found)[:2] == ["bridge: process", "broadcaster: canary"]
    assert "(because the bridge is slow)" in found.checks[1].summary
    assert judge([slow("bridge", took=SLOW - 0.01)], NOW).status == "healthy"


def test_all_wait_for_a_control_that_is_slow():
    found = judge([slow("compositor"), slow("bridge"), slow("control", took=0.9)], NOW)
    assert found.root_cause == "control is slow: its answers take 0.9 s"
    assert sum("(because control is slow)" in each.summary for each in found.checks) == 2


def test_of_two_that_are_slow_the_one_that_starts_first_is_named():
    for order in (("bridge", "compositor"), ("compositor", "bridge")):
        found = judge([slow(name) for name in order], NOW)
        assert found.root_cause == "the compositor is slow: its answers take 0.4 s"


def test_what_is_critical_comes_before_what_is_slow():
    found = judge([slow("bridge"), fine("compositor", bad("gpu"))], NOW)
    assert found.root_cause == "compositor: gpu: is down"


def test_an_absent_bridge_explains_the_lost_canary():
    found = judge([gone("bridge"), canary("broadcaster", LOST)], NOW)
    assert found.root_cause.startswith("the bridge does not answer")
    assert "(because the bridge does not answer)" in str(found.checks)


def test_a_full_disk_explains_what_cannot_be_written():
    full = bad("disk", "0 MiB are free for /state", "df -h /state")
    found = judge(
        [fine("bridge", bad("recording")), fine("compositor", bad("state")), fine("control")],
        NOW,
        {"control": [full]},
    )
    assert found.root_cause == "disk: 0 MiB are free for /state"
    assert found.remedy == "df -h /state"
    assert found.checks[0].name == "control: disk"
    assert sum("(because disk)" in check.summary for check in found.checks) == 2


def test_a_warning_of_the_machine_does_not_hide_what_is_critical():
    low = bad("disk", "300 MiB are free", verdict="warning")
    daemons = [fine("compositor", bad("gpu")), fine("control")]
    found = judge(daemons, NOW, {"control": [low]})
    assert found.root_cause == "compositor: gpu: is down"
    found = judge(daemons[1:], NOW, {"control": [low]})
    assert found.root_cause == "disk: 300 MiB are free"


def test_checks_count_as_they_are_damped():
    held = Check("self", "warning", "comes and goes", "mend it", 1.0)
    found = judge(
        [fine("bridge")], NOW, damp=lambda name, check: held if name == "bridge: self" else check
    )
    assert (found.status, found.root_cause) == ("warning", "bridge: self: comes and goes")


# -- where it runs ---------------------------------------------------------------------------------


def test_remedies_are_those_of_the_place():
    full = bad("self", "grew", "geoosctl restart compositor")
    found = judge([fine("compositor", full), fine("bridge")], NOW).at(Place("system"), {})
    assert found.remedy == "sudo geoosctl restart compositor"
    assert found.checks[0].remedy == "sudo geoosctl restart compositor"
    assert found.checks[-1].remedy is None
    assert found.root_cause == "compositor: self: grew"
    here = judge([fine("compositor", full)], NOW).at(
        Place("foreground", 7), {"compositor": "kill 8"}
    )
    assert (here.status, here.remedy) == ("critical", "kill 8")


def test_control_is_a_name():
    assert judge([gone("control")], NOW).root_cause.startswith("control does not answer: ")
    restarted = judge([fine("control", restarted_ago=2.0)], NOW)
    assert restarted.root_cause == "control restarted 2 s ago: it ended and was started again"
