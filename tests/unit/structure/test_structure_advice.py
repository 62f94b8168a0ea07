"""Recommendations follow from evidence, the most gainful first."""

import pytest
import trees

DOC = trees.DOC


def test_a_tree_without_fault_gets_none(report_of):
    files = trees.package(*(f"{folder}/{name}" for folder in "abcdef" for name in "xyz"))
    report = report_of(files)
    assert report.status == "healthy"
    assert report.recommendations == []


def test_each_fault_is_named_with_its_first_place(report_of):
    files = trees.package(*(f"a/m{at}" for at in range(8)), "b/x", "c/x")
    files |= {
        "app/a/m1.py": "import app.a.m2\nimport app.gone",
        "app/a/m2.py": DOC + "import app.a.m1\n" + "\n" * 600,
        "app/b/x.py": "(",
        "app/c/x.py": DOC + "class lower: ...",
        "pyproject.toml": "[[tool.importlinter.contracts]]\nname='c'\ntype='independence'\n"
        "modules=['app.a.m1','app.a.m2']\n",
    }
    advice = report_of(files).recommendations
    for start in (
        "mend 1 syntax error, first app/b/x.py:1 (up to +0.009)",
        "mend 1 unresolved import, first app/a/m1.py:2 (up to +0.125)",
        "break the cycle app.a.m1 → app.a.m2 → app.a.m1 (app/a/m1.py:1): let both sides import a",
        "divide app/a: it has 69 % of the files in subsystems (up to",
        "say what it is in the first line of 2 modules, first app/a/m1.py:1",
        "rename as the language's convention wants in 2 modules, first app/b/x.py (up to",
        "split 1 module, first app/a/m2.py (up to",
        "keep the import contracts, or change what they promise: 1 broken one, first app/a/m1.py:1",
    ):
        assert any(words.startswith(start) for words in advice), start


def test_what_is_gained_is_what_was_promised(report_of):
    files = trees.package("a/x", "b/x", "c/x")
    files["app/a/x.py"] = "import app.gone"
    before = report_of(files)
    (docstring,) = [each for each in before.recommendations if "say what it is" in each]
    promised = float(docstring.rpartition("+")[2].rstrip(")"))
    after = report_of({**files, "app/a/x.py": DOC + "import app.gone"})
    assert after.score - before.score == pytest.approx(promised, abs=0.0005)


def test_cycles_are_counted(report_of):
    files = {f"{a}.py": f"import {b}" for a, b in ("ab", "ba", "cd", "dc")}
    assert any(
        "break 2 cycles, first a → b → a" in each for each in report_of(files).recommendations
    )


def test_a_gain_of_nothing_is_not_promised(report_of):
    files = {f"m{at}.py": DOC for at in range(600)} | {"last.py": "x = 1"}
    (words,) = report_of(files).recommendations
    assert words == "say what it is in the first line of 1 module, first last.py:1"
