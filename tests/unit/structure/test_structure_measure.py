"""The four dimensions: the formula, by hand."""

import math

import pytest
import trees

from geoosd.structure import measure

DOC = trees.DOC


def value(report, name):
    return report.dimensions[name].value


def test_symmetry_is_evenness_and_freedom_from_cycles(report_of):
    files = trees.package("a/x", "a/y", "a/z", "b/x")  # with __init__: a 4, b 2
    report = report_of(files)
    entropy = -(4 / 6 * math.log2(4 / 6) + 2 / 6 * math.log2(2 / 6))
    assert report.entropy == pytest.approx(entropy)
    assert value(report, "symmetry") == pytest.approx(0.7 * entropy + 0.3)
    assert [(each.name, each.files) for each in report.subsystems] == [
        ("app/a", 4),
        ("app/b", 2),
        ("(root)", 1),
    ]
    files["app/a/x.py"] = DOC + "import app.b.x\n"
    files["app/b/x.py"] = DOC + "import app.a.x\n"
    report = report_of(files)
    assert value(report, "symmetry") == pytest.approx(0.7 * entropy + 0.3 * 5 / 7)
    assert report.terms["acyclic"] == pytest.approx(5 / 7)


def test_equal_subsystems_are_even(report_of):
    report = report_of(trees.package("a/x", "b/x", "c/x"))
    assert report.terms["evenness"] == 1.0
    assert value(report, "symmetry") == 1.0


def test_a_single_subsystem_has_no_evenness(report_of):
    files = trees.package("a", "b")
    report = report_of(files)
    assert "evenness" not in report.terms
    assert value(report, "symmetry") == 1.0
    assert "fewer than two subsystems: symmetry is that of cycles alone" in report.notes
    files |= {"app/a.py": DOC + "import app.b", "app/b.py": DOC + "import app.a"}
    assert value(report_of(files), "symmetry") == pytest.approx(1 / 3)


def test_cycles_are_shown_as_paths(report_of):
    files = trees.package(
        a__x="\nfrom app.a import y\n", a__y="import app.b.z", b__z="import app.a.x", b__w=""
    )
    files["app/b/w.py"] = DOC + "import app.b.w2"
    files["app/b/w2.py"] = DOC + "def f():\n    import app.b.w\n"
    report = report_of(files)
    assert [(each.path, each.modules, each.file, each.line) for each in report.cycles] == [
        (["app.a.x", "app.a.y", "app.b.z", "app.a.x"], 3, "app/a/x.py", 3),
        (["app.b.w", "app.b.w2", "app.b.w"], 2, "app/b/w.py", 2),
    ]
    assert (report.counts["cycles"], report.counts["cyclic_modules"]) == (2, 5)


def test_type_checking_closes_no_cycle(report_of):
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import app.a.x\n"
    report = report_of(trees.package(a__x="import app.b.x", b__x=guarded))
    assert report.counts["cycles"] == 0
    assert report.counts["typing_imports"] == 1


def test_integrity(report_of):
    files = trees.package(a__x="import app.b.x\nimport app.gone\nimport os\n", b__x="")
    report = report_of(files)
    assert report.terms["imports"] == 0.5
    assert value(report, "integrity") == 0.75
    (offender,) = report.offenders["imports"]
    assert (offender.file, offender.line, offender.message) == (
        "app/a/x.py", 3, "cannot find app.gone",
    )  # fmt: skip


def test_a_tree_without_internal_imports_lacks_none(report_of):
    assert report_of({"a.py": "import os"}).terms["imports"] == 1.0


def test_what_cannot_be_parsed(report_of):
    files = trees.package(a__x="import app.b.x", a__y="import app.b.x", b__x="", b__y="")
    files["app/b/x.py"] = "import os\nimport app.a.y\n(\n"
    report = report_of(files)  # 7 files
    assert report.terms["parse"] == pytest.approx(6 / 7)
    # two statements that import it, two that it may hold
    assert report.counts["unresolved_imports"] == 4
    assert report.terms["imports"] == 0.0
    # it may import a.x and a.y, which import it
    assert report.terms["acyclic"] == pytest.approx(4 / 7)
    assert report.counts["cycles"] == 0
    # b.x, a.x and a.y can be reached by all seven; the others by themselves
    assert report.counts["visible_pairs"] == 3 * 7 + 4
    (offender,) = report.offenders["parse"]
    assert (offender.file, offender.line) == ("app/b/x.py", 3)
    for rule in ("docstring", "naming"):
        assert report.terms[rule] == pytest.approx(6 / 7)
        assert report.offenders[rule][0].message == "cannot be parsed"
    assert "what cannot be parsed is taken to import every module" in report.notes


def test_several_that_cannot_be_parsed_may_import_each_other(report_of):
    report = report_of({"a.py": "(", "b.py": "(", "c.py": DOC})
    assert report.terms["acyclic"] == pytest.approx(1 / 3)
    assert report_of({"a.py": "(", "b.py": DOC}).terms["acyclic"] == 1.0


def test_an_import_inside_a_cycle_counts_under_symmetry_alone(report_of):
    text = "import app.b.x\nimport app.gone\nimport app.c.x\n"
    files = trees.package(a__x=text, b__x="import app.a.x", c__x="")
    assert report_of(files).terms["imports"] == 0.5


def test_stability_is_one_minus_propagation_cost(report_of):
    # chain a → b → c: reached by change are c 3, b 2, a 1
    report = report_of({"a.py": "import b", "b.py": "import c", "c.py": ""})
    assert report.terms["propagation"] == pytest.approx(6 / 9)
    assert value(report, "stability") == pytest.approx(3 / 9)
    assert [(each.module, each.reaches, each.depends) for each in report.widest] == [
        ("c", 2, 0),
        ("b", 1, 1),
    ]


def test_the_ten_widest(report_of):
    files = {f"m{at:02}.py": f"import m{at + 1:02}" for at in range(20)} | {"m20.py": ""}
    widest = report_of(files).widest
    assert [each.module for each in widest] == [f"m{at}" for at in range(20, 10, -1)]


def test_the_hub_hands_most_on(report_of):
    files = {"a.py": "import c", "b.py": "import c", "c.py": "import d, e", "d.py": "", "e.py": ""}
    report = report_of(files)
    assert any(each.startswith("narrow c: what changes in 2 ") for each in report.recommendations)
    assert measure.hub([]) is None


@pytest.mark.parametrize(
    ("name", "text", "rule", "message"),
    [
        ("x", "a = 1", "docstring", "does not say what it is"),
        ("x", DOC + "class lower: ...", "naming", "lower is not named as usual"),
        ("x", DOC + "class a: ...\nclass b: ...", "naming", "a is not named as usual, and 1 more"),
        ("aB", DOC, "naming", "aB is no module name in snake_case"),
        ("a-b", DOC, "naming", "a-b is no module name in snake_case"),
        ("x", DOC + "\n" * 500, "length", "501 lines, more than 500"),
    ],
)
def test_consistency(report_of, name, text, rule, message):
    report = report_of({f"{name}.py": text, "good.py": DOC, "__main__.py": DOC + "\n" * 499})
    assert [each.message for each in report.offenders[rule]] == [message]
    assert report.terms[rule] == pytest.approx(2 / 3)
    assert value(report, "consistency") == pytest.approx(8 / 9)


def test_contracts_are_a_rule_where_there_are_some(report_of):
    contract = (
        "[[tool.importlinter.contracts]]\nname='{}'\ntype='independence'\nmodules=['a','b']\n"
    )
    files = {"a.py": DOC + "import b", "b.py": DOC}
    assert "contracts" not in report_of(files).terms
    report = report_of({**files, "pyproject.toml": contract.format("apart")})
    assert report.terms["contracts"] == 0.0
    assert value(report, "consistency") == 0.75
    assert [each.message for each in report.offenders["contracts"]] == ["apart: a → b"]


def test_a_broken_contract_of_no_file_in_particular():
    verdict = measure.Verdict("c", False, "why")
    links = measure.Links({})
    found = measure.rules(measure.Sources([], [], links, [verdict]))["contracts"]
    assert found == (0, 1, [measure.Offender("", 0, "c: why")])
