"""geoosd.runtime.varlink: who a peer is and what it may do."""

import os
import socket

import pytest
import trio

from geoosd.runtime import varlink
from geoosd.runtime.varlink import Peer, Policy

POLICY = Policy(read_gids=frozenset({100, 200}), admin_gids=frozenset({200}))


async def test_a_peer_is_known_by_the_kernels_word():
    ours, theirs = (
        trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in socket.socketpair()
    )
    async with ours, theirs:
        peer = Peer.of(ours)
    assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
    assert peer.groups == {os.getgid(), *os.getgroups()}


def test_more_groups_than_fit_are_none():
    class Sock:
        def getsockopt(self, _level, option, size):
            if option == socket.SO_PEERCRED:
                return b"".join(n.to_bytes(4, "little") for n in (7, 1000, 1001))
            raise OSError(34, "ERANGE")

    class Stream:
        socket = Sock()

    assert Peer.of(Stream()) == Peer(7, 1000, frozenset({1001}))


@pytest.mark.parametrize(
    ("uid", "groups", "allowed"),
    [
        (0, {0}, {"read", "use", "admin"}),
        (os.getuid(), set(), {"read", "use", "admin"}),
        (4242, {200}, {"read", "use", "admin"}),
        (4242, {100}, {"read", "use"}),
        (4242, {300}, set()),
        (4242, set(), set()),
    ],
)
def test_groups_decide_what_a_peer_may_do(uid, groups, allowed):
    peer = Peer(1, uid, frozenset(groups))
    assert {access for access in ("read", "use", "admin") if POLICY.allows(peer, access)} == allowed


def test_groups_that_do_not_exist_give_nothing(monkeypatch):
    monkeypatch.setattr(varlink, "_READ_GROUP", "no-such-group-here")
    monkeypatch.setattr(varlink, "_ADMIN_GROUP", "nor-this-one")
    assert Policy.of_system() == Policy(frozenset(), frozenset())


def test_administrators_may_read_too(monkeypatch):
    monkeypatch.setattr(varlink, "_READ_GROUP", "no-such-group-here")
    monkeypatch.setattr(varlink, "_ADMIN_GROUP", "root")
    assert Policy.of_system() == Policy(frozenset({0}), frozenset({0}))


@pytest.mark.parametrize(("access", "groups"), [("use", "geoos"), ("admin", "geoos,geoos-admin")])
def test_a_denial_names_the_remedy(access, groups):
    denial = varlink._denial("io.geoos.Control.Reload", access)
    assert denial.startswith("cannot call io.geoos.Control.Reload: needs root or group")
    assert f"usermod -aG {groups} " in denial
