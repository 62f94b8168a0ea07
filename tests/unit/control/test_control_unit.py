"""geoosd.control.core.unit."""

import pytest

from geoosd.control.core.observation import Absence
from geoosd.control.core.unit import absence, was_asked_for


def shown(**fields):
    """What ``systemctl show`` prints."""
    return "".join(f"{key}={value}\n" for key, value in fields.items())


def test_one_that_was_stopped_is_no_fault():
    known = absence("bridge", shown(LoadState="loaded", ActiveState="inactive"))
    assert known == Absence("stopped", "geoosctl start bridge", stopped=True)


def test_one_that_is_masked_is_no_fault():
    known = absence("bridge", shown(LoadState="masked", ActiveState="inactive"))
    assert known == Absence("masked", "systemctl unmask geoos-bridge.service", stopped=True)


@pytest.mark.parametrize(
    ("status", "text", "reason", "remedy"),
    [
        ("78", "the port = taken", "it cannot start: the port = taken", "mend that; then: "),
        ("78", "", "it cannot start", "geoosctl config check && "),
        ("70", "x", "it failed too often in a short time, and systemd has given it up", ""),
    ],
)
def test_one_that_failed_is_a_fault(status, text, reason, remedy):
    fields = {"ActiveState": "failed", "ExecMainStatus": status, "StatusText": text}
    known = absence("bridge", shown(LoadState="loaded", **fields))
    assert known == Absence(reason, f"{remedy}geoosctl start bridge")


@pytest.mark.parametrize(
    "output",
    [
        "",
        "nonsense",
        shown(LoadState="not-found", ActiveState="inactive"),
        shown(LoadState="loaded", ActiveState="active"),
        shown(LoadState="loaded", ActiveState="activating"),
    ],
)
def test_of_one_that_should_run_its_socket_tells_more(output):
    assert absence("bridge", output) is None


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [("NRestarts=0\n", True), ("NRestarts=1\n", False), ("NRestarts=10\n", False), ("", False)],
)
def test_systemd_counts_the_restarts_of_its_own(shown, wanted):
    assert was_asked_for(shown) is wanted
