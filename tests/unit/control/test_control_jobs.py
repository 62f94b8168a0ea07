"""geoosd.control.core.jobs."""

import pytest

from geoosd.control.core.jobs import ended
from geoosd.wire.reports import Check


def shown(unit="geoos-backup.service", result="success", status=0, at=60_000_000):
    return (
        f"Result={result}\nExecMainStatus={status}\nId={unit}\n"
        f"ExecMainExitTimestampMonotonic={at}\n"
    )


@pytest.mark.parametrize(
    ("now", "ago"), [(60.0, "0 min"), (60 + 7100.0, "118 min"), (60 + 36000.0, "10 h")]
)
def test_one_that_is_done(now, ago):
    assert list(ended(shown(), now)) == [Check("backup", "healthy", f"done {ago} ago")]


def test_one_that_failed():
    both = "\n".join([shown(result="exit-code", status=70), shown("geoos-structure.service")])
    failed, done = ended(both, 180.0)
    assert failed == Check(
        "backup",
        "warning",
        "failed 2 min ago with exit code 70",
        "journalctl -n 20 -u geoos-backup.service",
    )
    assert (done.name, done.status) == ("structure job", "healthy")


@pytest.mark.parametrize(
    "output",
    ["", "nonsense", shown(at=0), shown(at=""), shown("geoos-bridge.service"), "Id=\n"],
)
def test_nothing_is_said_of_one_that_has_not_run(output):
    assert list(ended(output, 100.0)) == []
