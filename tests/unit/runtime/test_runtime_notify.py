"""geoosd.runtime.notify: what a service manager hears over a real datagram socket."""

import os
import re
import socket

import pytest

from geoosd.runtime.notify import Notifier, watchdog_interval


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path, monkeypatch):
    name = str(tmp_path / "notify") if request.param == "file" else f"@geoos-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0"))
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield receiver


def heard(manager):
    return manager.recv(4096).decode()


def test_the_life_of_a_daemon_is_told(manager):
    notifier = Notifier()
    notifier.ready("serving\non two\nlines")
    assert heard(manager) == "READY=1\nSTATUS=serving on two lines"
    notifier.status("12 viewers")
    assert heard(manager) == "STATUS=12 viewers"
    notifier.watchdog()
    assert heard(manager) == "WATCHDOG=1"
    notifier.reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", heard(manager))
    notifier.stopping()
    assert heard(manager) == "STOPPING=1\nSTATUS=draining"
    notifier.close()
    notifier.status("nobody hears this")
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1)


def test_without_a_manager_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("alone")
    notifier.close()
    assert notifier._manager is None


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # sdnotify leaves its socket to the collector
def test_a_manager_that_is_gone_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notifier = Notifier()
    notifier.ready("alone")
    notifier.close()
    assert notifier._manager is None


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("2000000", None, 2.0),
        ("500000", "mine", 0.5),
        ("2000000", "1", None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_interval_is_ours_alone(usec, pid, seconds, monkeypatch):
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(os.getpid()) if value == "mine" else value)
    assert watchdog_interval() == seconds
