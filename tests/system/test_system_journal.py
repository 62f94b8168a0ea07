"""What an administrator finds in the journal, and that nothing is missing from it."""

import json

import pytest
from conftest import DAEMONS, HERE, NO_ENGINE, until
from runbook import runbook

from geoosd.wire import events


@pytest.fixture(scope="module")
def prompted(machine):
    """A machine on which one session has ended; and that session's id."""
    machine.run("journalctl", "--update-catalog")  # the tree was staged, which does not do it
    machine.start_all()
    machine.model(3, 0)
    machine.run("geoosctl", "prompt", "hello", "--model", "scripted")
    with_session = until(
        lambda: [each for each in machine.journal("-u", "geoos-bridge") if "GEOOS_SESSION" in each],
        "a record with a session",
    )
    return machine, with_session[-1]["GEOOS_SESSION"]


def own(machine, *arguments):
    """The records that daemons wrote themselves."""
    return machine.journal("_SYSTEMD_SLICE=geoos.slice", "_TRANSPORT=journal", *arguments)


# -- fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["GEOOS_SESSION", "GEOOS_UPSTREAM"])
def test_a_session_and_an_upstream_are_found_by_their_fields(prompted, field):
    machine, session = prompted
    value = session if field == "GEOOS_SESSION" else "lmstudio"
    found = machine.journal(f"{field}={value}")
    assert found
    assert {each[field] for each in found} == {value}
    assert {each["_SYSTEMD_UNIT"] for each in found} <= {f"geoos-{it}.service" for it in DAEMONS}


def test_every_record_has_a_priority_and_says_where_it_comes_from(prompted):
    machine, _ = prompted
    found = own(machine)
    assert {each["GEOOS_DAEMON"] for each in found} == {*DAEMONS, "engine"}  # why it does not run
    for each in found:
        assert each["PRIORITY"] in {"2", "3", "4", "6", "7"}
        assert each["SYSLOG_IDENTIFIER"] == f"geoos-{each['GEOOS_DAEMON']}"
        assert each["CODE_FILE"].endswith(".py")
        assert int(each["CODE_LINE"]) > 0
        assert each["CODE_FUNC"]


def test_an_event_is_found_by_its_id_and_explained(prompted):
    machine, _ = prompted
    identity = f"MESSAGE_ID={events.READY.message_id}"
    assert {each["GEOOS_DAEMON"] for each in machine.journal(identity)} == set(DAEMONS)
    said = machine.run("journalctl", "-x", "-n", "1", "--no-pager", "-u", "geoos-bridge", identity)
    assert "Subject: geoos bridge is ready" in said
    assert events.READY.meaning in said
    assert "Defined-By: geoos" in said


def test_every_event_is_in_the_catalog(prompted):
    machine, _ = prompted
    for event in events.EVENTS:
        said = machine.run("journalctl", "--dump-catalog", event.message_id)
        assert event.meaning.splitlines()[0] in said
        assert event.remedy in said


def test_warnings_alone(prompted):
    machine, _ = prompted
    machine.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")

    def warnings():
        found = machine.journal("-u", "geoos-bridge", "-p", "warning")
        # systemd's own warning of the killed process comes first.
        mine = any("last run did not end" in str(each["MESSAGE"]) for each in found)
        return found if mine else None

    found = until(warnings, "a warning")
    assert all(int(each["PRIORITY"]) <= 4 for each in found)
    for each in found:
        if each.get("SYSLOG_IDENTIFIER") == "geoos-bridge":
            assert each["MESSAGE_ID"] == events.ENDED_BADLY.message_id


# -- nothing is lost -------------------------------------------------------------------------------


def stall(machine):
    """journald takes nothing for two seconds: far longer than its queue of datagrams lasts."""
    pid = machine.show("systemd-journald", "MainPID")
    machine.run("sh", "-c", "kill -STOP $0; sleep 2; kill -CONT $0", pid)


def restart(machine):
    for _ in range(2):
        machine.run("systemctl", "restart", "systemd-journald")


@pytest.mark.parametrize("trouble", [stall, restart])
def test_nothing_is_lost_while_journald_is_away(machine, trouble):
    unit, stop = f"numbered-{trouble.__name__}", f"/run/stop-{trouble.__name__}"
    machine.background(unit, "/opt/geoos/bin/python", str(HERE / "numbered_records.py"), stop)
    until(lambda: machine.journal("-u", unit, "GEOOS_EVENT=numbered"), "it writes")
    trouble(machine)
    machine.run("touch", stop)
    (last,) = until(lambda: machine.journal("-u", unit, "GEOOS_EVENT=counted"), "it has ended")
    found = machine.journal("-u", unit, "GEOOS_EVENT=numbered")
    numbers = [int(each["GEOOS_NUMBER"]) for each in found]
    assert numbers == list(range(int(last["GEOOS_COUNT"])))  # each once, and in order


# -- geoosctl logs ---------------------------------------------------------------------------------


def test_geoosctl_shows_the_same_records(prompted):
    machine, _ = prompted
    machine.run("journalctl", "--sync")
    expected = machine.journal("-u", "geoos-bridge", "-n", "20")
    lines = machine.run("geoosctl", "--json", "logs", "-n", "20", "--unit", "bridge").splitlines()
    shown = [json.loads(line) for line in lines]
    assert [round(each["timestamp"] * 1e6) for each in shown] == [
        int(each["__REALTIME_TIMESTAMP"]) for each in expected
    ]
    assert [each["event"] for each in shown] == [
        each.get("GEOOS_EVENT", each["MESSAGE"]) for each in expected
    ]


@pytest.mark.parametrize("who", ["root", "follower"])
def test_following_goes_on_across_restarts(prompted, who):
    """root reads the journal; a member who may not, the daemons themselves, by way of control."""
    machine, _ = prompted
    person = []
    if who != "root":
        machine.run("useradd", "--groups", "geoos", who)
        person = ["--property=User=follower", "--property=Group=follower"]
    where = f"/var/tmp/followed-by-{who}"
    command = f"exec geoosctl --json logs -f -n 1 >{where}"
    unit = ["--quiet", "--collect", f"--unit=follow-{who}", *person]
    machine.run("systemd-run", *unit, "sh", "-c", command)
    until(lambda: machine.call("test", "-s", where).returncode == 0, "the follower is there")

    def seen(event, key, value):
        """How many such records have been shown."""
        lines = machine.run("cat", where).splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return sum(it["event"] == event and it["fields"].get(key) == value for it in records)

    for daemon in ("bridge", "control", "bridge"):
        machine.run("systemctl", "restart", f"geoos-{daemon}")
        pid = str(machine.main_pids()[daemon])
        until(lambda: seen("ready", "pid", pid), f"the new {daemon} is shown")  # noqa: B023
        assert seen("ready", "pid", pid) == 1
    assert machine.show(f"follow-{who}", "ActiveState") == "active"  # one and the same all along
    machine.run("systemctl", "stop", f"follow-{who}")


# -- the runbook -----------------------------------------------------------------------------------


def test_the_runbooks_commands_find_something(prompted):
    machine, session = prompted
    machine.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: machine.active("bridge"), "back")
    until(lambda: "scripted" in machine.call("geoosctl", "models").stdout, "the model is known")
    machine.run("systemctl", "stop", "model")
    lost = f"MESSAGE_ID={events.UPSTREAM_LOST.message_id}"
    until(lambda: machine.journal(lost), "that is noticed")
    *commands, _, _ = runbook("### Logs")  # the last two are about JSON: see below
    assert len(commands) == 8
    for command in commands:
        asked = command.replace("=ID", f"={session}")
        if asked.endswith(" -f"):
            asked = f"timeout 2 {asked}; [ $? = 124 ]"
        answer = machine.call("bash", "-o", "pipefail", "-c", asked)
        assert answer.returncode == 0, f"{asked}: {answer.stderr}"
        assert answer.stdout.strip(), asked


# -- as JSON ---------------------------------------------------------------------------------------


def test_journal_entries_go_through_jq(prompted):
    machine, session = prompted
    query = f"journalctl -o json GEOOS_SESSION={session} | jq -r '.GEOOS_DAEMON + \" \" + .MESSAGE'"
    assert "bridge " in machine.run("sh", "-c", query)


def test_json_line_by_line(prompted):
    """Everything that daemons say, also of a crash, a refused start and a reload; see adr/0007."""
    machine, _ = prompted
    machine.stop_all()
    since = machine.run("date", "+@%s.%6N").strip()
    as_json = f'{NO_ENGINE}[log]\nformat = "json"\n'
    machine.start_all(as_json)
    machine.run("systemctl", "reload", "geoos-bridge")
    machine.run("systemctl", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: machine.show("geoos-bridge", "NRestarts") == "1", "systemd restarted it")
    until(lambda: machine.active("bridge"), "it is back")
    machine.configure(f"{as_json}[bridge]\nlisen = 'x'\n")
    machine.call("systemctl", "restart", "geoos-bridge")
    until(lambda: machine.show("geoos-bridge", "ActiveState") == "failed", "it stays down")
    machine.configure(NO_ENGINE)

    every = machine.journal("-u", "geoos-*", "--since", since)
    # Each line is one object, or was said by systemd or printed by what it ran for a reload.
    others = [each for each in every if not is_object(each["MESSAGE"])]
    assert {each["_TRANSPORT"] for each in others if each["_PID"] != "1"} <= {"stdout"}, others
    records = own(machine, "--since", since)
    expected = [each["GEOOS_EVENT"] for each in records]
    assert expected.count("ready") == len(DAEMONS) + 1
    assert any("unknown key bridge.lisen" in each for each in expected)
    for each in records:
        told = json.loads(each["MESSAGE"])
        assert {"timestamp", "level", "event", "daemon"} <= set(told)
        assert (told["event"], told["daemon"]) == (each["GEOOS_EVENT"], each["GEOOS_DAEMON"])
    for command in runbook("### Logs")[-2:]:  # JSON alone; and, left out, what systemd says
        asked = command.replace("journalctl", f"journalctl --since {since}")
        found = machine.run("bash", "-o", "pipefail", "-c", asked).splitlines()
        assert [json.loads(line) for line in found] == expected


def is_object(text):
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError):
        return False
