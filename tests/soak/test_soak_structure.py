"""Known trees give the same report today as when they were first looked at, wherever they lie.

The trees are sdists from PyPI, fetched by pip (GEOOS_KNOWN_TREES names a directory that has them
already), and the interpreter's own library, of which nothing is known beforehand but what is true
of any tree. `make soak`.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

from geoosd.structure import python_imports, python_source
from geoosd.structure.analysis import analyze
from geoosd.structure.cache import Cache
from geoosd.structure.layout import scan

pytestmark = [pytest.mark.soak, pytest.mark.timeout(590)]
KNOWN = json.loads((Path(__file__).parents[1] / "data/structure/known-trees.json").read_text())
SDISTS = {"Django-5.2": "django==5.2", "cryptography-41.0.7": "cryptography==41.0.7"}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A directory with each sdist unpacked."""
    if there := os.environ.get("GEOOS_KNOWN_TREES"):
        return Path(there)
    where = tmp_path_factory.mktemp("trees")
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    done = subprocess.run([*fetch, "-d", where, *SDISTS.values()], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot fetch the sdists: {done.stderr.splitlines()[-1]}")
    for sdist in where.glob("*.tar.gz"):
        with tarfile.open(sdist) as tar:
            tar.extractall(where, filter="data")
    return where


def report(tree, cache):
    return analyze(tree, Cache(cache, tree)).report


def told(tree, cache):
    """What there is to say of a tree, without where it lies."""
    found = report(tree, cache).as_dict()
    found.pop("tree")
    return json.loads(json.dumps(found, default=str))


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_tree_is_as_it_was(trees, tmp_path, name):
    found = told(trees / name, tmp_path)
    assert found["counts"] == KNOWN[name]["counts"]
    assert found["score"] == pytest.approx(KNOWN[name]["score"], abs=1e-9)
    assert found["label"] == KNOWN[name]["label"]


@pytest.mark.parametrize("name", ["Django-5.2", "cryptography-41.0.7/src/rust"])
def test_it_is_the_same_elsewhere_and_at_another_time(trees, tmp_path, name):
    copy = tmp_path / "another" / Path(name).name
    shutil.copytree(trees / name, copy)  # with the times of now, in the order of another directory
    assert told(copy, tmp_path / "one") == told(trees / name, tmp_path / "two")


def test_the_interpreters_own_library(tmp_path):
    library = Path(sysconfig.get_path("stdlib"))
    first, second = told(library, tmp_path / "one"), told(library, tmp_path / "two")
    assert first == second
    assert first["counts"]["files"] > 300
    assert first["counts"]["parse_failures"] == 0
    assert 0 < first["score"] < 1


def test_djangos_imports_are_those_that_grimp_finds(trees, monkeypatch):
    grimp = pytest.importorskip("grimp")
    root = trees / "Django-5.2"
    monkeypatch.syspath_prepend(str(root))
    graph = grimp.build_graph("django", exclude_type_checking_imports=True, cache_dir=None)
    layout = scan(root)
    files = [file for file in layout.files if not file.is_test and file.path.startswith("django/")]
    facts = [python_source.read((root / file.path).read_bytes()) for file in files]
    links = python_imports.resolve(layout, files, facts)
    found = {
        (links.names[each.source], links.names[target])
        for each in links.statements
        for target in each.targets
    }
    ours = set(links.names.values())
    expected = {
        (module, imported)
        for module in graph.modules & ours
        for imported in graph.find_modules_directly_imported_by(module) & ours
    }
    assert len(expected) > 2000
    missing, surplus = expected - found, found - expected
    assert (sorted(missing)[:5], sorted(surplus)[:5]) == ([], [])
