"""geoosctl.systemd and geoosctl.journal: what systemctl and journalctl print, in our words."""

import json

import pytest

from geoosctl import journal, systemd

SHOWN = """\
Id=geoos-bridge.service
LoadState=loaded
ActiveState=failed
SubState=failed
Result=exit-code
UnitFileState=static
NRestarts=0
MainPID=0
ExecMainCode=1
ExecMainStatus=78
StatusText=cannot use geoos.toml: unknown key a=b

Id=geoos-compositor.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
NRestarts=2
MainPID=77
ExecMainCode=2
ExecMainStatus=9
StatusText=2 sessions

nonsense without an Id
"""


def test_units_are_read_from_what_systemctl_shows():
    bridge, compositor = systemd.parse(SHOWN)
    assert (bridge.failed, bridge.exit_code, bridge.pid) == (True, 78, None)
    assert systemd.trouble(bridge) == "failed: exited with 78"
    assert bridge.last_error == "cannot use geoos.toml: unknown key a=b"
    assert systemd.remedy(bridge, "system") == "mend that; then: sudo geoosctl start bridge"
    bridge.last_error = None
    assert systemd.remedy(bridge, "system") == (
        "geoosctl config check; then: sudo geoosctl start bridge"
    )
    assert (compositor.failed, compositor.pid, compositor.restarts) == (False, 77, 2)
    assert compositor.last_error is None
    assert systemd.trouble(compositor) == "systemd restarted it 2 times (killed by SIGKILL)"
    assert systemd.remedy(compositor, "system") is None


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"load": "masked"}, "masked: it is kept from starting"),
        (
            {"active": "failed", "result": "watchdog"},
            "failed: too often in a short time, hung: the watchdog ended it",
        ),
        (
            {"active": "failed", "result": "oom-kill"},
            "failed: too often in a short time, ran out of memory",
        ),
        ({"active": "failed", "result": "start-limit-hit"}, "failed: too often in a short time"),
        ({"sub": "auto-restart", "result": "success"}, "waits for a restart"),
        ({"restarts": 1}, "systemd restarted it once"),
        ({"restarts": 1, "active": "inactive", "last_exit": "exited with 0"}, None),
        ({}, None),
    ],
)
def test_trouble_in_words(fields, why):
    known = {"name": "geoos-control.service", "load": "loaded", "active": "active", "sub": "run"}
    assert systemd.trouble(systemd.Unit(**{**known, **fields})) == why


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("exited", 78, "exited with 78"),
        ("killed", 9, "killed by SIGKILL"),
        ("dumped", 6, "dumped core on SIGABRT"),
        ("killed", 250, "killed by signal 250"),
        ("", 0, None),
    ],
)
def test_an_end_in_words(code, status, words):
    assert systemd.exit_in_words(code, status) == words


def test_the_remedy_after_78_depends_on_whether_the_reason_is_known():
    bridge = systemd.parse(SHOWN)[0]
    bridge.last_error = "cannot listen on 127.0.0.1:1235: the port is taken"
    assert systemd.remedy(bridge, "user") == "mend that; then: geoosctl start bridge"


def test_a_journal_entry_is_the_record_that_was_logged():
    entry = {
        "__REALTIME_TIMESTAMP": "1795417271366807",
        "MESSAGE": "request ended tokens=60",
        "PRIORITY": "4",
        "GEOOS_EVENT": "request ended",
        "GEOOS_DAEMON": "bridge",
        "GEOOS_SESSION": "s1",
        "GEOOS_TOKENS": "60",
        "GEOOS_ERROR": [111, 104, 255],
        "_SYSTEMD_UNIT": "geoos-bridge.service",
    }
    record = journal.record(json.loads(json.dumps(entry)))
    assert (record.event, record.daemon, record.level) == ("request ended", "bridge", "warning")
    assert (record.session, record.error) == ("s1", "oh\ufffd")
    assert record.fields["tokens"] == "60"
    assert record.timestamp == pytest.approx(1795417271.366807)


@pytest.mark.parametrize(
    "entry",
    [{}, {"MESSAGE": "x"}, {"MESSAGE": "x", "__REALTIME_TIMESTAMP": "soon"}, {"MESSAGE": None}],
)
def test_an_entry_without_time_or_message_is_none(entry):
    assert journal.record(entry) is None


def test_what_systemd_says_of_a_unit_is_its_daemon_s():
    entry = {
        "__REALTIME_TIMESTAMP": "1",
        "MESSAGE": "Started.",
        "SYSLOG_IDENTIFIER": "systemd",
        "UNIT": "geoos-feed.socket",
        "_SYSTEMD_UNIT": "geoos-compositor.service",
    }
    record = journal.record(entry)
    assert (record.daemon, record.fields) == ("compositor", {"by": "systemd"})


def test_the_question_to_journalctl():
    asked = journal.arguments(
        "user", ["bridge"], lines=5, level="warning", session="s1", since=1.5, follow=True
    )
    assert asked[0] == "journalctl"
    assert {"--user-unit=geoos-bridge.service", "--lines=5", "--priority=warning"} <= set(asked)
    assert {"--since=@1.500000", "--follow", "GEOOS_SESSION=s1"} <= set(asked)
