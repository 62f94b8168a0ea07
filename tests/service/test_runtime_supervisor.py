"""Supervised children: readiness, sockets by name, restarts, exit 78, silence, orphans."""

import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from geoosd.runtime import supervisor
from geoosd.runtime.sockets import bind_unix

READY = """
import os, socket, sys, time
def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
"""


class Notes:
    """Everything a child let us hear."""

    def __init__(self):
        self.lines = []
        self.changes = []
        self.status = []
        self.events = supervisor.Events(
            lambda _name, line: self.lines.append(line),
            lambda _name, what: self.changes.append(what),
            lambda _name, text: self.status.append(text),
        )


@pytest.fixture
def notes():
    return Notes()


def child_of(tmp_path, notes, source, **sockets):
    program = tmp_path / "child.py"
    program.write_text(READY + textwrap.dedent(source))
    spec = supervisor.ChildSpec(
        "child", [sys.executable, str(program)], tmp_path / "child.notify", sockets
    )
    return supervisor.Child(spec, notes.events)


async def until(condition, seconds=10.0):
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_a_child_reports_and_serves_the_sockets_it_was_given(tmp_path, notes, nursery):
    one = bind_unix(tmp_path / "one.sock")
    two = bind_unix(tmp_path / "two.sock")
    child = child_of(
        tmp_path,
        notes,
        """
        assert int(os.environ["LISTEN_PID"]) == os.getpid()
        names = os.environ["LISTEN_FDNAMES"].split(":")
        listener = socket.socket(fileno=3 + names.index("second"))
        notify("READY=1\\nSTATUS=here I am")
        peer, _ = listener.accept()
        print("served", peer.recv(10).decode(), flush=True)
        time.sleep(60)
        """,
        first=one,
        second=two,
    )
    nursery.start_soon(child.run)
    with trio.fail_after(10):
        await child.ready.wait()
    async with await trio.open_unix_socket(str(tmp_path / "two.sock")) as stream:
        await stream.send_all(b"hello")
        await until(lambda: notes.lines)
    assert notes.lines == ["served hello"]
    assert notes.status == ["here I am"]
    await supervisor.stop_all([child], 4)
    await until(lambda: child.pid is None)
    assert not (tmp_path / "child.notify").exists() or child.pid is None
    one.close()
    two.close()


async def test_what_a_manager_above_wants_of_its_supervisor_is_not_the_childs(
    tmp_path, notes, nursery, monkeypatch
):
    """As of systemd, when a unit with a watchdog keeps workers: theirs is the supervisor's."""
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    source = """
    from geoosd.runtime.notify import watchdog_interval
    print(watchdog_interval(), flush=True)
    time.sleep(60)
    """
    child = child_of(tmp_path, notes, source)
    nursery.start_soon(child.run)
    await until(lambda: notes.lines)
    assert notes.lines == ["10.0"]
    await supervisor.stop_all([child], 4)


@pytest.mark.parametrize(
    ("number", "named"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGRTMIN + 6, "signal 40")]
)
async def test_a_killed_child_comes_back(tmp_path, notes, nursery, number, named):
    child = child_of(tmp_path, notes, "notify('READY=1')\ntime.sleep(60)")
    nursery.start_soon(child.run)
    with trio.fail_after(10):
        await child.ready.wait()
    first = child.pid
    os.kill(first, number)
    await until(lambda: child.pid not in (None, first))
    assert notes.changes == [f"killed by {named}; restarting in 0.2 s"]
    assert child.restarts == 1
    await supervisor.stop_all([child], 4)


async def test_a_restart_is_not_awaited_when_all_stop(tmp_path, notes):
    child = child_of(tmp_path, notes, "print('last words'); sys.exit(3)")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.run)
            await until(lambda: notes.changes)
            child.stop()
    assert notes.lines == ["last words"]
    assert notes.changes == ["ended with exit code 3; restarting in 0.2 s"]


async def test_what_is_said_in_the_middle_of_a_line_is_heard_too(tmp_path, notes):
    source = "print('one', flush=True); os.write(1, b'two'); os.abort()"
    child = child_of(tmp_path, notes, source)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.run)
            await until(lambda: notes.changes)
            child.stop()
    assert notes.lines == ["one", "two"]


async def test_a_child_that_cannot_be_started_now_is_started_later(tmp_path, notes, nursery):
    """As when there is no process or file to be had; its supervisor and its siblings go on."""
    child = child_of(tmp_path, notes, "notify('READY=1')\ntime.sleep(60)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One for the notify socket; the pipes of a process need more.
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, hard))
    try:
        nursery.start_soon(child.run)
        await until(lambda: notes.changes)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert notes.changes[0] == "cannot be started: too many open files; restarting in 0.2 s"
    with trio.fail_after(10):
        await child.ready.wait()
    await supervisor.stop_all([child], 4)


async def test_exit_78_is_final(tmp_path, notes):
    child = child_of(tmp_path, notes, "sys.exit('bad configuration') if 0 else sys.exit(78)")
    with trio.fail_after(10):
        await child.run()
    assert child.gave_up.is_set()
    assert child.exit_code == 78
    assert child.restarts == 0


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path, notes, nursery):
    child = child_of(
        tmp_path,
        notes,
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        notify("READY=1")
        time.sleep(60)
        """,
    )
    nursery.start_soon(child.run)
    with trio.fail_after(10):
        await child.ready.wait()
    await supervisor.stop_all([child], 0.2)
    await until(lambda: child.pid is None)


async def test_a_silent_child_is_aborted_with_its_stack(tmp_path, notes, nursery, monkeypatch):
    monkeypatch.setattr(supervisor, "_WATCHDOG_SECONDS", 0.5)
    child = child_of(
        tmp_path,
        notes,
        """
        import faulthandler
        faulthandler.enable()
        notify("READY=1")
        def hanging_here():
            time.sleep(60)
        hanging_here()
        """,
    )
    nursery.start_soon(child.run)
    await until(lambda: len(notes.changes) >= 2)
    assert notes.changes[0] == "silent for 0.5 s: aborting it"
    assert notes.changes[1].startswith("killed by SIGABRT")
    assert any("hanging_here" in line for line in notes.lines)
    await supervisor.stop_all([child], 4)


async def test_children_end_with_their_supervisor(tmp_path):
    pid_file = tmp_path / "pid"
    program = f"""
import trio
from pathlib import Path
from geoosd.runtime import supervisor
quiet = supervisor.Events(lambda *_: None, lambda *_: None, lambda *_: None)
code = "import os, time; open({str(pid_file)!r} + '.tmp', 'w').write(str(os.getpid())); " \\
       "os.rename({str(pid_file)!r} + '.tmp', {str(pid_file)!r}); time.sleep(60)"
spec = supervisor.ChildSpec("c", [{sys.executable!r}, "-c", code], Path({str(tmp_path / "n")!r}))
trio.run(supervisor.Child(spec, quiet).run)
"""
    parent = subprocess.Popen([sys.executable, "-c", program])  # noqa: ASYNC220
    try:
        await until(pid_file.exists)
    finally:
        parent.kill()
        parent.wait()
    child = int(pid_file.read_text())
    await until(lambda: not _runs(child))


def _runs(pid):
    """Whether *pid* is a process that has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_signals_become_events():
    async def main(signals):
        reloads = []
        signals.on_reload = lambda: reloads.append(1)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: reloads)
        os.kill(os.getpid(), signal.SIGTERM)
        with trio.fail_after(5):
            await signals.stop.wait()
        return 5

    assert supervisor.run_with_signals(main) == 5


def test_the_socket_type_is_what_it_seems(tmp_path):
    with bind_unix(tmp_path / "s.sock") as bound:
        assert bound.type == socket.SOCK_STREAM
        assert (tmp_path / "s.sock").stat().st_mode & 0o777 == 0o660
