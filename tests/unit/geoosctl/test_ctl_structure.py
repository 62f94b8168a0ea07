"""``geoosctl structure``: exit codes, the report at 80 columns, JSON, the baseline, the cache."""

import gc
import json
import os
import re
import subprocess
import sys

import pytest

from geoosctl import structure_report
from geoosd.structure import analysis

DOC = '"""Says what it is."""\n'
GOOD = {
    f"app/{folder}/{name}.py": DOC for folder in "abcd" for name in ("__init__", "x", "y", "z")
} | {"app/__init__.py": DOC}
POOR = {
    **GOOD,
    "app/a/x.py": "import app.b.x\nimport app.gone\n",
    "app/b/x.py": DOC + "import app.a.x\n",
    "app/b/aVeryLongNameOfAModuleThatSomebodyFoundUseful_and_more_of_it.py": DOC,
    "app/c/x.py": "import (",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path):
    """Writes a tree of files that have not changed for a while."""

    def write(files, name="tree"):
        for path, text in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            os.utime(file, (1e9, 1e9))
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("files", "code", "first"),
    [
        (GOOD, 0, "PAS 0.985  healthy"),
        ({**GOOD, "app/a/x.py": DOC + "import app.gone"}, 2, "PAS 0.860  critical (integrity)"),
        ({"main.c": ""}, 3, "unknown: no Python or Rust source files in"),
    ],
)
def test_check(geoosctl, tree, files, code, first):
    path = str(tree(files))
    checked = geoosctl("structure", "--check", path)
    assert checked.exit_code == code
    assert checked.stdout.startswith(first)
    assert geoosctl("structure", path).exit_code == 0


def test_a_warning(geoosctl, tree):
    imports = "".join(f"import app.{folder}.y\n" for folder in "bcd")
    path = tree({**GOOD, "app/a/x.py": DOC + "import app.gone\n" + imports})
    result = geoosctl("structure", "--check", str(path))
    assert result.exit_code == 1
    assert "warning (integrity)" in result.stdout


@pytest.mark.parametrize("options", [(), ("--debug",)])
@pytest.mark.parametrize("files", [GOOD, POOR, {"a.py": DOC}, {"README": ""}])
def test_every_line_fits(geoosctl, tree, files, options):
    path = tree(
        files, "a-folder-with-a-rather-long-name-that-breaks-no-line/in-another-of-the-kind"
    )
    lines = geoosctl("structure", *options, str(path)).stdout.splitlines()
    unbreakable = [line for line in lines if len(line) > 80 and " " in line.strip()]
    assert unbreakable == []
    assert [line for line in lines if line != line.rstrip()] == []


def test_what_is_wrong_comes_first(geoosctl, tree):
    text = geoosctl("structure", str(tree(POOR))).stdout
    places = [text.index(words) for words in (
        "PAS ", "overall", "symmetry", "consistency", "→ mend", "1 import cycle", "do not parse: 1",
        "unresolved imports: 1", "app/a/x.py:2: cannot find app.gone",
    )]  # fmt: skip
    assert places == sorted(places)
    assert "formula version 1" in text
    assert "app.a.x → app.b.x → app.a.x app/a/x.py:1" in text


def test_offenders_are_few_without_debug(geoosctl, tree):
    path = str(tree({f"m{at}.py": "x = 1" for at in range(6)}))
    assert "and 3 more: --debug" in geoosctl("structure", path).stdout
    text = geoosctl("structure", "--debug", path).stdout
    assert "more: --debug" not in text
    assert text.count("does not say what it is") == 6


def test_debug(geoosctl, tree):
    text = geoosctl("structure", "--debug", str(tree(POOR))).stdout
    for words in (
        "files per subsystem\n  app/b   ",
        "median 4, mean 4.2, max 5, min 4; entropy 1.993 bits",
        "widest modules",
        "churn × size, last year (not scored)\n  no history",
        "cyclic modules 2",
        "notes\n  1 file in no subsystem, so not in the evenness\n",
        "cache: 0 of 18 files known (0 %); took 0.",
    ):
        assert words in text, text
    assert (
        "cache: 18 of 18 files known (100 %)"
        in geoosctl("structure", "--debug", str(tree(POOR))).stdout
    )
    text = geoosctl("structure", "--debug", "--fresh", str(tree(POOR))).stdout
    assert "cache: 0 of 18 files known" in text
    text = geoosctl("structure", "--debug", str(tree({"a.py": ""}, "lone"))).stdout
    assert "none: no module imports another" in text
    text = geoosctl("structure", "--debug", str(tree({"a.c": ""}, "foreign"))).stdout
    assert "cache: 0 of 0 files known; took" in text


def test_churn(geoosctl, tree):
    path = tree(GOOD)

    def git(*arguments):
        name = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(("git", *name, *arguments), cwd=path, check=True, capture_output=True)

    git("init", "-q")
    git("add", "app/a/x.py")
    git("commit", "-q", "-m", "one")
    assert "   1 ×     1  app/a/x.py\n" in geoosctl("structure", "--debug", str(path)).stdout
    found = json.loads(geoosctl("structure", "--json", str(path)).stdout)
    assert found["churn"] == [{"file": "app/a/x.py", "commits": 1, "lines": 1, "heat": 1}]


def test_json(geoosctl, tree):
    path = tree(POOR)
    found = json.loads(geoosctl("structure", "--json", str(path)).stdout)
    assert found["version"] == 1
    assert found["formula"] == 1
    assert found["tree"] == str(path)
    assert found["label"] == f"{found['status']} ({found['reason']})"
    assert set(found["dimensions"]) == {"symmetry", "integrity", "stability", "consistency"}
    assert found["offenders"]["imports"] == [
        {"file": "app/a/x.py", "line": 2, "message": "cannot find app.gone"}
    ]
    assert found["cache"] == {"hits": 0, "misses": 18}
    assert found["baseline"] is None
    assert found["churn"] == []
    unknown = geoosctl("structure", "--json", "--check", str(tree({}, "cache")))
    assert (unknown.exit_code, json.loads(unknown.stdout)["score"]) == (3, None)


def test_the_baseline(geoosctl, tree, tmp_path):
    file = str(tmp_path / "baseline.json")
    path = str(tree(POOR))
    written = geoosctl("structure", "--baseline", file, "--write-baseline", path)
    assert written.exit_code == 0
    assert "every count is as in the baseline" in written.stdout
    tree({"app/a/x.py": DOC + "import app.b.x\n", "app/d/y.py": "x = 1"})
    result = geoosctl("structure", "--baseline", file, path)
    assert result.exit_code == 0
    assert "healthy  unresolved imports: 1, better than the baseline's 2" in result.stdout
    assert "hold it there with --write-baseline" in result.stdout
    tree({"app/d/z.py": "x = 1"})
    result = geoosctl("structure", "--baseline", file, path)
    assert result.exit_code == 2
    assert "critical  without docstring: 3, worse than the baseline's 2" in result.stdout
    assert "hold it there" not in result.stdout
    found = json.loads(geoosctl("structure", "--baseline", file, "--json", path).stdout)
    assert found["baseline"][0] == {
        "name": "without_docstring", "before": 2, "now": 3, "worse": True,
    }  # fmt: skip


def test_a_baseline_that_is_not_there(geoosctl, tree, tmp_path):
    path = str(tree(GOOD))
    result = geoosctl("structure", "--baseline", str(tmp_path / "gone.json"), path)
    assert result.exit_code == 70
    assert "cannot read the baseline" in result.stderr
    assert geoosctl("structure", "--write-baseline", path).exit_code == 64


def test_a_tree_that_is_not_there(geoosctl, tmp_path):
    result = geoosctl("structure", str(tmp_path / "gone"))
    assert result.exit_code == 64
    assert "does not exist" in result.stderr


def test_a_tree_that_cannot_be_listed(geoosctl, tree, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("geoosd.structure.layout.os.scandir", refuse)
    path = tree(GOOD)
    result = geoosctl("structure", str(path))
    assert result.exit_code == 70
    assert result.stderr == f"geoosctl: cannot look at {path}: permission denied {path}\n"


def test_a_cache_that_cannot_be_kept_is_said_and_no_more(geoosctl, tree, tmp_path):
    (tmp_path / "cache").write_text("")
    result = geoosctl("structure", str(tree(GOOD)))
    assert result.exit_code == 0
    assert "cannot keep a cache in" in result.stderr


def test_where_the_cache_is(geoosctl, tree, tmp_path, monkeypatch):
    path = str(tree(GOOD))
    geoosctl("structure", path)
    assert len(list((tmp_path / "cache/geoos/structure").iterdir())) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    geoosctl("structure", path)
    assert len(list((tmp_path / "home/.cache/geoos/structure").iterdir())) == 1


def test_nothing_in_a_tree_steers_the_terminal(geoosctl, tree):
    text = "from app.\x1b import x"
    result = geoosctl("structure", "--debug", str(tree({**GOOD, "app/a/\x1b[2J.py": text})))
    assert "\x1b" not in result.stdout
    assert "names that cannot be printed" in result.stdout


def test_colour_on_a_terminal(tree, monkeypatch):
    report = analysis.analyze(tree(POOR)).report
    lines = structure_report.lines(report, None, debug=True)
    assert any("\x1b[31m" in line for line in lines)
    assert not any("\x1b" in re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines)


def test_it_loads_no_daemons_libraries():
    code = (
        "import sys, geoosctl.cli, geoosctl.commands.structure\n"
        "heavy = {'trio', 'numpy', 'httpx', 'rich', 'tree_sitter'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


def test_many_files_are_read_in_several_processes(geoosctl, tree, monkeypatch):
    path = str(
        tree({f"m{at}.py": DOC + f"import m{at + 1}\n" for at in range(20)} | {"m20.py": "("})
    )
    alone = json.loads(geoosctl("structure", "--json", path).stdout)
    monkeypatch.setattr("geoosctl.commands.structure._FILES_A_WORKER", 5)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    together = json.loads(geoosctl("structure", "--json", "--fresh", path).stdout)
    for found in (alone, together):
        found.pop("seconds")
    assert together == alone


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(geoosctl, tree, enabled):
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        geoosctl("structure", str(tree(GOOD)))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
