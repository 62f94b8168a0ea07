"""All of it in order: known trees, foreign trees, the same tree again."""

import pytest
import trees

from geoosd.structure import rust_source
from geoosd.structure.analysis import analyze
from geoosd.structure.cache import Cache

DOC = trees.DOC


def test_pas_is_the_mean_of_the_four(report_of):
    report = report_of({"a.py": "import b, gone_too", "b.py": DOC})
    values = [each.value for each in report.dimensions.values()]
    assert list(report.dimensions) == ["symmetry", "integrity", "stability", "consistency"]
    assert report.score == pytest.approx(sum(values) / 4)
    assert report.formula == 1
    assert report.label == "critical (stability)"


@pytest.mark.parametrize(
    "files",
    [{}, {"main.c": "int main;", "README": ""}, {"tests/test_a.py": "x = 1"}, {".a/b.py": ""}],
)
def test_a_tree_without_source_is_unknown(report_of, files):
    report = report_of(files)
    assert (report.status, report.score) == ("unknown", None)
    assert report.label == "unknown (no Python or Rust source files)"


def test_rust_without_its_parser_is_unknown(report_of, monkeypatch):
    monkeypatch.setattr(rust_source, "available", lambda: False)
    report = report_of({"src/lib.rs": "", "a.py": ""})
    assert report.label == "unknown (1 Rust files, no tree-sitter: pip install 'geoos[structure]')"


def test_python_and_rust_together(report_of):
    pytest.importorskip("tree_sitter_rust")
    report = report_of(
        {
            "Cargo.toml": '[package]\nname = "x"',
            "src/lib.rs": "//! Says.\nuse crate::a;",
            "src/a.rs": "//! Says.",
            "p/__init__.py": DOC,
            "p/m.py": DOC + "import p",
        }
    )
    assert report.counts["files"] == 4
    assert report.counts["imports"] == 2
    assert [each.module for each in report.widest] == ["p", "x::a"]


def test_what_was_left_out_is_said(report_of):
    report = report_of({"p/__init__.py": DOC, "setup.py": "", "p/\x07.py": "", "docs/conf.py": ""})
    assert report.notes == [
        "a small tree: each module is a large share of it, and so of its stability",
        "fewer than two subsystems: symmetry is that of cycles alone",
        "1 file in no subsystem, so not in the evenness",
        "2 files outside the project's packages, so left out",
        "1 file or folders with names that cannot be printed, so left out",
        "no import contracts are declared: that rule is left out",
    ]


def test_a_file_that_cannot_be_read_cannot_be_parsed(report_of, tmp_path, monkeypatch):
    def gone(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", gone)
    (found,) = report_of({"a.py": ""}).offenders["parse"]
    assert found.message == "cannot be read: permission denied"


def test_known_files_are_not_read_again(tmp_path, monkeypatch):
    trees.write(tmp_path / "tree", {"a.py": DOC + "import b", "b.py": "("})
    cache = Cache(tmp_path / "cache", tmp_path / "tree")
    first = analyze(tmp_path / "tree", cache)
    cache.save(now=4e9)
    cache = Cache(tmp_path / "cache", tmp_path / "tree")
    cache.load()
    monkeypatch.setattr("geoosd.structure.python_source.read", None)
    again = analyze(tmp_path / "tree", cache)
    assert again == first
    assert (cache.hits, cache.misses) == (2, 0)
    assert again.lines == {"a.py": 2, "b.py": 1}
