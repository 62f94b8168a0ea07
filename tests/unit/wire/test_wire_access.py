"""Who may ask: hosts, origins, and calls from our own page."""

from geoosd.wire.access import Doorkeeper


def test_hosts_and_origins():
    door = Doorkeeper.of("192.0.2.7", ["https://Watch.example/", "http://["])
    for host in (
        "localhost:8765",
        "127.0.0.1",
        "127.1.2.3:1",
        "[::1]:8765",
        "a.localhost",
        "192.0.2.7:8765",
        "watch.example",
    ):
        assert door.welcomes_host(host)
    for host in ("evil.example", "127.evil.example.com", "127.0.0.x", "", "10.0.0.1", "::1"):
        assert not door.welcomes_host(host)
    for host in ("127.0.0.1:80:80", "[::1", "localhost:80.evil.example", "localhost, evil.example"):
        assert not door.welcomes_host(host), host
    for origin in (None, "http://localhost:1", "https://watch.example"):
        assert door.welcomes_origin(origin, "localhost")
    for origin in (
        "http://127.0.0.1:80.evil.example",
        "http://localhost:1, http://evil.example",
        "http://user@localhost",
    ):
        assert not door.welcomes_origin(origin, "localhost"), origin
    for origin in ("null", "https://evil.example", "file://", "http://["):
        assert door.welcomes_origin(origin, "localhost") is (origin == "http://[")


def test_same_origin():
    door = Doorkeeper.of("127.0.0.1", ["https://watch.example"])
    assert door.is_same_origin(None, "localhost:1", None)
    assert door.is_same_origin("http://localhost:1", "localhost:1", "same-origin")
    assert door.is_same_origin("https://watch.example", "localhost:1", None)
    assert not door.is_same_origin("http://localhost:2", "localhost:1", None)
    assert not door.is_same_origin("http://localhost:1", "localhost:1", "cross-site")
    assert not door.is_same_origin("null", "localhost:1", None)
