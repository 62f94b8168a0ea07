"""The shape of the source: names, sizes, lives of processes, and tests that test something."""

import ast
import re
import subprocess
import sys

import pytest
from repository import ROOT, name, parse, product_modules, test_modules, texts

MAX_LINES = 450
MAX_MAIN_LINES = 25
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "shared"}
DAEMON_PARTS = {"__init__", "__main__", "service", "adapters", "core", "web"}
DAEMONS = ("bridge", "compositor", "broadcaster", "control")
RUNTIME_ONLY = {
    ("trio", "run"),
    ("signal", "signal"),
    ("sdnotify", "SystemdNotifier"),
    ("structlog", "configure"),
}
ASSERTING = {"raises", "RaisesGroup", "warns", "fail", "fail_after", "until", "expect"}


def test_there_is_something_to_look_at():
    assert len(product_modules()) > 15
    assert len(test_modules()) > 15


def test_no_module_is_too_long():
    sizes = {name(path): len(path.read_text().splitlines()) for path in product_modules()}
    assert {path: lines for path, lines in sizes.items() if lines > MAX_LINES} == {}


def test_every_module_says_what_it_is():
    silent = [
        name(path)
        for path in product_modules()
        if path.read_text().strip() and not ast.get_docstring(parse(path))
    ]
    assert silent == []


def test_no_module_has_an_empty_name():
    assert [name(path) for path in product_modules() if path.stem in EMPTY_NAMES] == []


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_has_the_planned_parts_alone(daemon):
    folder = ROOT / "geoosd" / daemon
    parts = {
        path.relative_to(folder).parts[0].removesuffix(".py")
        for path in product_modules()
        if path.is_relative_to(folder)
    }
    assert parts <= DAEMON_PARTS


def test_a_main_module_only_starts_the_service():
    mains = [path for path in product_modules() if path.name == "__main__.py"]
    of_daemons = [path for path in mains if path.parent != ROOT / "geoosd"]
    long = {name(path): len(path.read_text().splitlines()) for path in of_daemons}
    assert {path: lines for path, lines in long.items() if lines > MAX_MAIN_LINES} == {}


def attribute_uses(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def test_processes_are_run_by_the_runtime_alone():
    offenders = [
        f"{name(path)}: {'.'.join(use)}"
        for path in product_modules()
        if not name(path).startswith(("geoosd/runtime/", "geoosd/engine/", "ctl/"))
        for use in attribute_uses(parse(path))
        if use in RUNTIME_ONLY
    ]
    assert offenders == []


def test_wgpu_is_imported_by_its_renderer_alone():
    importers = [
        name(path)
        for path in product_modules()
        if re.search(r"^\s*(import|from) wgpu\b", path.read_text(), re.MULTILINE)
    ]
    assert set(importers) <= {"geoosd/compositor/adapters/render_wgpu.py"}


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_loads_nothing_large_that_it_does_not_use(daemon):
    code = (
        f"import sys, geoosd.{daemon}.__main__\n"
        "print(*sorted(sys.modules.keys() & {'rich', 'httpx', 'wgpu'}))\n"
        "import rich.console  # hidden from structlog alone"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_points_to_a_registry_or_to_this_machine():
    # Written in parts, so that this file does not contain them.
    forbidden = re.compile(
        "|".join(["pypi" + r"\.org", "python" + "hosted", "/simple" + "/", "file" + ":///",
                  "index" + "-url=", "/wo" + "rk/", r"\.\./sha" + "red"])
    )  # fmt: skip
    found = [
        f"{name(path)}: {match[0]}"
        for path, text in texts()
        for match in [forbidden.search(text)]
        if match
    ]
    assert found == []


def asserting_functions(tree):
    """Names of the module's functions that assert, directly or through another one."""
    functions = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found = {function for function, node in functions.items() if asserts(node, set())}
    while True:
        more = {function for function, node in functions.items() if asserts(node, found)} - found
        if not more:
            return found
        found |= more


def asserts(function, known):
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ASSERTING or called in known or called.startswith(("assert_", "check_")):
                return True
    return False


def test_every_test_asserts_something():
    silent = []
    for path in test_modules():
        known = asserting_functions(parse(path))
        silent += [
            f"{name(path)}::{node.name}"
            for node in ast.walk(parse(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            and node.name not in known
            and "raises_only" not in node.name  # a fuzzer's claim is that nothing else is raised
        ]
    assert silent == []


def test_no_two_test_modules_share_a_name():
    names = [path.name for path in test_modules() if not (path.parent / "__init__.py").exists()]
    assert sorted({each for each in names if names.count(each) > 1}) == []
