"""Import contracts: kept or broken, as import-linter says."""

import subprocess
import sys
from pathlib import Path

import pytest
import trees

from geoosd.structure.analysis import analyze

FILES = {
    "p/__init__.py": "",
    "p/top.py": "import p.middle",
    "p/middle.py": "import p.low.a",
    "p/low/__init__.py": "",
    "p/low/a.py": "import json",
    "p/low/b.py": "",
    "p/free.py": "",
}


@pytest.fixture
def offenders(tmp_path):
    """Why the one contract given is broken: [] where it is kept."""

    def judge(contract, config="", **changed):
        files = {
            **FILES,
            **{name.replace("__", "/") + ".py": text for name, text in changed.items()},
        }
        head = (
            f"[tool.importlinter]\nroot_package = 'p'\n{config}\n[[tool.importlinter.contracts]]\n"
        )
        files["pyproject.toml"] = f"{head}name = 'c'\n{contract}"
        return analyze(trees.write(tmp_path, files)).report

    return judge


def linted(folder):
    """Whether import-linter itself keeps the contracts of a tree."""
    answer = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit("
         "lint_imports(no_cache=True))"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert "Traceback" not in answer.stderr, answer.stderr
    return answer.returncode == 0


TYPING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING: import p.top"
LAYERS = "type = 'layers'\nlayers = ['p.top', 'p.middle', 'p.low']"
CASES = [
    (LAYERS, {}, True),
    (LAYERS, {"p__low__a": "import p.middle"}, False),
    (LAYERS, {"p__low__a": "import p.free", "p__free": "import p.top"}, False),
    (LAYERS, {"p__low__a": TYPING}, False),
    (LAYERS + "\nignore_imports = ['p.low.* -> p.middle']", {"p__low__a": "import p.middle"}, True),
    (LAYERS + "\nignore_imports = ['p.** -> p.mid*']", {"p__low__a": "import p.middle"}, None),
    ("type = 'layers'\ncontainers = ['p']\nlayers = ['top', 'middle', '(gone) | low', 'free']\n"
     "exhaustive = true", {}, True),
    ("type = 'layers'\ncontainers = ['p']\nlayers = ['top', 'middle', 'low']\nexhaustive = true",
     {}, False),
    ("type = 'layers'\ncontainers = ['p']\nlayers = ['top', 'middle', 'low']\nexhaustive = true\n"
     "exhaustive_ignores = ['free']", {}, True),
    ("type = 'layers'\nlayers = ['p.top', 'p.low.a | p.low.b']",
     {"p__low__a": "import p.low.b"}, False),
    ("type = 'layers'\nlayers = ['p.top', 'p.low.a : p.low.b']",
     {"p__low__a": "import p.low.b"}, True),
    ("type = 'independence'\nmodules = ['p.low', 'p.free']", {}, True),
    ("type = 'independence'\nmodules = ['p.top', 'p.low']", {}, False),
    ("type = 'independence'\nmodules = ['p.low.*']", {}, True),
    ("type = 'independence'\nmodules = ['p.low.*']", {"p__low__a": "import p.low.b"}, False),
    ("type = 'independence'\nmodules = ['p.low.*', 'p.free']",
     {"p__low__a": "import p.middle", "p__middle": "import p.free"}, False),
    ("type = 'protected'\nprotected_modules = ['p.low']\nallowed_importers = ['p.middle']",
     {"p__low__a": "import p.low.b"}, True),
    ("type = 'protected'\nprotected_modules = ['p.low']\nallowed_importers = ['p.top']", {}, False),
    ("type = 'protected'\nprotected_modules = ['p.free']\nallowed_importers = []", {}, True),
    ("type = 'protected'\nprotected_modules = ['p.low.*']\nallowed_importers = ['p.middle']",
     {"p__low__a": "import p.low.b"}, False),
    ("type = 'protected'\nprotected_modules = ['p.low']\nallowed_importers = []\n"
     "ignore_imports = ['p.middle -> p.low.a']", {}, True),
    ("type = 'forbidden'\nsource_modules = ['p.low']\nforbidden_modules = ['p.top']", {}, True),
    ("type = 'forbidden'\nsource_modules = ['p.top']\nforbidden_modules = ['p.low']", {}, False),
    ("type = 'forbidden'\nsource_modules = ['p.top']\nforbidden_modules = ['p.low']\n"
     "allow_indirect_imports = true", {}, True),
    ("type = 'forbidden'\nsource_modules = ['p.middle']\nforbidden_modules = ['p.low']\n"
     "allow_indirect_imports = 'True'", {}, False),
    ("type = 'forbidden'\nsource_modules = ['p.low']\nforbidden_modules = ['json']", {}, False),
    ("type = 'forbidden'\nsource_modules = ['p.top']\nforbidden_modules = ['json']", {}, False),
    ("type = 'forbidden'\nsource_modules = ['p.top']\nforbidden_modules = ['json']\n"
     "allow_indirect_imports = true", {}, True),
    ("type = 'forbidden'\nsource_modules = ['p.free']\nforbidden_modules = ['json']", {}, True),
    ("type = 'forbidden'\nsource_modules = ['p.low']\nforbidden_modules = ['json']\n"
     "ignore_imports = ['p.low.a -> json']", {}, True),
    ("type = 'forbidden'\nsource_modules = ['p.low']\nforbidden_modules = ['json']\n"
     "ignore_imports = ['p.low.a -> json']", {"p__low__a": "import json.decoder"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("contract", "changed", "kept"), CASES)
def test_a_contract(offenders, contract, changed, kept):
    if kept is None:  # import-linter takes whole names or *, and so does geoos
        kept = False
    external = "include_external_packages = true" if "json" in contract else ""
    report = offenders(contract, external, **changed)
    assert report.counts["contracts"] == 1
    assert report.counts["broken_contracts"] == (not kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("contract", "changed", "kept"), [case for case in CASES if case[2] is not None]
)
def test_import_linter_agrees(offenders, contract, changed, kept, tmp_path):
    external = "include_external_packages = true" if "json" in contract else ""
    offenders(contract, external, **changed)
    assert linted(tmp_path) is kept


def test_the_evidence_is_a_chain_with_its_place(offenders):
    report = offenders(LAYERS, p__low__a="import p.free", p__free="\nimport p.top")
    (found,) = report.offenders["contracts"]
    assert (found.file, found.line) == ("p/middle.py", 1)
    assert found.message == "c: p.middle → p.low.a → p.free → p.top"
    (found,) = offenders(CASES[7][0]).offenders["contracts"]
    assert (found.file, found.message) == ("p/free.py", "c: p.free is in no layer")
    external = "type = 'forbidden'\nsource_modules = ['p.{}']\nforbidden_modules = ['json']"
    (found,) = offenders(external.format("low")).offenders["contracts"]
    assert (found.file, found.line, found.message) == ("p/low/a.py", 1, "c: p.low.a → json")
    (found,) = offenders(external.format("middle")).offenders["contracts"]
    assert found.message == "c: p.middle → p.low.a → json"


def test_type_checking_may_be_excluded(offenders):
    report = offenders(LAYERS, "exclude_type_checking_imports = true", p__low__a=TYPING)
    assert report.counts["broken_contracts"] == 0


@pytest.mark.parametrize(
    "contract",
    [
        "type = 'acyclic_siblings'\nancestors = ['p']",
        "type = 'layers'",
        "type = 'layers'\nlayers = [{layer = 'p.top'}]",
        "type = 'layers'\nlayers = ['a']\ncontainers = [3]",
        "type = 'independence'",
        "type = 'forbidden'\nsource_modules = ['p']",
        "type = 'protected'\nprotected_modules = ['p.low']",
        "type = 'protected'\nprotected_modules = ['p']\nallowed_importers = []\n"
        "as_packages = false",
    ],
)
def test_what_is_not_judged_is_said(offenders, contract):
    report = offenders(contract)
    assert (report.counts["contracts"], report.counts["broken_contracts"]) == (1, 0)
    assert "contracts" not in report.terms
    assert "is not judged" in report.notes[-1]


@pytest.mark.parametrize(
    ("contract", "broken", "kept"),
    [
        # the file itself, what leads to it, what does not
        (LAYERS, "p__low__a", False),
        (LAYERS, "p__middle", False),
        (LAYERS, "p__free", True),
        ("type = 'independence'\nmodules = ['p.low', 'p.free']", "p__low__a", False),
        ("type = 'forbidden'\nsource_modules = ['p.low']\nforbidden_modules = ['trio']",
         "p__low__a", False),
        ("type = 'forbidden'\nsource_modules = ['p.top']\nforbidden_modules = ['trio']",
         "p__middle", False),
        ("type = 'forbidden'\nsource_modules = ['p.top']\nforbidden_modules = ['trio']\n"
         "allow_indirect_imports = true", "p__middle", True),
        ("type = 'forbidden'\nsource_modules = ['p.top']\nforbidden_modules = ['trio']\n"
         "allow_indirect_imports = true", "p__top", False),
        ("type = 'forbidden'\nsource_modules = ['p.free']\nforbidden_modules = ['p.low']\n"
         "allow_indirect_imports = true", "p__free", False),
        ("type = 'forbidden'\nsource_modules = ['p.free']\nforbidden_modules = ['p.free']\n"
         "allow_indirect_imports = true", "p__free", True),
        ("type = 'forbidden'\nsource_modules = ['gone']\nforbidden_modules = ['trio']",
         "p__free", True),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed_may_import_anything(offenders, contract, broken, kept):
    report = offenders(contract, **{broken: "import ("})
    assert report.counts["broken_contracts"] == (not kept)
    if not kept:
        assert report.offenders["contracts"][0].message.endswith("may import anything")


INI = """
[importlinter]
root_package = p
exclude_type_checking_imports = True

[importlinter:contract:1]
name = first
type = layers
layers =
    p.low
    p.top

[importlinter:contract:2]
name = second
type = independence
modules =
    p.low
    p.free
"""


@pytest.mark.parametrize("name", [".importlinter", "setup.cfg"])
def test_contracts_of_an_ini_file(tmp_path, name):
    report = trees.report(tmp_path, {**FILES, name: INI})
    assert (report.counts["contracts"], report.counts["broken_contracts"]) == (2, 1)
    assert report.offenders["contracts"][0].message == "first: p.top → p.middle → p.low.a"


def test_other_ini_files_declare_nothing(tmp_path):
    files = {**FILES, ".importlinter": "no ini", "setup.cfg": "[metadata]\nname = p"}
    assert trees.report(tmp_path, files).counts["contracts"] == 0
    files[".importlinter"] = "[importlinter:contract:x]\nname = x\ntype = forbidden"
    assert trees.report(tmp_path, files).counts["contracts"] == 1


def test_a_tree_of_rust_alone(tmp_path):
    pytest.importorskip("tree_sitter_rust")
    toml = "[[tool.importlinter.contracts]]\nname = 'c'\n" + LAYERS
    report = trees.report(
        tmp_path, {"src/lib.rs": "use crate::a;", "src/a.rs": "", "pyproject.toml": toml}
    )
    assert report.counts["broken_contracts"] == 0


def test_our_own_tree_as_import_linter_sees_it():
    root = Path(__file__).parents[3]
    counts = analyze(root).report.counts
    assert counts["contracts"] >= 10
    assert counts["broken_contracts"] == 0
