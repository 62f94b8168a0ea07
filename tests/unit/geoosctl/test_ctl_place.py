"""geoosctl.place."""

from pathlib import Path

from geoosctl import place


def test_a_client_finds_the_control_socket(monkeypatch, tmp_path):
    monkeypatch.setattr(place, "SYSTEM_RUNTIME_DIR", tmp_path)
    foreground = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert place.control_socket("/named.sock", foreground) == Path("/named.sock")
    assert place.control_socket(None, foreground) == Path("/run/user/7/geoos/control.sock")
    (tmp_path / "engine.varlink").symlink_to("engine/engine.varlink")  # a link to nothing
    assert place.control_socket(None, foreground) == Path("/run/user/7/geoos/control.sock")
    (tmp_path / "bridge.varlink").touch()  # control alone was stopped
    assert place.control_socket(None, foreground) == tmp_path / "control.sock"
    (tmp_path / "control.sock").touch()
    assert place.control_socket(None, foreground) == tmp_path / "control.sock"
    told = {"GEOOS_RUNTIME_DIR": "/mine"}
    assert place.control_socket(None, told) == Path("/mine/control.sock")
    monkeypatch.setenv("GEOOS_RUNTIME_DIR", "/process")
    assert place.control_socket() == Path("/process/control.sock")
