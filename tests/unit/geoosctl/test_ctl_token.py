"""``geoosctl token``: keys and tokens, and what is said when there is no key."""

import json
import stat
import time

import pytest

from geoosd.wire import tokens


@pytest.fixture
def key(geoosctl, tmp_path):
    file = tmp_path / "keys" / "viewers"
    assert geoosctl("token", "key", str(file)).exit_code == 0
    return file


def test_a_key_is_ours_alone_and_never_overwritten(geoosctl, key):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    before = key.read_bytes()
    assert len(before.strip()) == 64
    again = geoosctl("token", "key", str(key))
    assert again.exit_code == 78
    assert "it is there" in again.stderr
    assert key.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "role", "ttl"),
    [
        ([], "viewer", 30 * 86400),
        (["--role", "admin", "--ttl", "12h"], "admin", 12 * 3600),
        (["--ttl", "90"], "viewer", 90),
        (["--ttl", "4w"], "viewer", 28 * 86400),
    ],
)
def test_a_token(geoosctl, key, options, role, ttl):
    made = geoosctl("token", "create", "--key", str(key), *options)
    secret = tokens.key_of(key.read_bytes(), "")
    found = tokens.verify(made.stdout.strip(), secret, time.time())
    assert found.role == role
    assert abs(found.expires - time.time() - ttl) < 10
    as_json = json.loads(geoosctl("token", "create", "--key", str(key), "--json", *options).stdout)
    assert tokens.verify(as_json["token"], secret, time.time()).role == as_json["role"] == role
    assert as_json["token"] != made.stdout.strip()


@pytest.mark.parametrize("ttl", ["0", "-1d", "soon", "1y", "99999w", "1.5h", ""])
def test_a_duration_that_is_none(geoosctl, key, ttl):
    refused = geoosctl("token", "create", "--key", str(key), f"--ttl={ttl}")
    assert refused.exit_code == 64
    assert "30d" in refused.stderr


def test_the_key_of_the_configuration(geoosctl, key, tmp_path, monkeypatch):
    file = tmp_path / "geoos.toml"
    monkeypatch.setenv("GEOOS_CONFIG", str(file))
    file.write_text("")
    refused = geoosctl("token", "create")
    assert refused.exit_code == 78
    assert "geoosctl token key FILE" in refused.stderr
    file.write_text(f'[broadcaster]\ntoken_key = "{key}"\n')
    assert geoosctl("token", "create").exit_code == 0
    file.write_text('[broadcaster]\ntoken_key = "viewers"\n')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    assert geoosctl("token", "create").exit_code == 0
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    refused = geoosctl("token", "create")
    assert refused.exit_code == 78
    assert "cannot find the key 'viewers'" in refused.stderr


def test_a_key_that_cannot_be_read_or_written(geoosctl, tmp_path):
    refused = geoosctl("token", "create", "--key", str(tmp_path / "none"))
    assert refused.exit_code == 78
    assert "geoosctl token key" in refused.stderr
    short = tmp_path / "short"
    short.write_text("secret")
    refused = geoosctl("token", "create", "--key", str(short))
    assert refused.exit_code == 78
    assert "secret" not in refused.stderr
    assert geoosctl("token", "key", str(tmp_path / "no" / "such" / "key")).exit_code == 78
