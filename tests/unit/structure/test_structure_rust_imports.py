"""What ``use`` and ``mod`` mean in their tree."""

import pytest
import trees

from geoosd.structure import rust_imports, rust_source
from geoosd.structure.layout import scan

pytest.importorskip("tree_sitter_rust", reason="pip install 'geoos[structure]'")

BASE = {
    "Cargo.toml": '[package]\nname = "app"\n[workspace]\nmembers = ["lib"]',
    "lib/Cargo.toml": '[package]\nname = "my-lib"',
    "lib/src/lib.rs": "pub struct Thing;",
    "src/lib.rs": "mod a; mod b; pub struct Top;",
    "src/main.rs": "use app::Top;",
    "src/a.rs": "mod inner; pub fn make() {}",
    "src/a/inner.rs": "",
    "src/b/mod.rs": "mod c;",
    "src/b/c.rs": "",
    "src/bin/tool.rs": "mod near;",
    "src/bin/near.rs": "",
}


@pytest.fixture
def links_of(tmp_path):
    def links(files):
        layout = scan(trees.write(tmp_path, files))
        sources = [file for file in layout.files if not file.is_test]
        facts = [rust_source.read((tmp_path / file.path).read_bytes()) for file in sources]
        return rust_imports.resolve(layout, sources, facts)

    return links


def of(links, name):
    """Targets and missing of the statements of the file called *name*."""
    return [
        (sorted(links.names[target] for target in each.targets), each.missing)
        for each in links.statements
        if links.names[each.source] == name
    ]


def test_names(links_of):
    assert sorted(links_of(BASE).names.values()) == [
        "app", "app", "app/bin/near", "app/bin/tool", "app::a", "app::a::inner", "app::b",
        "app::b::c", "my_lib",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("use", "targets"),
    [
        ("use crate::a::make;", ["app::a"]),
        ("use crate::a::inner;", ["app::a::inner"]),
        ("use crate::a::{self, inner};", ["app::a", "app::a::inner"]),
        ("use crate::Top;", ["app", "app"]),
        ("use super::c;", ["app::b::c"]),
        ("use super::super::a;", ["app::a"]),
        ("use super::super::super::a;", ["app::a"]),
        ("use super::super;", ["app", "app"]),
        ("use self::x; fn x() {}", ["app::b::c"]),
        ("use my_lib::Thing;", ["my_lib"]),
        ("extern crate my_lib;", ["my_lib"]),
    ],
)
def test_use(links_of, use, targets):
    assert of(links_of({**BASE, "src/b/c.rs": use}), "app::b::c") == [(targets, None)]


@pytest.mark.parametrize("use", ["use std::io;", "use gone::x;", "use ::a;"])
def test_use_of_other_crates(links_of, use):
    assert of(links_of({**BASE, "src/b/c.rs": use}), "app::b::c") == []


def test_a_path_may_begin_with_a_module_of_the_file(links_of):
    links = links_of({**BASE, "src/b/mod.rs": "mod c; use c::X;", "src/b/c.rs": "pub struct X;"})
    assert of(links, "app::b") == [(["app::b::c"], None)]


@pytest.mark.parametrize(
    ("use", "missing"),
    [
        ("use crate::gone;", "crate::gone"),
        ("use crate::a::gone;", "crate::a::gone"),
        ("use crate::bad::X;", "crate::bad::X"),
        ("mod gone;", "mod gone"),
        ("mod inline { mod gone; }", "mod inline::gone"),
        ('#[path = "gone.rs"] mod a;', "mod a"),
    ],
)
def test_what_does_not_resolve(links_of, use, missing):
    links = links_of({**BASE, "src/bad.rs": "fn (", "src/b/c.rs": use})
    assert [found for _, found in of(links, "app::b::c")] == [missing]


def test_a_crate_that_has_no_top_file(links_of):
    links = links_of({"Cargo.toml": '[package]\nname = "x"', "src/a.rs": "use crate::b;"})
    assert of(links, "x::a") == [([], "crate::b")]


def test_names_that_cannot_be_known_are_taken_to_be_there(links_of):
    links = links_of({**BASE, "src/a.rs": "make!{}", "src/b/c.rs": "use crate::a::anything;"})
    assert of(links, "app::b::c") == [(["app::a"], None)]


def test_where_mod_looks(links_of):
    files = {**BASE, "src/a/deep/more.rs": "", "src/odd.rs": "", "src/a/x/mod.rs": ""}
    text = 'mod inner; mod x; mod deep { mod more; } #[path = "odd.rs"] mod y;'
    assert of(links_of({**files, "src/a.rs": text}), "app::a") == []


def test_a_target_that_the_manifest_puts_elsewhere(links_of):
    toml = '[package]\nname = "rg"\n[[bin]]\nname = "rg"\npath = "core/entry.rs"'
    links = links_of(
        {
            "Cargo.toml": toml,
            "core/entry.rs": "mod flags; fn run() {}",
            "core/flags.rs": "use crate::run;",
            "loose/x.rs": "",
        }
    )
    assert of(links, "rg::flags") == [(["rg"], None)]


def test_python_has_no_part_in_it(links_of):
    links = links_of({"x.rs": "use crate::y;", "y.rs": "", "z/a.py": "import b"})
    assert len(links.names) == 2
    assert [each.missing for each in links.statements] == [None]
