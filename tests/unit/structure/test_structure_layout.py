"""Which files are source, and which subsystem each belongs to."""

import os

import pytest
import trees

from geoosd.structure.layout import is_test, scan


@pytest.fixture
def layout_of(tmp_path):
    return lambda *files, **contents: scan(
        trees.write(tmp_path, {**dict.fromkeys(files, ""), **contents})
    )


def subsystems(layout):
    return {file.path: file.subsystem for file in layout.files if not file.is_test}


def bases(layout):
    return {file.path: file.base for file in layout.files}


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py",
        "a/test/b.py", "a/idle_test/b.py", "a/test_b.py", "a/b_test.py", "conftest.py",
        "a/tests.py", "src/tests.rs", "src/a/test.rs", "src/slow_tests.rs", "benches/a.rs",
        "examples/a.py", "test_things/a.py",
    ],
)  # fmt: skip
def test_a_test(path):
    assert is_test(path)


@pytest.mark.parametrize(
    "path", ["a/testing.py", "latest/a.py", "contest.py", "attest.rs", "src/testutil.rs"]
)
def test_not_a_test(path):
    assert not is_test(path)


def test_a_tree_that_declares_nothing_is_its_own_root(layout_of):
    layout = layout_of("one.py", "a/x.py", "b/__init__.py", "b/c/y.py")
    assert subsystems(layout) == {
        "a/x.py": "a",
        "b/__init__.py": "b",
        "b/c/y.py": "b",
        "one.py": "(root)",
    }
    assert set(bases(layout).values()) == {""}


def test_a_single_package_is_the_root(layout_of):
    layout = layout_of(
        "setup.py", "docs/conf.py", "p/__init__.py", "p/a/x.py", "p/b/y.py", "tests/t.py"
    )
    assert subsystems(layout) == {"p/__init__.py": "(root)", "p/a/x.py": "p/a", "p/b/y.py": "p/b"}
    assert (layout.tests, layout.outside) == (1, 2)


def test_packages_in_src(layout_of):
    layout = layout_of("tool.py", "src/p/__init__.py", "src/p/a/x.py", "src/p/b/y.py")
    assert set(bases(layout).values()) == {"src"}
    assert subsystems(layout)["src/p/a/x.py"] == "src/p/a"


def test_a_tree_that_is_a_package_knows_its_name(tmp_path):
    files = {"outer/__init__.py": "", "outer/inner/__init__.py": "", "outer/inner/a/x.py": ""}
    layout = scan(trees.write(tmp_path, files) / "outer" / "inner")
    assert layout.package == "outer.inner"
    assert bases(layout) == {"__init__.py": "..", "a/x.py": ".."}


@pytest.mark.parametrize(
    "pyproject",
    [
        '[tool.hatch.build.targets.wheel]\npackages = ["p", "./lib/q"]',
        '[tool.poetry]\npackages = [{include = "p"}, {include = "q", from = "lib"}, {}, 3]',
        '[tool.hatch.build.targets.wheel]\npackages = ["p", 3, "gone"]\n'
        '[tool.setuptools]\npackages = ["q", "q.a"]\npackage-dir = {"" = "lib"}',
        '[tool.setuptools]\npackages = ["p"]\n[tool.setuptools.packages]',
        '[tool.setuptools.packages.find]\nwhere = ["lib", "."]',
        '[tool.hatch.build.targets.wheel]\npackages = ["lib/q"]\n[tool.flit.module]\nname = "p"',
    ],
)
def test_declared_packages(layout_of, pyproject):
    layout = layout_of(
        "p/__init__.py", "p/a/x.py", "p/b/y.py", "lib/q/__init__.py", "lib/q/a/z.py", "z.py",
        **{"pyproject.toml": pyproject},
    )  # fmt: skip
    found = subsystems(layout)
    if "[tool.setuptools.packages]" in pyproject:  # not TOML: declares nothing
        assert found["z.py"] == "(root)"
        return
    assert found == {
        "p/__init__.py": "(root)",
        "p/a/x.py": "p/a",
        "p/b/y.py": "p/b",
        # one folder alone divides nothing: the package is one subsystem
        "lib/q/__init__.py": "lib/q",
        "lib/q/a/z.py": "lib/q",
    }
    assert bases(layout)["lib/q/a/z.py"] == "lib"
    assert layout.outside == 1


def test_setuptools_packages_beside_their_project(layout_of):
    toml = '[tool.setuptools]\npackages = ["p"]\npackage-dir = 3'
    layout = layout_of("p/a.py", "z.py", **{"pyproject.toml": toml})
    assert list(bases(layout)) == ["p/a.py"]


def test_a_systems_folder_names_the_subsystems(layout_of):
    layout = layout_of(
        "a.py", "systems/one/x.py", "systems/two/y/z.py", "systems/loose.py", "lib/b.py"
    )
    assert subsystems(layout) == {
        "a.py": "(root)",
        "lib/b.py": "(root)",
        "systems/loose.py": "(root)",
        "systems/one/x.py": "systems/one",
        "systems/two/y/z.py": "systems/two",
    }


def test_crates(layout_of):
    layout = layout_of(
        "src/main.rs", "src/a/b.rs", "src/c/d.rs", "one/src/lib.rs", "crates/two/src/lib.rs",
        "deep/three/src/lib.rs", "deep/three/tools/x.rs", "deep/three/src/bin/y.rs", "build.rs",
        "noxfile.py", "systems/four/src/lib.rs", "systems/five/note.txt",
        **{
            "Cargo.toml": '[package]\nname = "top-one"\n[workspace]\nmembers = ["deep/*", "gone"]',
            "one/Cargo.toml": '[package]\nname = "one"',
            "crates/two/Cargo.toml": '[package]\nname = "x"\n[lib]\nname = "two"',
            "deep/three/Cargo.toml": '[package]\nname = "three"\n'
            '[[bin]]\nname = "x"\npath = "tools/x.rs"\n[[bin]]\nname = "y"\npath = "src/bin/y.rs"\n'
            '[[bin]]\nname = "z"',
            "systems/four/Cargo.toml": '[package]\nname = "four"',
            "systems/five/Cargo.toml": "[package]",
        },
    )  # fmt: skip
    assert layout.crates == {
        "src": "top_one",
        "one/src": "one",
        "crates/two/src": "two",
        "deep/three/src": "three",
        "deep/three/tools": "three",
        "systems/four/src": "four",
    }
    assert layout.crate_entries == {"deep/three/tools/x.rs", "deep/three/src/bin/y.rs"}
    assert layout.outside == 2
    assert subsystems(layout)["systems/four/src/lib.rs"] == "systems/four"


def test_a_crate_at_the_top_of_its_folder(layout_of):
    toml = '[package]\nname = "x"\n[lib]\npath = "lib.rs"'
    layout = layout_of("lib.rs", "src/a.rs", **{"Cargo.toml": toml})
    assert list(bases(layout)) == ["src/a.rs"]


def test_rust_without_a_manifest(layout_of):
    layout = layout_of("src/lib.rs", "src/a.rs")
    assert set(layout.crates) == {"src"}
    assert set(bases(layout).values()) == {"src"}


def test_a_crate_inside_a_python_project(layout_of):
    layout = layout_of(
        "src/lib.rs", "p/__init__.py", "p/a.py", **{"Cargo.toml": '[package]\nname = "x"'}
    )
    assert bases(layout) == {"p/__init__.py": "", "p/a.py": "", "src/lib.rs": "src"}


def test_what_is_left_out(layout_of, tmp_path):
    layout = layout_of(
        "a/x.py", "b/y.py", ".hidden/x.py", ".x.py", "build/x.py", "venv/x.py", "node_modules/x.py",
        "a/build/kept.py", "env/pyvenv.cfg", "env/x.py", "c/CACHEDIR.TAG", "c/x.py", "readme.md",
        "a/bad\x1bname.py", "a/fast.so", "b/z.pyi",
    )  # fmt: skip
    assert [file.path for file in layout.files] == ["a/build/kept.py", "a/x.py", "b/y.py"]
    assert layout.unprintable == 1
    assert layout.extensions == [("", "a/fast.so"), ("", "b/z.pyi")]
    (tmp_path / "a/link.py").symlink_to(tmp_path / "a/x.py")
    (tmp_path / "b/round").symlink_to(tmp_path)
    assert scan(tmp_path) == layout


def test_a_compiled_module_outside_the_packages(layout_of):
    layout = layout_of("z.so", "p/__init__.py", "p/a.so", "setup.py")
    assert layout.extensions == [("", "p/a.so")]


def test_sizes_and_times(tmp_path):
    trees.write(tmp_path, {"a.py": "x = 1\n"})
    os.utime(tmp_path / "a.py", ns=(1, 5_000_000_001))
    (file,) = scan(tmp_path).files
    assert (file.size, file.mtime_ns, file.language) == (6, 5_000_000_001, "python")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "gone")
