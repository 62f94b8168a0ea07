"""What is allowed: paces, places of origin, and the answer to who is not let in."""

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request

from geoosd.broadcaster.core import frames
from geoosd.broadcaster.core.allowance import Allowance, Pace
from geoosd.broadcaster.core.census import Census, client_of
from geoosd.broadcaster.core.subscription import Filter, Subscription
from geoosd.broadcaster.core.viewer import Viewer
from geoosd.wire.access import Doorkeeper


def test_an_allowance_is_a_burst_and_then_a_rate():
    allowance = Allowance(Pace(rate=2, burst=4))
    assert [allowance.spend(1, 10.0) for _ in range(6)] == [0, 0, 0, 0, 0.5, 1.0]
    assert allowance.spend(1, 11.5) == 0.0
    assert allowance.spend(1, 11.5) == 0.5
    assert allowance.spend(4, 100.0) == 0.0


def test_places_fill_and_empty():
    census = Census(2)
    assert [census.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert census.enter("::ffff:192.0.2.2")
    assert not census.enter("::ffff:192.0.2.1")
    assert census.enter("2001:db8::1")
    assert census.enter("2001:db8::2%eth0")
    assert not census.enter("2001:db8::3")
    assert census.enter("2001:db8:0:1::1")
    assert all(census.enter(here) for here in ("127.0.0.1", "127.9.9.9", "::1") for _ in range(5))
    census.leave("127.0.0.1")
    census.leave("192.0.2.1")
    assert census.enter("192.0.2.1")
    for gone in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8:0:1::1"):
        census.leave(gone)
    census.leave("2001:db8::1")
    census.leave("2001:db8::2")
    assert len(census) == 0


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("::1", "10.0.0.1, 2001:db8::1 ", "2001:db8::1"),
        ("127.0.0.1", "10.0.0.1, unknown", "127.0.0.1"),
        ("192.0.2.9", "10.0.0.1", "192.0.2.9"),
    ],
)
def test_a_proxy_is_believed_on_this_machine_alone(peer, said, client):
    assert client_of(peer, said) == client


@pytest.mark.parametrize("subprotocol", ["geoos.v1", None])
def test_a_refusal_is_a_handshake_and_a_close(subprotocol):
    browser = WSConnection(ConnectionType.CLIENT)
    offered = [subprotocol] if subprotocol else []
    asked = browser.send(Request(host="localhost", target="/neural", subprotocols=offered))
    [key] = [
        line.split(b": ")[1] for line in asked.split(b"\r\n") if b"websocket-key" in line.lower()
    ]
    browser.receive_data(frames.refusal(key.decode(), subprotocol, 1013, "too many"))
    accepted, closed = browser.events()
    assert accepted == AcceptConnection(subprotocol=subprotocol, extra_headers=[])
    assert closed == CloseConnection(1013, "too many")


def test_a_wildcard_takes_any_address_as_host_and_pages_of_itself():
    door = Doorkeeper.of("0.0.0.0", [])
    assert door.welcomes_host("192.0.2.7:8765")
    assert door.welcomes_host("[2001:db8::1]:8765")
    assert not door.welcomes_host("box.example")
    assert door.welcomes_origin("http://192.0.2.7:8765", "192.0.2.7:8765")
    assert not door.welcomes_origin("http://192.0.2.8", "192.0.2.7:8765")


def test_a_viewer_measures_its_rate():
    viewer = Viewer("v1", "here", 0.0, Subscription(Filter(), 16))
    viewer.mark(10.0)
    assert viewer.rate == 0.0
    viewer.sent_before = 50
    viewer.mark(10.0)
    assert viewer.rate == 0.0
    viewer.sent_before = 100
    viewer.mark(15.0)
    assert viewer.rate == 10.0
