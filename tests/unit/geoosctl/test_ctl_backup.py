"""``backup`` beside a server that misbehaves, and what a command line of ``restore`` refuses."""

import base64
import json
import os

import pytest

BACKUP = "io.geoos.Control.Backup"
END = {"file": None, "size": 0, "data": ""}


def piece(file, size, data):
    return {"file": file, "size": size, "data": base64.b64encode(data).decode()}


GOOD = [
    piece("state/compositor/places.json", 4, b"{}"),
    piece("state/compositor/places.json", 4, b"  "),
    piece("state/bridge/sessions.db", 0, b""),
    END,
]


def names(directory):
    return sorted(path.name for path in directory.iterdir() if path.name != "control.sock")


def test_a_backup_is_whole_and_only_ours(control, geoosctl, tmp_path):
    control.answers[BACKUP] = GOOD
    file = tmp_path / "b.tar.zst"
    result = geoosctl("--json", "backup", str(file))
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["files"] == ["state/compositor/places.json", "state/bridge/sessions.db"]
    assert told["bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    checked = json.loads(geoosctl("--json", "restore", "--check", str(file)).stdout)
    assert [each["bytes"] for each in checked["files"]] == [4, 0]
    assert "places.json" in geoosctl("restore", "--check", str(file)).stdout


BAD = {
    "it ends early": ([*GOOD[:1], END], 70),
    "it ends without an end": (GOOD[:3], 70),
    "it is not base64": ([{**GOOD[0], "data": "?"}, END], 70),
    "a place outside": ([piece("../x", 1, b"x"), END], 70),
    "too much": ([piece("state/bridge/sessions.db", 1, b"xy"), END], 70),
    "another kind of reply": ([{"file": 1}], 70),
    "a daemon is away": ("io.geoos.Unavailable cannot ask the bridge", 69),
    "who may not": ("io.geoos.PermissionDenied use sudo", 77),
    "it breaks off": (b'{"continues": true, "parame', 69),
}


@pytest.mark.parametrize("what", BAD)
def test_what_fails_leaves_the_old_one_and_nothing_else(control, geoosctl, tmp_path, what):
    control.answers[BACKUP], code = BAD[what]
    file = tmp_path / "b.tar.zst"
    file.write_bytes(b"the old one")
    result = geoosctl("backup", str(file))
    assert result.exit_code == code
    assert names(tmp_path) == ["b.tar.zst"]
    assert file.read_bytes() == b"the old one"
    assert result.stderr.startswith("geoosctl: cannot ") or "use sudo" in result.stderr


def test_what_a_kill_left_is_taken_over(control, geoosctl, tmp_path):
    control.answers[BACKUP] = GOOD
    (tmp_path / ".b.part").write_bytes(b"half of a longer one" * 1000)
    assert geoosctl("backup", str(tmp_path / "b")).exit_code == 0
    assert geoosctl("restore", "--check", str(tmp_path / "b")).exit_code == 0
    assert names(tmp_path) == ["b"]


def test_a_link_in_its_place_is_not_followed(control, geoosctl, tmp_path):
    control.answers[BACKUP] = GOOD
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".b.part").symlink_to(tmp_path / "precious")
    assert geoosctl("backup", str(tmp_path / "b")).exit_code == 70
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_backup_takes_the_place_of_a_file_alone(control, geoosctl, tmp_path):
    control.answers[BACKUP] = GOOD
    os.mkfifo(tmp_path / "pipe")
    result = geoosctl("backup", str(tmp_path / "pipe"))
    assert (result.exit_code, "a link, a device or the like is there" in result.stderr) == (
        70,
        True,
    )
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_a_full_disk(control, geoosctl):
    control.answers[BACKUP] = GOOD
    result = geoosctl("backup", "/proc/no.tar.zst")
    assert result.exit_code == 70
    assert "cannot write /proc/no.tar.zst" in result.stderr


def test_the_oldest_go(control, geoosctl, tmp_path):
    control.answers[BACKUP] = GOOD
    folder = tmp_path / "backups"
    folder.mkdir()
    old = [f"geoos-2020010{day}T000000Z.tar.zst" for day in range(1, 5)]
    others = ["geoos-mine.tar.zst", "notes.txt", "geoos-20200101T000000Z.tar.zst.asc"]
    for name in [*old, *others]:
        (folder / name).touch()
    result = geoosctl("--json", "backup", f"{folder}/", "--keep", "3")
    told = json.loads(result.stdout)
    left = names(folder)
    assert [each for each in left if each in old] == old[2:]
    assert set(others) <= set(left)
    assert told["file"].rpartition("/")[2] in left
    assert sorted(told["deleted"]) == [str(folder / name) for name in old[:2]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["restore"],
        ["restore", "--check"],
        ["restore", "--undo", "x"],
        ["restore", "--undo", "--check"],
        ["backup"],
        ["backup", "b", "--keep", "3"],
        ["backup", "b", "--keep", "0"],
    ],
)
def test_usage(geoosctl, arguments):
    assert geoosctl(*arguments).exit_code == 64


def test_nothing_to_undo(geoosctl, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOOS_STATE_DIR", str(tmp_path / "state"))
    result = geoosctl("restore", "--undo")
    assert result.exit_code == 70
    assert "no restore has left anything" in result.stderr


def test_while_a_daemon_runs_nothing_is_restored(control, geoosctl, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOOS_STATE_DIR", str(tmp_path / "state"))
    control.answers[BACKUP] = GOOD
    assert geoosctl("backup", str(tmp_path / "b")).exit_code == 0
    (tmp_path / "bridge.varlink").symlink_to(tmp_path / "control.sock")
    result = geoosctl("restore", str(tmp_path / "b"))
    assert result.exit_code == 69
    assert "the bridge runs and listens on" in result.stderr
    assert not (tmp_path / "state").exists()
