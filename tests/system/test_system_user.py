"""The units of a desktop without root: systemctl --user."""

import json

import pytest
from conftest import DAEMONS, Machine, until
from shown_commands import run_by


@pytest.fixture(scope="module")
def desktop(installed, tmp_path_factory):
    """A machine with logind, and ann, who has a manager of her own."""
    log = tmp_path_factory.mktemp("sandbox") / "console.log"
    with Machine(installed, log, users=True) as machine:
        machine.configure("[engine]\nenabled = 'no'\n")
        machine.run("useradd", "--create-home", "--shell", "/bin/bash", "ann")
        uid = machine.run("id", "-u", "ann").strip()
        started = machine.call("systemctl", "start", f"user@{uid}.service")
        if started.returncode != 0:
            pytest.skip(f"no user manager in this sandbox: {started.stderr.strip()}")
        machine.uid = uid
        yield machine


def as_ann(machine, *command):
    environ = {
        "XDG_RUNTIME_DIR": f"/run/user/{machine.uid}",
        "HOME": "/home/ann",
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{machine.uid}/bus",
    }
    return machine.call(*command, user="ann", environ=environ)


def test_everything_runs_as_ann(desktop):
    answer = as_ann(desktop, "systemctl", "--user", "start", "geoos.target")
    log = as_ann(desktop, "systemctl", "--user", "status", "--no-pager", "geoos-*").stdout
    assert answer.returncode == 0, answer.stderr + log
    for daemon in DAEMONS:
        state = as_ann(desktop, "systemctl", "--user", "is-active", f"geoos-{daemon}")
        assert state.stdout.strip() == "active", log
    status = as_ann(desktop, "geoosctl", "status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert "systemctl --user enable geoos.target" in status.stdout  # her manager is found
    (shown,) = run_by("tests/system/test_system_user.py")
    assert as_ann(desktop, *shown.split()).returncode == 0
    assert "enable" not in as_ann(desktop, "geoosctl", "status").stdout
    sockets = desktop.run("ls", f"/run/user/{desktop.uid}/geoos").split()
    assert "control.sock" in sockets
    state = desktop.run("find", "/home/ann", "-type", "d", "-path", "*/geoos/compositor").split()
    assert state in (
        ["/home/ann/.config/geoos/compositor"],
        ["/home/ann/.local/state/geoos/compositor"],
    )


def test_a_configuration_of_her_own(desktop):
    own = "/home/ann/geoos.toml"
    desktop.write(own, "[engine]\nenabled = 'no'\n[log]\nlevel = 'warning'\n")
    desktop.write("/home/ann/.config/geoos/environment", f"GEOOS_CONFIG={own}\n")
    desktop.run("chown", "-R", "ann:", own, "/home/ann/.config")
    assert as_ann(desktop, "systemctl", "--user", "restart", "geoos-bridge").returncode == 0
    call = ("geoosctl", "call", "io.geoos.Daemon.SetLogLevel", '{"level": "info"}')
    answer = as_ann(desktop, *call, "--unit", "bridge", "--json")
    assert '"warning"' in answer.stdout, answer.stdout + answer.stderr
    desktop.run("rm", "/home/ann/.config/geoos/environment")


def test_killed_it_is_back(desktop):
    show = ("systemctl", "--user", "show", "-P", "MainPID", "geoos-bridge")
    pid = as_ann(desktop, *show).stdout.strip()
    as_ann(desktop, "systemctl", "--user", "kill", "-s", "KILL", "geoos-bridge")
    until(lambda: as_ann(desktop, *show).stdout.strip() not in ("0", pid), "another process")
    until(lambda: as_ann(desktop, "geoosctl", "status").returncode == 0, "status is well")


def test_geoosctl_stops_and_starts(desktop):
    assert as_ann(desktop, "geoosctl", "stop", "bridge").returncode == 0
    health = as_ann(desktop, "geoosctl", "health")
    assert health.returncode == 1, health.stdout + health.stderr
    assert health.stdout.startswith("warning: the bridge is stopped\n→ geoosctl start bridge\n")
    stopped = as_ann(desktop, "geoosctl", "stop")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    status = as_ann(desktop, "geoosctl", "status")
    assert status.returncode == 3
    assert "systemctl --user start geoos.target" in status.stdout
    started = as_ann(desktop, "geoosctl", "start")
    assert started.returncode == 0, started.stdout + started.stderr
    assert as_ann(desktop, "geoosctl", "status").returncode == 0


def health(machine):
    done = as_ann(machine, "geoosctl", "--timeout", "2", "--json", "health")
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("fault", "says", "remedy"),
    [
        (
            "rm $XDG_RUNTIME_DIR/geoos/bridge.varlink",
            "no socket",
            "geoosctl stop bridge && geoosctl start bridge",
        ),
        (
            "systemctl --user kill -s STOP --kill-who=main geoos-compositor",
            "the compositor does not answer",
            "geoosctl restart compositor",
        ),
        (
            "systemctl --user kill -s STOP --kill-who=main geoos-control",
            "control does not answer",
            "geoosctl restart control",
        ),
        (
            "geoosctl stop broadcaster",
            "the broadcaster is stopped",
            "geoosctl start broadcaster",
        ),
    ],
)
def test_remedies_are_hers_and_mend(desktop, fault, says, remedy):
    """No root, and nobody else's processes: typed by her as they are printed."""
    as_ann(desktop, "geoosctl", "restart", "control")
    until(lambda: health(desktop)["status"] in ("healthy", "warning"), "health before")
    done = as_ann(desktop, "bash", "-c", fault)
    assert done.returncode == 0, done.stderr
    found = until(lambda: says in str((it := health(desktop))["root_cause"]) and it, says)
    assert found["remedy"] == remedy
    done = as_ann(desktop, "bash", "-c", remedy)
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: as_ann(desktop, "geoosctl", "status").returncode == 0, "all is well again")


def test_a_masked_one_is_hers_too(desktop):
    mask = "geoos-broadcaster.service"
    assert as_ann(desktop, "systemctl", "--user", "mask", "--now", mask).returncode == 0
    remedies = (f"systemctl --user unmask {mask}", "geoosctl start broadcaster")
    for remedy in remedies:
        found = until(lambda: (it := health(desktop))["remedy"] == remedy and it, remedy)  # noqa: B023
        assert found["status"] == "warning"
        assert as_ann(desktop, "bash", "-c", remedy).returncode == 0
    until(lambda: as_ann(desktop, "geoosctl", "status").returncode == 0, "all is well again")


def test_her_timers_start_their_jobs(desktop):
    soon = "[Timer]\nOnCalendar=\nOnActiveSec=100ms\nRandomizedDelaySec=0\nAccuracySec=10ms\n"
    for job in ("backup", "structure"):
        directory = f"/run/user/{desktop.uid}/systemd/user/geoos-{job}.timer.d"
        desktop.write(f"{directory}/99-test.conf", soon)
    desktop.run("chown", "-R", "ann:", f"/run/user/{desktop.uid}/systemd/user")
    for words in (("daemon-reload",), ("start", "geoos-backup.timer", "geoos-structure.timer")):
        done = as_ann(desktop, "systemctl", "--user", *words)
        assert done.returncode == 0, done.stderr

    def told():
        checks = {each["name"]: each["summary"] for each in health(desktop)["checks"]}
        wanted = ("control: backup", "control: structure job")
        return all(checks.get(each, "").startswith("done 0 min ago") for each in wanted)

    until(told, "both are done", 30)
    found = desktop.run("find", "/home/ann", "-path", "*geoos/backup/*.tar.zst").split()
    assert len(found) == 1
    as_ann(desktop, "systemctl", "--user", "stop", "geoos-backup.timer", "geoos-structure.timer")


def test_a_bad_configuration_is_one_clear_line_and_no_restart(desktop):
    as_ann(desktop, "geoosctl", "stop", "bridge")
    desktop.configure("[engine]\nenabled = 'no'\n[bridge]\nlisen = 'x'\n")
    try:
        started = as_ann(desktop, "geoosctl", "start", "bridge")
        assert started.returncode == 78, started.stdout + started.stderr
        assert "do you mean bridge.listen?" in " ".join(started.stdout.split())
        sockets = desktop.run("ls", f"/run/user/{desktop.uid}/geoos").split()
        assert "bridge.varlink" not in sockets  # nobody can start it by knocking
    finally:
        desktop.configure("[engine]\nenabled = 'no'\n")
    assert as_ann(desktop, "geoosctl", "start", "bridge").returncode == 0


def test_reload_and_stop(desktop):
    assert as_ann(desktop, "systemctl", "--user", "reload", "geoos-bridge").returncode == 0
    units = ("geoos.target", "geoos-*.service", "geoos-*.socket")
    assert as_ann(desktop, "systemctl", "--user", "stop", *units).returncode == 0
    until(lambda: desktop.call("pgrep", "-f", "bin/geoosd").stdout == "", "nothing is left")
    assert desktop.run("ls", f"/run/user/{desktop.uid}/geoos").split() == []
