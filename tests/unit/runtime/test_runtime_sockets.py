"""geoosd.runtime.sockets: activation by name in a real process, stale files, taken ports."""

import json
import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio

from geoosd.config import Address
from geoosd.errors import StartError
from geoosd.runtime import sockets

ACTIVATED = """
import json, os, sys
count, names, pid = int(sys.argv[1]), sys.argv[2], sys.argv[3]
for target in range(count):
    os.dup2(int(sys.argv[4 + target]), 3 + target)
os.environ.update(LISTEN_FDS=str(count), LISTEN_FDNAMES=names)
os.environ["LISTEN_PID"] = str(os.getpid()) if pid == "mine" else pid
from geoosd.runtime.sockets import take_listen_fds
taken = take_listen_fds()
print(json.dumps({
    "taken": {name: [sock.getsockname() for sock in socks] for name, socks in taken.items()},
    "inheritable": [sock.get_inheritable() for socks in taken.values() for sock in socks],
    "left": [name for name in os.environ if name.startswith("LISTEN_")],
    "again": take_listen_fds() != {},
}))
"""


def activate(names, files, pid="mine"):
    """Start a process with *files* as its descriptors from 3 on; what it made of them."""
    # Numbers above those that the child gives out, so that dup2 overwrites none of them.
    given = [os.dup2(file.fileno(), 200 + index) for index, file in enumerate(files)]
    arguments = [str(len(given)), names, pid, *map(str, given)]
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ACTIVATED, *arguments],
            pass_fds=given,
            capture_output=True,
            check=True,
            timeout=60,
        )
    finally:
        for fd in given:
            os.close(fd)
    return json.loads(answer.stdout)


@pytest.fixture
def listeners(tmp_path):
    made = [sockets.bind_unix(tmp_path / name) for name in ("feed", "varlink", "second")]
    yield made
    for each in made:
        each.close()


def test_sockets_are_taken_by_name_whatever_their_order(listeners, tmp_path):
    feed, varlink, second = listeners
    with Path(os.devnull).open() as no_socket:
        answer = activate("varlink:feed:other:varlink", [varlink, feed, no_socket, second])
    assert answer == {
        "taken": {
            "varlink": [str(tmp_path / "varlink"), str(tmp_path / "second")],
            "feed": [str(tmp_path / "feed")],
        },
        "inheritable": [False] * 3,
        "left": [],
        "again": False,
    }


def test_what_has_no_name_is_unknown(listeners, tmp_path):
    answer = activate("", listeners[:1])
    assert answer["taken"] == {"unknown": [str(tmp_path / "feed")]}


def test_what_is_for_another_process_is_left_alone(listeners):
    answer = activate("feed", listeners[:1], pid="1")
    assert answer["taken"] == {}
    assert answer["left"] == []


def test_without_activation_there_is_nothing(monkeypatch):
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert sockets.take_listen_fds() == {}


# -- Unix ------------------------------------------------------------------------------------------


def test_a_socket_is_for_us_and_our_group(tmp_path):
    path = tmp_path / "a.sock"
    with sockets.bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_dead_predecessors_file_is_replaced(tmp_path):
    path = tmp_path / "a.sock"
    sockets.bind_unix(path).close()
    assert path.is_socket()
    with sockets.bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert client.getpeername() == str(path)


def test_a_living_listener_is_respected(tmp_path):
    path = tmp_path / "a.sock"
    with sockets.bind_unix(path), pytest.raises(StartError, match="somebody does already"):
        sockets.bind_unix(path)
    assert path.is_socket()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("keep me")
    with pytest.raises(StartError, match="cannot listen on"):
        sockets.bind_unix(path)
    assert path.read_text() == "keep me"


def test_a_directory_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StartError, match="no such file or directory"):
        sockets.bind_unix(tmp_path / "no" / "a.sock")


# -- TCP -------------------------------------------------------------------------------------------


async def test_a_port_of_the_kernels_choice():
    (listener,) = await sockets.bind_tcp(Address("127.0.0.1", 0), "bridge.listen")
    async with listener:
        assert listener.socket.getsockname()[1] > 0


async def test_a_taken_port_is_named_with_its_holder_and_its_key():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = rf"127\.0\.0\.1:{port}: .* \(pid {os.getpid()}\).*--set broadcaster\.listen="
        with pytest.raises(StartError, match=said):
            await sockets.bind_tcp(Address("127.0.0.1", port), "broadcaster.listen")


async def test_an_address_that_is_not_ours_is_said():
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1:9 \(bridge\.listen\)"):
        await sockets.bind_tcp(Address("192.0.2.1", 9), "bridge.listen")


def test_a_free_port_has_no_holder():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert sockets.port_holder(port) is None


async def test_several_processes_share_a_port_and_nobody_else():
    groups = await sockets.bind_shared(Address("127.0.0.1", 0), "broadcaster.listen", 3)
    with ExitStack() as opened:
        found = [opened.enter_context(sock) for group in groups for sock in group]
        [where] = {sock.getsockname() for sock in found}
        with pytest.raises(OSError, match="in use"):
            socket.create_server(where)
        for _ in range(60):
            opened.enter_context(socket.create_connection(where))
        accepted = [0, 0, 0]
        for number, sock in enumerate(found):
            with suppress(BlockingIOError):
                while True:
                    opened.enter_context(sock.accept()[0])
                    accepted[number] += 1
        assert sum(accepted) == 60
        assert all(accepted), "the kernel gives each of them some"


async def test_a_shared_port_that_is_taken_is_waited_for_and_then_said(mock_clock):
    mock_clock.autojump_threshold = 0
    taken = socket.create_server(("127.0.0.1", 0))
    address = Address("127.0.0.1", taken.getsockname()[1])
    with taken, pytest.raises(StartError, match="the port is taken by"):
        await sockets.bind_shared(address, "broadcaster.listen", 2)
    # One that has several owners already is as good as taken: nobody joins by accident.
    groups = await sockets.bind_shared(Address("127.0.0.1", 0), "x", 2)
    with ExitStack() as opened:
        [where, _] = [opened.enter_context(sock).getsockname() for [sock] in groups]
        with pytest.raises(StartError, match="the port is taken by"):
            await sockets.bind_shared(Address(*where), "broadcaster.listen", 2)
    groups = await sockets.bind_shared(Address(*where), "x", 2)  # free again: taken at once
    for [sock] in groups:
        sock.close()


async def test_localhost_has_two_addresses():
    groups = await sockets.bind_shared(Address("localhost", 0), "x", 2)
    families = [{sock.family for sock in group} for group in groups]
    for sock in (each for group in groups for each in group):
        sock.close()
    assert families[0] == families[1]
    with pytest.raises(StartError, match=r"cannot listen on 203.0.113.1:0 \(x\): "):
        await sockets.bind_shared(Address("203.0.113.1", 0), "x", 2)


class _Resolver(trio.abc.HostnameResolver):
    """Knows a host by these addresses."""

    def __init__(self, *found):
        self.found = found

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        return [(each, socket.SOCK_STREAM, 0, "", where) for each, where in self.found]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_a_family_that_the_machine_does_not_have_is_done_without():
    """As ``localhost`` with ``ipv6.disable=1``; DECnet is what no kernel has any more."""
    there, decnet = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_DECnet, ("::1", 0))
    before = trio.socket.set_custom_hostname_resolver(_Resolver(decnet, there))
    try:
        groups = await sockets.bind_shared(Address("two.example", 0), "x", 2)
        for [sock] in groups:
            assert sock.family == socket.AF_INET
            sock.close()
        trio.socket.set_custom_hostname_resolver(_Resolver(decnet))
        with pytest.raises(StartError, match=r"cannot listen on two\.example:0"):
            await sockets.bind_shared(Address("two.example", 0), "x", 2)
    finally:
        trio.socket.set_custom_hostname_resolver(before)
