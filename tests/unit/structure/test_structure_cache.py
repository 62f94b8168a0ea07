"""The cache: what it keeps, what it does not believe, and that nobody sees half of it."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from geoosd.structure.cache import Cache
from geoosd.structure.facts import Facts, Import
from geoosd.structure.layout import SourceFile

IMPORT = Import(1, "a", 1, ["b"], "")
FACTS = Facts(3, documented=True, imports=[IMPORT], defined=["x"], misnamed=[])
BROKEN = Facts(1, error=(1, "no"), hidden_imports=2)


def file(name="a.py", size=10, mtime=1_000_000_000):
    return SourceFile(name, "python", size, mtime, False, "", "(root)")


@pytest.fixture
def cache(tmp_path):
    return lambda: Cache(tmp_path / "cache" / "structure", tmp_path)


def filled(cache, **known):
    made = cache()
    for name, facts in known.items():
        assert made.get(file(name)) is None
        made.put(file(name), facts)
    made.save(now=100.0)
    loaded = cache()
    loaded.load()
    return loaded


def test_what_is_kept_comes_back(cache):
    kept = filled(cache, a=FACTS, b=BROKEN)
    assert kept.get(file("a")) == FACTS
    found = kept.get(file("b"))
    assert found is not None
    assert list(found.error) == [1, "no"]
    assert (kept.hits, kept.misses) == (2, 0)


@pytest.mark.parametrize("other", [file("a", size=11), file("a", mtime=1_000_000_001), file("b")])
def test_a_changed_file_is_read_again(cache, other):
    kept = filled(cache, a=FACTS)
    assert kept.get(other) is None
    assert (kept.hits, kept.misses) == (0, 1)


def test_a_file_changed_just_now_is_not_kept(cache):
    made = cache()
    made.put(file("old", mtime=97_000_000_000), FACTS)
    made.put(file("new", mtime=99_000_000_000), FACTS)
    made.misses = 2
    made.save(now=100.0)
    loaded = cache()
    loaded.load()
    assert loaded.get(file("old", mtime=97_000_000_000))
    assert loaded.get(file("new", mtime=99_000_000_000)) is None


def test_nothing_is_written_where_nothing_changed(cache, tmp_path):
    kept = filled(cache, a=FACTS)
    (path,) = (tmp_path / "cache/structure").iterdir()
    path.unlink()
    assert kept.get(file("a"))
    kept.save(now=200.0)
    assert not path.exists()


def test_what_is_gone_is_forgotten(cache, tmp_path):
    kept = filled(cache, a=FACTS, b=FACTS)
    assert kept.get(file("a"))
    kept.save(now=200.0)
    (path,) = (tmp_path / "cache/structure").iterdir()
    assert list(json.loads(path.read_text())["files"]) == ["a"]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "change",
    [
        lambda content: "no json",
        lambda content: "[]",
        lambda content: json.dumps({**content, "made_by": [0]}),
        lambda content: json.dumps({**content, "files": 3}),
        lambda content: json.dumps({**content, "files": {"a": 3}}),
        lambda content: json.dumps({**content, "files": {"a": [10, 1_000_000_000]}}),
        lambda content: json.dumps({**content, "files": {"a": [10, 1_000_000_000, 1, 2, 3, 4, 5]}}),
    ],
)
def test_a_file_that_is_no_cache_of_ours(cache, tmp_path, change):
    filled(cache, a=FACTS)
    (path,) = (tmp_path / "cache/structure").iterdir()
    path.write_text(change(json.loads(path.read_text())))
    loaded = cache()
    loaded.load()
    assert loaded.get(file("a")) is None


def test_each_tree_has_its_own(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = Cache(tmp_path / "cache", tmp_path / name)
        made.get(file())
        made.put(file(), FACTS)
        made.save(now=100.0)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    made = Cache(tmp_path / "file" / "cache", tmp_path)
    made.get(file())
    with pytest.raises(OSError, match="Not a directory"):
        made.save(now=100.0)


def test_a_rename_that_fails_leaves_nothing_behind(cache, tmp_path):
    filled(cache, a=FACTS)
    folder = tmp_path / "cache/structure"
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    made = cache()
    made.load()
    made.get(file())
    with pytest.raises(OSError, match="directory"):
        made.save(now=100.0)
    assert list(folder.iterdir()) == [path]


def test_writers_and_readers_at_once(cache, tmp_path):
    filled(cache, a=FACTS)

    def use(number):
        own = cache()
        own.load()
        known = own.get(file("a"))
        own.get(file(f"f{number}"))
        own.put(file(f"f{number}"), FACTS)
        own.save(now=100.0)
        return known

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(64))) == [FACTS] * 64
    assert len(list((tmp_path / "cache/structure").iterdir())) == 1
