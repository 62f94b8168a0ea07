"""A backup in place of the state: all or nothing, also when it is killed, and back again."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from geoosctl import archive, restoring
from geoosctl.archive import Incoming
from geoosd.errors import ConfigError, GeoosError

CONFIG = b"[log]\nlevel = 'debug'\n"
BACKUP = {
    "etc/geoos.toml": CONFIG,
    "etc/themes/mine.json": b"{}",
    "state/compositor/places.json": b"new places",
    "state/compositor/themes/x.json": b"theme",
    "state/bridge/sessions.db": b"new sessions",
}
OLD = {
    "state/compositor/places.json": b"old places",
    "state/compositor/scene.npz": b"old scene",
    "state/bridge/sessions.db": b"old sessions",
    "state/bridge/sessions.db-wal": b"old wal",
    "state/control/alerts": b"not ours",
    "etc/geoos.toml": b"# old\n",
}
NEW = {**BACKUP, "state/control/alerts": b"not ours"}


def tree(root):
    """Every file but what restores keep aside."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    }


def fill(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.fixture
def root(tmp_path):
    fill(tmp_path / "root", OLD)
    return tmp_path / "root"


@pytest.fixture
def target(root):
    return restoring.Target(root / "state", root / "etc/geoos.toml", root / "etc/themes")


@pytest.fixture
def backup(tmp_path):
    return made(tmp_path / "b.tar.zst", BACKUP)


def made(path, files):
    with path.open("wb") as file:
        archive.write(
            file, [Incoming(name, len(it), [it] if it else []) for name, it in files.items()], 1.0
        )
    return path


def restore(backup, target):
    contents = archive.read(backup)
    restoring.prepare(backup, contents, target)
    return restoring.swap(contents, target)


def test_the_state_is_the_backups_and_comes_back(backup, target, root):
    aside = restore(backup, target)
    assert tree(root) == NEW
    assert list(restoring.kept(target)) == [aside]
    assert restoring.interrupted(target) == []
    assert not (target.state / ".restore-new").exists()
    restoring.undo(target, aside)
    assert tree(root) == OLD
    assert restoring.kept(target) == []
    # Nothing was thrown away.
    assert (aside / "bridge.restored/sessions.db").read_bytes() == b"new sessions"


def test_files_are_ours_alone(backup, target):
    restore(backup, target)
    for path in (target.state / "bridge", target.state / "compositor"):
        assert path.stat().st_mode & 0o777 == 0o700
        for each in filter(Path.is_file, path.rglob("*")):
            assert each.stat().st_mode & 0o777 == 0o600
    assert target.config.stat().st_mode & 0o044 == 0o044  # as it was before


def test_a_machine_without_any_state(backup, tmp_path):
    root = tmp_path / "fresh"
    target = restoring.Target(root / "state", root / "etc/geoos.toml", root / "etc/themes")
    aside = restore(backup, target)
    assert tree(root) == BACKUP
    restoring.undo(target, aside)
    assert tree(root) == {}


def test_a_backup_without_a_daemons_files_leaves_that_daemon_empty(tmp_path, target, root):
    backup = made(tmp_path / "b2", {"state/compositor/places.json": b"p"})
    restore(backup, target)
    assert [name for name in tree(root) if name.startswith("state/bridge")] == []
    assert (target.state / "bridge").is_dir()


def test_the_configuration_stays_where_it_is_not_ours(backup, root):
    target = restoring.Target(root / "state")
    restore(backup, target)
    assert (root / "etc/geoos.toml").read_bytes() == OLD["etc/geoos.toml"]


def test_two_restores_can_be_undone_one_after_the_other(backup, tmp_path, target, root):
    restore(backup, target)
    second = made(tmp_path / "second", {"state/bridge/sessions.db": b"second"})
    restore(second, target)
    for expected in (NEW, OLD):
        restoring.undo(target, restoring.kept(target)[-1])
        assert tree(root) == expected


def test_a_bad_configuration_is_refused_before_anything_changes(tmp_path, target, root):
    backup = made(tmp_path / "bad", {**BACKUP, "etc/geoos.toml": b"[bridge]\nlisen = 1\n"})
    with pytest.raises(ConfigError, match=r"do you mean bridge.listen"):
        restore(backup, target)
    assert tree(root) == OLD
    assert restoring.kept(target) == []


def test_no_room_is_said_before_anything_changes(backup, target, root, monkeypatch):
    full = SimpleNamespace(free=1 << 20)
    monkeypatch.setattr(restoring.shutil, "disk_usage", lambda _path: full)
    with pytest.raises(GeoosError, match=r"1 MiB are free, 16 are needed; make room"):
        restore(backup, target)
    assert tree(root) == OLD


def test_a_backup_that_changes_meanwhile_is_refused(backup, tmp_path, target, root):
    contents = archive.read(backup)
    made(backup, {"state/bridge/sessions.db": b"another"})
    with pytest.raises(GeoosError, match="it changed while it was read"):
        restoring.prepare(backup, contents, target)
    assert tree(root) == OLD
    assert not (target.state / ".restore-new").exists()


@pytest.mark.parametrize("failing", range(8))
def test_a_rename_that_fails_leaves_all_as_it_was(backup, target, root, monkeypatch, failing):
    contents = archive.read(backup)
    restoring.prepare(backup, contents, target)
    calls = 0
    rename = Path.rename

    def fail_once(self, to):
        nonlocal calls
        calls += 1
        if calls == failing + 1:
            raise OSError(18, "Invalid cross-device link")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail_once)
    if failing < 4:
        with pytest.raises(GeoosError, match="invalid cross-device link"):
            restoring.swap(contents, target)
        assert tree(root) == OLD
    else:
        restoring.swap(contents, target)
        assert (calls, tree(root)) == (4, NEW)


def killed(work, moment):
    """Run *work* in a process that ends as by SIGKILL before rename or replace number *moment*;
    whether it came so far."""
    child = os.fork()
    if child == 0:
        left = moment

        def counting(method):
            def wrapper(self, to):
                nonlocal left
                if left == 0:
                    os._exit(9)
                left -= 1
                return method(self, to)

            return wrapper

        Path.rename, Path.replace = counting(Path.rename), counting(Path.replace)
        try:
            work()
        except BaseException:  # noqa: BLE001
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize("moment", range(9))
def test_killed_at_any_moment_the_old_state_comes_back(backup, target, root, moment):
    contents = archive.read(backup)
    restoring.prepare(backup, contents, target)
    if not killed(lambda: restoring.swap(contents, target), moment):
        assert moment == 8
        assert tree(root) == NEW
        return
    for each in restoring.interrupted(target):
        # Also when that is killed in turn.
        for again in range(3):
            killed(lambda: restoring.undo(target, each), again)  # noqa: B023
        if each in restoring.kept(target):
            restoring.undo(target, each)
    assert tree(root) == OLD
    restore(backup, target)
    assert tree(root) == NEW


def test_nothing_is_moved_before_the_power_may_fail(backup, target, monkeypatch):
    on_disk = {}
    moved = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def fsync_and_note(descriptor):
        fsync(descriptor)
        at = Path(f"/proc/self/fd/{descriptor}").readlink()
        on_disk[at] = set(at.iterdir()) if at.is_dir() else at.read_bytes()

    def is_safe(path):
        if path.is_dir():
            inside = set(path.iterdir())
            return on_disk.get(path) == inside and all(map(is_safe, inside))
        return on_disk.get(path) == path.read_bytes()

    def replace_what_is_safe(self, to):
        assert is_safe(self)
        moved.append(to)
        return replace(self, to)

    def rename_what_can_be_found_again(self, to):
        if ".restore-new" in self.parts:
            assert is_safe(self)
        else:
            aside = next(each for each in (to, *to.parents) if each.name.startswith(".before"))
            assert is_safe(aside / "plan.json")
            assert is_safe(aside / "etc/geoos.toml")
            assert {aside / "plan.json", aside / "etc"} <= on_disk[aside]
            assert aside in on_disk[target.state]
        moved.append(to)
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", fsync_and_note)
    monkeypatch.setattr(Path, "replace", replace_what_is_safe)
    monkeypatch.setattr(Path, "rename", rename_what_can_be_found_again)
    aside = restore(backup, target)
    assert target.config in moved
    assert aside / "bridge" in moved
    assert {target.state / "bridge", target.state / "compositor"} <= on_disk[target.state]
    assert b'"complete":true' in on_disk[aside / ".plan.json.new"]


def test_a_damaged_plan_is_left_to_people(backup, target):
    aside = restore(backup, target)
    (aside / "plan.json").write_bytes(b"?")
    with pytest.raises(GeoosError, match="move the rest back by hand"):
        restoring.undo(target, aside)
