"""geoosd.control.core.unit."""

import pytest

from geoosd.control.core.rootcause import Absence
from geoosd.control.core.unit import absence


def shown(**fields):
    """What ``systemctl show`` prints."""
    return "".join(f"{key}={value}\n" for key, value in fields.items())


@pytest.mark.parametrize(
    ("manager", "start"),
    [("system", "sudo geoosctl start bridge"), ("user", "geoosctl start bridge")],
)
def test_one_that_was_stopped_is_no_fault(manager, start):
    known = absence("bridge", manager, shown(LoadState="loaded", ActiveState="inactive"))
    assert known == Absence("stopped", start, stopped=True)


@pytest.mark.parametrize(
    ("manager", "remedy"),
    [
        ("system", "sudo systemctl unmask geoos-bridge.service"),
        ("user", "systemctl --user unmask geoos-bridge.service"),
    ],
)
def test_one_that_is_masked_is_no_fault(manager, remedy):
    known = absence("bridge", manager, shown(LoadState="masked", ActiveState="inactive"))
    assert known == Absence("masked", remedy, stopped=True)


@pytest.mark.parametrize(
    ("status", "text", "reason", "remedy"),
    [
        ("78", "the port = taken", "it cannot start: the port = taken", "mend that; then: "),
        ("78", "", "it cannot start", "geoosctl config check; then: "),
        ("70", "x", "it failed too often in a short time, and systemd has given it up", ""),
    ],
)
def test_one_that_failed_is_a_fault(status, text, reason, remedy):
    fields = {"ActiveState": "failed", "ExecMainStatus": status, "StatusText": text}
    known = absence("bridge", "system", shown(LoadState="loaded", **fields))
    assert known == Absence(reason, f"{remedy}sudo geoosctl start bridge")


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
    assert absence("bridge", "system", output) is None
