"""``geoosd up`` as a process: what it says when it cannot start, and what it leaves behind."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from .stack import BIN, Stack, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def up(stack, *args, **environ):
    return subprocess.run(
        [BIN / "geoosd", "up", *args],
        capture_output=True,
        text=True,
        env={**stack.environ, **environ},
        timeout=30,
        check=False,
    )


def processes_of(stack):
    """Pids of processes that were started with this stack's runtime directory."""
    mark = f"GEOOS_RUNTIME_DIR={stack.environ['GEOOS_RUNTIME_DIR']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_within_five_seconds_and_leaves_nothing(unstarted, number):
    unstarted.start()
    run = Path(unstarted.environ["GEOOS_RUNTIME_DIR"])
    assert (run / "control.sock").is_socket()
    assert run.stat().st_mode & 0o777 == 0o700
    assert len(processes_of(unstarted)) >= 5
    assert unstarted.stop(number) < 5
    assert list(run.iterdir()) == []
    assert processes_of(unstarted) == []


def test_a_standard_error_that_takes_no_more_ends_nothing(unstarted):
    with Path("/dev/full").open("wb") as full:
        unstarted.start(stderr=full)
    names = set(unstarted.daemons)
    assert {name for name, pid in unstarted.pids().items() if pid} == names
    assert unstarted.stop() < 5


def test_kill_9_leaves_no_process_and_the_next_start_works(unstarted):
    unstarted.start()
    unstarted.process.kill()
    unstarted.process.wait()
    until(lambda: not processes_of(unstarted), 6, "the end of the daemons")
    unstarted.start()
    assert unstarted.ctl("status").returncode == 0


def test_a_second_one_says_who_holds_the_directory(unstarted):
    unstarted.start()
    second = up(unstarted)
    assert second.returncode == 78
    assert f"pid {unstarted.process.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert unstarted.ctl("status").returncode == 0


def test_the_next_one_waits_for_one_that_is_stopping(unstarted):
    """``kill -INT PID; geoosd up``, as health says where sockets are gone."""
    unstarted.start()
    first = unstarted.process
    os.kill(unstarted.pids()["compositor"], signal.SIGSTOP)  # it will not stop at once
    first.send_signal(signal.SIGINT)
    until(lambda: "stopping" in unstarted.log.read_text(), 5, "it is told")
    assert first.poll() is None
    unstarted.start()
    assert first.wait(1) == 0
    assert unstarted.ctl("status").returncode == 0


@pytest.mark.parametrize("key", ["bridge", "broadcaster"])
def test_a_busy_port_is_named_with_its_key(unstarted, key):
    with socket.create_server(("127.0.0.1", getattr(unstarted, key))):
        done = up(unstarted)
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert str(getattr(unstarted, key)) in line
    assert f"{key}.listen" in line
    assert f"pid {os.getpid()}" in line


def test_a_bad_configuration_is_one_line(unstarted):
    unstarted.config.write_text("[bridge]\nlissten = 3\n")
    done = up(unstarted)
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert "do you mean bridge.listen?" in line
    assert str(unstarted.config) in line


def test_a_directory_that_others_may_enter_is_refused(unstarted, tmp_path):
    run = Path(unstarted.environ["GEOOS_RUNTIME_DIR"])
    run.mkdir(mode=0o755)
    run.chmod(0o755)
    done = up(unstarted)
    assert done.returncode == 78
    assert f"chmod 700 {run}" in done.stderr


def test_a_path_too_long_for_a_socket_is_named(unstarted, tmp_path):
    done = up(unstarted, GEOOS_RUNTIME_DIR=str(tmp_path / ("x" * 110)))
    assert done.returncode == 78
    assert "too long for a socket" in done.stderr


def test_the_system_s_directory_is_never_used(unstarted):
    done = up(unstarted, GEOOS_RUNTIME_DIR="/run/geoos")
    assert done.returncode == 78
    assert "systemd" in done.stderr


def test_unknown_commands_and_options_are_usage_errors(unstarted):
    assert up(unstarted, "--frobnicate").returncode == 64
    done = subprocess.run([BIN / "geoosd", "fly"], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "no such command" in done.stderr


def test_nothing_runs_is_said(unstarted):
    status = unstarted.ctl("status")
    assert status.returncode == 3
    assert "stopped" in status.stdout
    assert "geoosd up" in status.stdout or "make run" in status.stdout
    assert unstarted.ctl("health").returncode == 3
    assert unstarted.ctl("--socket", "/nonexistent/control.sock", "health").returncode == 69


def test_two_stacks_side_by_side(unstarted, tmp_path):
    other_dir = tmp_path / "other"
    other_dir.mkdir()
    other = Stack(other_dir, engine=False)
    try:
        unstarted.start()
        other.start()
        assert unstarted.ctl("status").returncode == 0
        assert other.ctl("status").returncode == 0
    finally:
        other.kill()
