"""geoosd/durable.py: what is renamed into place is on the disk before."""

import os
from pathlib import Path

import pytest

from geoosd import durable


@pytest.fixture
def done(monkeypatch):
    """What was synced and replaced, in order; names of files in ``path``."""
    done = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor):
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def note_replace(self, to):
        done.append(("replace", self.name, self.read_bytes()))
        return replace(self, to)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    return done


def replaced(directory):
    return [
        ("sync", ".file.new"),
        ("replace", ".file.new", b"new"),
        ("sync", directory.name),
    ]


def test_a_file_is_replaced_by_one_that_is_on_the_disk(tmp_path, done):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    durable.replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert done == replaced(tmp_path)


def test_a_copy_is_as_safe_and_has_its_mode(tmp_path, done):
    source, path = tmp_path / "source", tmp_path / "file"
    source.write_bytes(b"new")
    durable.copy_file(source, path, 0o640)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    assert done == replaced(tmp_path)


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_only_a_file_is_replaced_by_one(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    assert durable.replaceable(file) == file
    for other in (link, tmp_path, Path("/dev/null"), Path("/dev/stdout")):
        with pytest.raises(OSError, match="a link, a device or the like is there"):
            durable.replaceable(other)
    file.touch()
    assert durable.replaceable(file) == file
    with pytest.raises(OSError, match="a link"):
        durable.replaceable(link)


def test_everything_in_a_tree_is_synced(tmp_path, done):
    (tmp_path / "one/two").mkdir(parents=True)
    (tmp_path / "one/two/file").write_bytes(b"")
    durable.sync_tree(tmp_path)
    assert sorted(done) == sorted(("sync", name) for name in ("one", "two", "file", tmp_path.name))
    assert done[-1] == ("sync", tmp_path.name)
