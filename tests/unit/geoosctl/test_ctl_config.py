"""``geoosctl config`` and the example that is shipped as etc/geoos.toml."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
import pytest

from geoosctl.commands.config import ABOUT, example_text
from geoosd import config

SHIPPED = Path(__file__).parents[3] / "etc" / "geoos.toml"


def test_the_example_has_every_key_with_its_default():
    table = tomllib.loads(example_text())
    raw = msgspec.to_builtins(config.RawConfig())
    raw["bridge"].pop("upstream")
    assert table == raw
    config.resolve(config.parse(table))


def test_the_example_upstream_can_be_used_once_it_is_uncommented():
    head, _, sample = example_text().partition("#[[bridge.upstream]]")
    lines = [line.removeprefix("#") for line in sample.splitlines() if not line.startswith("# ")]
    table = tomllib.loads("\n".join([head, "[[bridge.upstream]]", *lines]))
    (upstream,) = config.resolve(config.parse(table)).upstreams
    assert upstream.id == "desk"
    known = set(config.RawUpstream.__struct_fields__)
    assert set(table["bridge"]["upstream"][0]) == known


def test_every_key_is_explained_and_nothing_else():
    known = set(config.RawConfig.__struct_fields__)
    for name in config.RawConfig.__struct_fields__:
        section = getattr(config.RawConfig(), name)
        known |= {f"{name}.{key}" for key in section.__struct_fields__}
    known |= {f"bridge.upstream.{key}" for key in config.RawUpstream.__struct_fields__}
    assert set(ABOUT) == known


def test_the_shipped_file_is_the_example():
    assert SHIPPED.read_text(encoding="utf-8") == example_text()


def test_example(geoosctl):
    assert geoosctl("config", "example").stdout == example_text()
    assert json.loads(geoosctl("config", "example", "--json").stdout)["text"] == example_text()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[broadcaster]\nlisten = '0.0.0.0:8765'\n", 2, "off loopback every call needs a token"),
        ("[engine]\n\nmode = 'glass-box'\n", 3, "'glass-box' is not in this version"),
    ],
)
def test_check_refuses_what_a_daemon_would_not_start_with(geoosctl, tmp_path, text, line, said):
    file = tmp_path / "geoos.toml"
    file.write_text(text)
    result = geoosctl("config", "check", str(file))
    assert result.exit_code == 78
    assert said in result.stderr
    assert f"{line} | {text.splitlines()[line - 1]}" in result.stderr
    told = json.loads(geoosctl("config", "check", str(file), "--json").stdout)
    assert (told["ok"], told["line"], told["file"]) == (False, line, str(file))


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "geoos.toml"
    path.write_text(
        '[log]\nlevel = "debug"\n[[bridge.upstream]]\nid = "a"\nurl = "http://127.0.0.1:1"\n'
    )
    return path


def test_check(geoosctl, file):
    assert geoosctl("config", "check", str(file)).stdout == f"{file}: ok\n"
    assert json.loads(geoosctl("config", "check", str(file), "--json").stdout) == {
        "version": 1,
        "file": str(file),
        "ok": True,
        "error": None,
        "line": None,
    }
    file.write_text("[bridge]\nlisten_on = 1\n")
    result = geoosctl("config", "check", str(file))
    assert result.exit_code == 78
    assert "unknown key bridge.listen_on; do you mean bridge.listen?" in result.stderr
    refused = json.loads(geoosctl("config", "check", str(file), "--json").stdout)
    assert (refused["ok"], "listen_on" in refused["error"]) == (False, True)


def test_show_is_toml_again(geoosctl, file):
    text = geoosctl("config", "show", str(file)).stdout
    assert text.startswith(f"# {file}\n")
    found = config.resolve(config.parse(tomllib.loads(text)))
    assert found.log.level == "debug"
    assert found.upstreams[0].id == "a"
    shown = json.loads(geoosctl("config", "show", str(file), "--json").stdout)
    assert shown["config"]["log"]["level"] == "debug"
    assert geoosctl("config", "show", "/nowhere.toml").exit_code == 78


def test_the_environment_names_the_file(geoosctl, file, monkeypatch):
    monkeypatch.setenv("GEOOS_CONFIG", str(file))
    assert geoosctl("config", "check").stdout == f"{file}: ok\n"
