"""The ratchet: counts that must not get worse."""

import json

import pytest
import trees

from geoosd.errors import GeoosError
from geoosd.structure import baseline

DOC = trees.DOC


@pytest.fixture
def path(tmp_path):
    return tmp_path.parent / f"{tmp_path.name}.json"


def changes(report, path):
    return [
        (each.name, each.before, each.now, each.worse) for each in baseline.compare(report, path)
    ]


def test_the_same_tree_is_as_it_was(report_of, path):
    report = report_of({"a.py": "import gone"})
    baseline.write(report, path)
    assert changes(report, path) == []
    assert json.loads(path.read_text())["formula"] == 1


def test_worse_and_better(report_of, path):
    baseline.write(report_of({"a.py": DOC, "b.py": "x = 1", "aB.py": DOC}), path)
    report = report_of({"a.py": DOC + "import b\nfrom b import gone", "b.py": DOC, "aB.py": "("})
    assert changes(report, path) == [
        ("parse_failures", 0, 1, True),
        ("unresolved_imports", 0, 1, True),
    ]
    baseline.write(report, path)
    report = report_of({"a.py": DOC, "aB.py": DOC})
    assert changes(report, path) == [
        ("parse_failures", 1, 0, False),
        ("unresolved_imports", 1, 0, False),
        ("without_docstring", 1, 0, False),
    ]


def test_a_contract_taken_back_is_worse(report_of, path):
    contract = "[[tool.importlinter.contracts]]\nname='c'\ntype='independence'\nmodules=['a','b']\n"
    files = {"a.py": DOC, "b.py": DOC}
    baseline.write(report_of({**files, "pyproject.toml": contract}), path)
    assert changes(report_of({"pyproject.toml": ""}), path) == [("contracts", 1, 0, True)]
    assert changes(report_of({"pyproject.toml": contract * 2}), path) == [
        ("contracts", 1, 2, False)
    ]


def test_a_better_score_hides_nothing(report_of, path):
    before = report_of({"a.py": "import b, c", "b.py": "import a", "c.py": DOC})
    baseline.write(before, path)
    after = report_of({"a.py": DOC + "import c", "b.py": DOC, "c.py": DOC + "class lower: ..."})
    assert after.score > before.score
    assert changes(after, path)[0] == ("misnamed", 0, 1, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the baseline {}: no such file or directory; write it anew"),
        ("{", "cannot read the baseline {}: Expecting"),
        ("[]", "cannot use the baseline {}: it is of another formula; write it anew"),
        ('{"formula": 0}', "it is of another formula"),
        ('{"formula": 1}', "cannot use the baseline {}: it has no parse_failures"),
        ('{"formula": 1, "counts": {"parse_failures": "1"}}', "it has no parse_failures"),
    ],
)
def test_a_baseline_that_cannot_be_used(report_of, path, content, said):
    if content is not None:
        path.write_text(content)
    with pytest.raises(GeoosError) as caught:
        baseline.compare(report_of({"a.py": ""}), path)
    assert said.format(path) in str(caught.value)


def test_a_baseline_that_cannot_be_written(report_of, tmp_path):
    with pytest.raises(
        GeoosError, match=r"cannot write the baseline .*: no such file or directory"
    ):
        baseline.write(report_of({"a.py": ""}), tmp_path / "gone" / "x.json")


def test_an_unknown_tree_holds_to_nothing(report_of, path):
    with pytest.raises(GeoosError, match=r"cannot hold .* to a baseline: no Python"):
        baseline.write(report_of({}), path)
